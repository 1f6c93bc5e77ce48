"""What a run will do: cells, jobs, and their order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import project
from ..env.environments import Environment
from ..errors import SpecError
from ..spec.framework import Framework, Variant
from ..spec.workload import KINDS, Profile, Workload

ROUNDS = {"smoke": 1, "quick": 3, "full": 10}
ORDER = ("parity", "timing", "training", "layers")
TIMEOUTS = {"smoke": 300.0, "quick": 600.0, "full": 86400.0}  # seconds, compiling included


@dataclass(frozen=True)
class Options:
    """What was asked for; None and empty mean the profile's own choice."""

    profile: str
    device: str
    threads: int
    variants: tuple[str, ...] = ()  # names, or "all"; empty: the default ones
    kinds: tuple[str, ...] = KINDS
    rounds: int = 0
    batch: int | None = None
    timeout: float = 0.0
    precision: str = "fp32"
    reference: str = "pytorch/eager"
    data: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """Workload x feed x framework x variant x precision x devices: one row of a table."""

    workload: str
    feed: str
    framework: str
    variant: str
    category: str
    precision: str
    device: str
    devices: int = 1
    state: str = "planned"  # "not offered", "not installable", "failed": then with a reason
    reason: str = ""

    @property
    def id(self) -> str:
        """A file name."""
        parts = self.workload, self.feed, self.framework, self.variant, self.precision
        return "-".join((*parts, f"{self.device}{self.devices}"))


@dataclass(frozen=True)
class Job:
    """One cell, one kind, one round: one fresh process."""

    cell: Cell
    kind: str
    round: int
    parameters: dict[str, Any]  # the dict that papermill injects
    timeout: float
    environment: dict[str, str] = field(default_factory=dict)
    kernel: str = ""  # of the judge, which runs on the CPU; "": its framework's on this device
    judges: str = ""  # kind alone: the parity job whose numbers it judges

    @property
    def id(self) -> str:
        """A file name, unique within a run."""
        return f"{self.kind}-{self.cell.id}-r{self.round}"

    @property
    def notebook(self) -> Path:
        """What is executed: of the cell's framework, or of the one that judges it."""
        return project.NOTEBOOKS / self.parameters["framework"] / f"{self.cell.workload}.ipynb"

    @property
    def label(self) -> str:
        """What progress calls it."""
        round_ = f" round {self.round}" if self.kind == "timing" else ""
        return f"{self.kind} {self.cell.workload} {self.cell.framework}/{self.cell.variant}{round_}"

    @property
    def estimate(self) -> float:
        """Seconds this job is likely to take, to tell how long a run still takes."""
        return 12.0 + (self.parameters["schedule"]["seconds"] or 20.0)


@dataclass(frozen=True)
class Referee:
    """The framework whose float64 jobs judge all others."""

    framework: Framework
    lacking: dict[str, int]  # workloads of which no reference is at hand: steps to compute
    kernel: str


def cells(
    frameworks: list[Framework],
    workloads: list[Workload],
    options: Options,
    outcomes: dict[str, Environment | str],
) -> list[Cell]:
    """Every cell that was asked for, also those that cannot be measured here, with the reason.

    Args:
        outcomes: Of setting up each framework: its environment, or "state: reason".
    """
    return [
        _state(cell, framework, outcomes[framework.name], options.profile)
        for workload in workloads
        for feed in workload.feeds
        for framework in frameworks
        for cell in _variants(workload, feed, framework, options)
    ]


def _variants(workload: Workload, feed: str, framework: Framework, options: Options) -> list[Cell]:
    chosen = [
        variant
        for variant in framework.variants_of(workload.name)
        if "all" in options.variants
        or variant.name in options.variants
        or (not options.variants and variant.category == "default")
    ]
    return [
        Cell(
            workload.name,
            feed,
            framework.name,
            variant.name,
            variant.category,
            options.precision,
            options.device,
        )
        for variant in chosen
    ]


def _state(cell: Cell, framework: Framework, outcome: Environment | str, profile: str) -> Cell:
    if reason := framework.refusal(cell.workload, cell.device, profile, cell.precision):
        return replace(cell, state="not offered", reason=reason)
    if isinstance(outcome, str):
        state, _, reason = outcome.partition(": ")
        return replace(cell, state=state, reason=reason)
    return cell


def jobs(
    planned: list[Cell],
    workloads: list[Workload],
    frameworks: list[Framework],
    options: Options,
    referee: Referee | None = None,
) -> list[Job]:
    """The jobs of the cells that can be measured, in the order in which they run.

    Args:
        referee: Whose float64 jobs judge the parity jobs; None: nobody can.

    Timing is interleaved in rounds, each round starting one cell further on, so that a drift of
    the machine hits all alike. Training and layers are done for default variants, and for those
    that were asked for by name.
    """
    able = [cell for cell in planned if cell.state == "planned"]
    workload_of = {w.name: w for w in workloads}
    framework_of = {f.name: f for f in frameworks}
    found = _references(referee, workloads, options) if referee else []
    for kind in (kind for kind in ORDER if kind in options.kinds):
        rounds = (options.rounds or ROUNDS[options.profile]) if kind == "timing" else 1
        fit = [cell for cell in able if _does(cell, kind, workload_of[cell.workload], options)]
        for number in range(1, rounds + 1):
            start = (number - 1) % max(1, len(fit))
            for cell in fit[start:] + fit[:start]:
                variant = framework_of[cell.framework].variants[cell.variant]
                profile = workload_of[cell.workload].profiles[options.profile]
                found.append(_job(cell, kind, number, profile, variant, options))
        if kind == "parity" and referee:
            found += [_alone(job, referee) for job in found if job.cell.precision != "fp64"]
    return found


def _does(cell: Cell, kind: str, workload: Workload, options: Options) -> bool:
    schedule = workload.profiles[options.profile].schedules.get(kind)
    if schedule is None or kind not in workload.feeds[cell.feed]:
        return False
    asked = cell.category == "default" or cell.variant in options.variants
    return cell.device in schedule.devices and (kind in ("timing", "parity") or asked)


def _references(referee: Referee, workloads: list[Workload], options: Options) -> list[Job]:
    """The float64 jobs that judge all others, on the CPU whatever the others run on."""
    framework, found = referee.framework, []
    for workload in (w for w in workloads if w.name in referee.lacking):
        profile = workload.profiles[options.profile]
        feed = next(feed for feed, kinds in workload.feeds.items() if "parity" in kinds)
        names = workload.name, feed, framework.name, framework.judge
        cell = Cell(*names, "reference", "fp64", "cpu")
        job = _job(cell, "parity", 1, profile, framework.variants[framework.judge], options)
        job.parameters["schedule"]["steps"] = referee.lacking[workload.name]
        patience = 3 * job.timeout  # float64 in NumPy takes its time
        found.append(replace(job, kernel=referee.kernel, timeout=patience))
    return found


def _alone(judged: Job, referee: Referee) -> Job:
    """The judge computes each layer from what the judged framework gave to it."""
    parameters = {
        **judged.parameters,
        "kind": "alone",
        "framework": referee.framework.name,
        "variant": referee.framework.judge,
        "precision": "fp64",
        "device": "cpu",
        "devices": 1,
        "recorded": f"../{judged.id}/parity.npz",  # folders of jobs are neighbours
    }
    kernel = referee.kernel
    return replace(judged, kind="alone", parameters=parameters, kernel=kernel, judges=judged.id)


def _job(
    cell: Cell,
    kind: str,
    number: int,
    profile: Profile,
    variant: Variant,
    options: Options,
) -> Job:
    parameters = {
        "schema": 1,
        "workload": cell.workload,
        "framework": cell.framework,
        "variant": cell.variant,
        "precision": cell.precision,
        "profile": options.profile,
        "kind": kind,
        "feed": cell.feed,
        "device": cell.device,
        "devices": cell.devices,
        "threads": options.threads,
        "batch": options.batch or profile.batch[cell.device],
        "round": number,
        "schedule": asdict(profile.schedules[kind]),
    }
    timeout = options.timeout or TIMEOUTS[options.profile]
    return Job(cell, kind, number, parameters, timeout, dict(variant.environment))


def digest(content: dict[str, Any]) -> str:
    """Equal for runs that would measure the same: what a call may go on with after a kill."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose(asked: list[str], known: list[str], what: str) -> list[str]:
    """The names asked for, all where none are; words may stand in one string, as make gives them.

    Raises:
        SpecError: One of them is not known.
    """
    words = split(asked)
    if unknown := [word for word in words if word not in known]:
        raise SpecError(f"{what} {unknown[0]!r} is not known", f"one of: {', '.join(known)}")
    return words or known


def split(asked: list[str]) -> list[str]:
    """The words of an option that may be repeated, or hold several words, as make gives them."""
    return [word for text in asked for word in text.replace(",", " ").split()]


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Checks the value of an option.

    Raises:
        SpecError: It is none of those known.
    """
    if value not in known:
        raise SpecError(f"{what} {value!r} is not known", f"one of: {', '.join(known)}")
