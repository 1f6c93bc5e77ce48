"""One row of the tables: what is known of one cell on one machine, as plain data.

``rosetta table --json`` and ``results/<machine>/rows.json`` carry exactly these keys; docs/rows.md
describes them for other programs. Absent knowledge is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = 1


@dataclass(frozen=True)
class Interval:
    """A median over rounds with its 95 % interval; seconds, or a ratio without unit."""

    median: float
    low: float | None  # None: too few rounds for an interval
    high: float | None


@dataclass(frozen=True)
class Parity:
    """How far a cell's numbers are from the float64 reference."""

    state: str  # "verified", "outside" (a bound is left), "unverified" (nothing to compare with)
    first_loss: float | None = None  # relative error of the first loss
    losses: float | None = None  # largest relative error of the 20 losses
    curve: tuple[float | None, ...] = ()  # the losses themselves; None: not a finite number
    worst: dict[str, dict] = field(default_factory=dict)  # group -> tensor, error, bound
    reason: str = ""  # the first tensor that leaves its bound, or why nothing was compared
    reference_curve: tuple[float, ...] = ()  # losses of the float64 reference


@dataclass(frozen=True)
class LayerTime:
    """One piece of work on one layer alone; seconds."""

    layer: str
    kind: str
    work: str  # forward, input_gradient, weight_gradient, total
    seconds: float  # median over laps
    low: float  # fastest and slowest lap
    high: float
    flops: float | None  # per second, of forward; None where a layer's flops are not counted
    share: float | None = None  # flops of the machine's best GEMM; None: not measured alike


@dataclass(frozen=True)
class Row:
    """One cell on one machine, from its newest finished measurement."""

    # who and what
    framework: str
    title: str
    workload: str
    feed: str
    variant: str
    variant_class: str  # "default" or "tuned"
    precision: str
    device: str
    devices: int
    # how it went: "measured", "failed", "not offered", "not installable", "interrupted"
    state: str
    reason: str
    # under which conditions
    profile: str
    machine: str
    run: str
    data: str  # official, unofficial, subset, stand-in, synthetic
    weights: str  # "random" or the label of pretrained ones
    batch: int
    threads: int
    inputs: str  # digest
    version: str  # of the framework
    lock: str = ""  # digest of the lock file its environment was built from
    # speed
    n: int = 0  # rounds
    step_seconds: Interval | None = None
    samples_per_second: float | None = None
    epoch_seconds: float | None = None
    roofline: float | None = None  # share of the machine's best GEMM that a step reached
    ratio: Interval | None = None  # time of a step relative to the reference, paired by round
    reference: str = ""  # framework/variant
    verdict: str = ""  # FASTER, SLOWER, SAME, AMBIGUOUS, reference, or why there is none
    first_step_cold: float | None = None  # seconds, empty caches
    first_step_warm: float | None = None  # seconds, the framework's own caches filled
    compile_cold: float | None = None  # seconds, where the framework reports compiling apart
    compile_warm: float | None = None
    latency_seconds: float | None = None  # one sample
    validate_seconds: float | None = None  # one batch of validation
    io_lag_seconds: float | None = None  # files minus synthetic, per step; on the row fed by files
    io_lag: Interval | None = None  # the same as a ratio, paired by round
    peak_host_bytes_cold: int | None = None  # compiling and tuning included
    peak_host_bytes: int | None = None  # as all that is not called cold: caches filled
    peak_device_bytes: int | None = None
    # what was learnt
    accuracy: float | None = None  # of all test samples
    accuracy_2018: float | None = None  # of whole batches only, as the 2018 suite counted
    auc: float | None = None  # mean over the classes that have both outcomes
    auc_classes: int | None = None
    trained_steps: int | None = None
    band: str = ""  # "inside", "outside" of the workload's accepted band, or why it was not judged
    curve: tuple[float | None, ...] = ()  # loss of training steps, thinned to at most 500
    # what agrees
    parity: Parity | None = None
    kernels: str = ""  # name of the kernels that were chosen by measurement and timed
    kernels_checked: str = ""  # those that parity ran: others if its batch is another
    # of all images the worst: error (Euclidean, relative), cosine; images; against: whose features;
    # pairwise: the same against the named reference framework
    features: dict | None = None
    # where it comes from, relative to the project
    layers: tuple[LayerTime, ...] = ()
    samples: tuple[str, ...] = ()  # event files
    notebooks: tuple[str, ...] = ()


def conditions(row: Row) -> tuple:
    """What two rows must share to be compared; framework, variant and version are compared."""
    return (
        row.workload,
        row.feed,
        row.precision,
        row.profile,
        row.device,
        row.devices,
        row.threads,
        row.batch,
        row.data,
        row.weights,
        row.inputs,
    )
