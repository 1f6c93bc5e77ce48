"""The tables of one set of conditions: speed, cost, parity, what was learnt, features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..row import Interval, Row
from . import format as fmt
from .conditions import Conditions, sample_word


@dataclass(frozen=True)
class Table:
    """Text in rows and columns; a renderer makes it Markdown, CSV or a terminal's."""

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    note: str = ""
    words: frozenset[int] = field(default=frozenset({0}))  # columns that are not numbers


@dataclass(frozen=True)
class Column:
    """One column; it is left out where it has nothing to say, unless ``always``."""

    title: str
    cell: Callable[[Row], str]
    words: bool = False
    always: bool = False


def build(title: str, columns: Iterable[Column], rows: Iterable[Row], note: str = "") -> Table:
    """A table of ``rows`` with the columns that hold anything."""
    rows = list(rows)
    filled = [(c, [c.cell(row) for row in rows]) for c in columns]
    kept = [(c, cells) for c, cells in filled if c.always or any(x != fmt.MISSING for x in cells)]
    return Table(
        title,
        tuple(c.title for c, _ in kept),
        tuple(zip(*(cells for _, cells in kept))),
        note,
        frozenset(i for i, (c, _) in enumerate(kept) if c.words),
    )


def _framework(row: Row) -> str:
    return f"{row.title} {row.version}".strip()


def _variant(row: Row) -> str:
    return row.variant + (" (tuned)" if row.variant_class == "tuned" else "")


GEMM_NOTE = (
    " % of GEMM: the network's flops over time, as per cent of the best rate of a matrix product "
    "on this machine with as many threads; flops are counted as of the direct algorithms."
)
WHO = (
    Column("framework", _framework, words=True, always=True),
    Column("variant", _variant, words=True, always=True),
)


def tables(key: Conditions, rows: list[Row]) -> list[Table]:
    """What is known of the rows of one set of conditions."""
    measured = [row for row in rows if row.state == "measured"]
    timed = [row for row in measured if row.n]
    compared = [row for row in measured if row.n or (row.parity and row.parity.curve)]
    made = [speed(key, rows)] if timed or len(measured) < len(rows) else []
    made += [cost(timed)] if timed else []
    made += [parity(compared)] if compared else []
    made += [learnt(measured)] if any(_trained(row) for row in measured) else []
    if any(row.features for row in rows):
        made.append(features(rows))
    return made


def _times(rows: list[Row], get: Callable[[Row], float | None], title: str, **kw) -> Column:
    unit = fmt.unit(get(row) for row in rows)
    return Column(f"{title} [{unit.name}]", lambda row: fmt.time(get(row), unit), **kw)


def _interval_times(rows: list[Row], get: Callable[[Row], Interval | None], title: str) -> Column:
    unit = fmt.unit(value.median for row in rows if (value := get(row)))
    return Column(
        f"{title} [{unit.name}] (95 %)", lambda row: fmt.interval(get(row), unit.scale), always=True
    )


def speed(key: Conditions, rows: list[Row]) -> Table:
    """Time, throughput and ratio; a row that was not measured says why."""
    reference = next((row.reference for row in rows if row.reference), "the reference")
    step = "forward pass" if key.workload == "resnet50_features" else "step"
    return build(
        "Speed",
        [
            *WHO,
            _interval_times(rows, lambda row: row.step_seconds, f"time per {step}"),
            Column("n", lambda row: str(row.n) if row.n else fmt.MISSING),
            _times(rows, lambda row: row.epoch_seconds, "epoch"),
            Column(
                f"{sample_word(key.workload)}s/s", lambda row: fmt.digits(row.samples_per_second)
            ),
            Column("% of GEMM", lambda row: fmt.share(row.roofline)),
            Column(f"ratio to {reference} (95 %)", lambda row: fmt.interval(row.ratio)),
            Column("verdict", lambda row: row.verdict or fmt.MISSING, words=True),
            _times(rows, lambda row: row.io_lag_seconds, "IO lag per step"),
            Column("files / synthetic (95 %)", lambda row: fmt.interval(row.io_lag)),
            Column("state", _trouble, words=True),
        ],
        rows,
        note="n: rounds of fresh processes; the interval and the ratio are over rounds, the ratio "
        "paired by round." + GEMM_NOTE * any(row.roofline for row in rows),
    )


def _trouble(row: Row) -> str:
    if row.state == "measured":
        return fmt.MISSING
    return f"{row.state}: {row.reason}" if row.reason else row.state


def cost(rows: list[Row]) -> Table:
    """What is paid once, and the memory."""
    return build(
        "Cost of starting, and memory",
        [
            *WHO,
            _times(rows, lambda row: row.first_step_cold, "first step, cold"),
            _times(rows, lambda row: row.first_step_warm, "first step, warm"),
            _times(rows, lambda row: row.compile_cold, "compile, cold"),
            _times(rows, lambda row: row.compile_warm, "compile, warm"),
            _times(rows, lambda row: row.latency_seconds, "latency of one sample"),
            _times(rows, lambda row: row.validate_seconds, "validation batch"),
            Column("peak memory, host, cold", lambda row: fmt.size(row.peak_host_bytes_cold)),
            Column("peak memory, host, warm", lambda row: fmt.size(row.peak_host_bytes)),
            Column("peak memory, device", lambda row: fmt.size(row.peak_device_bytes)),
        ],
        rows,
        note="Cold: the framework's own caches empty; warm: filled by an earlier process.",
    )


def parity(rows: list[Row]) -> Table:
    """Distances from the float64 reference."""
    return build(
        "Parity",
        [
            *WHO,
            Column(
                "state", lambda row: row.parity.state if row.parity else "unverified", True, True
            ),
            Column("first loss", lambda row: _parity(row, "first_loss")),
            Column("worst loss", lambda row: _parity(row, "losses")),
            Column("nearest to its bound", _worst, words=True),
            Column("kernels", lambda row: row.kernels or fmt.MISSING, words=True),
            Column(
                "why", lambda row: (row.parity and row.parity.reason) or fmt.MISSING, words=True
            ),
        ],
        rows,
        note="Relative errors to the float64 reference, dropout off; losses: of all recorded steps "
        "the worst. A row outside a bound gets no ratio. Kernels: the name of those chosen by "
        "measurement and timed; parity ran the same at its own batch.",
    )


def _trained(row: Row) -> bool:
    return row.accuracy is not None or row.auc is not None or row.trained_steps is not None


def learnt(rows: list[Row]) -> Table:
    """Accuracy or AUC, after how many steps, and whether it lies where it should."""
    return build(
        "What was learnt",
        [
            *WHO,
            Column("training steps", lambda row: fmt.count(row.trained_steps)),
            Column("accuracy, all samples", lambda row: fmt.percent(row.accuracy)),
            Column("accuracy as in 2018", lambda row: fmt.percent(row.accuracy_2018)),
            Column("mean AUC (of classes)", _auc),
            Column("accepted band", lambda row: row.band or fmt.MISSING, words=True),
        ],
        filter(_trained, rows),
        note="As in 2018: of the whole test batches alone.",
    )


def _parity(row: Row, name: str) -> str:
    return fmt.error(getattr(row.parity, name)) if row.parity else fmt.MISSING


def _worst(row: Row) -> str:
    """The tensor with the least room; a bound of zero means the group is not judged."""
    worst = row.parity.worst if row.parity else {}
    judged = [(entry["error"] / entry["bound"], g) for g, entry in worst.items() if entry["bound"]]
    if not judged:
        return fmt.MISSING
    group = max(judged)[1]
    entry = worst[group]
    return f"{group} {entry['tensor']}: {fmt.error(entry['error'])} of {fmt.error(entry['bound'])}"


def _auc(row: Row) -> str:
    return fmt.MISSING if row.auc is None else f"{row.auc:.3f} ({row.auc_classes})"


def features(rows: list[Row]) -> Table:
    """How far the features of the worst image are from a reference's."""

    def of(name: str, write: Callable, pair: bool = False) -> Callable[[Row], str]:
        def cell(row: Row) -> str:
            found = (row.features.get("pairwise") or {}) if pair else row.features
            return fmt.MISSING if found.get(name) is None else write(found[name])

        return cell

    named = next((p["against"] for r in rows if (p := (r.features or {}).get("pairwise"))), "")
    return build(
        "Agreement of features",
        [
            *WHO,
            Column("against", of("against", str), words=True),
            Column("images", of("images", fmt.count)),
            Column("worst relative error", of("error", fmt.error)),
            Column("least cosine", of("cosine", _cosine)),
            Column(f"worst relative error to {named}", of("error", fmt.error, True)),
            Column(f"least cosine to {named}", of("cosine", _cosine, True)),
            Column("problem", of("problem", str), words=True),
        ],
        [row for row in rows if row.features],
        note="Of all images the worst: Euclidean distance to the other feature vector over its "
        "norm, and the cosine of the angle between the two.",
    )


def _cosine(value: float) -> str:
    return f"1 - {fmt.error(max(0.0, 1.0 - value))}"
