"""What must be equal for two rows to stand in one table, and how that is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ..row import Row
from ..spec import workload as workloads

FEEDS = {
    "arrays": "arrays in memory",
    "files": "image files through the framework's own loader",
    "synthetic": "synthetic tensors",
    "photos": "decoded photos",
}
DATA = {
    "official": "official data",
    "unofficial": "unofficial data (right layout, unknown digest)",
    "subset": "a SUBSET of the data",
    "stand-in": "STAND-IN DATA",
    "synthetic": "synthetic data",
    "": "no data prepared",
}
DEVICES = {"cpu": "CPU", "cuda": "GPU"}


@dataclass(frozen=True, order=True)
class Conditions:
    """The key of a table. Rows that differ in any of these are never set side by side."""

    workload: str
    feed: str
    device: str
    devices: int
    precision: str
    profile: str
    machine: str
    threads: int
    batch: int
    data: str
    weights: str
    inputs: str

    @classmethod
    def of(cls, row: Row) -> Conditions:
        """The conditions of ``row``."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})

    def planned(self) -> Conditions:
        """The same without what is known only of a cell whose inputs were read."""
        blank = {"threads": 0, "batch": 0, "data": "", "weights": "", "inputs": ""}
        return Conditions(**{**self.__dict__, **blank})

    @property
    def title(self) -> str:
        """The workload in words."""
        return workload_title(self.workload)

    @property
    def stand_in(self) -> bool:
        """Whether the data were drawn, not collected."""
        return self.data == "stand-in"

    def data_words(self) -> str:
        """The data label, and where it says something that of the weights."""
        drawn = self.weights and _spec(self.workload) and _spec(self.workload).weights
        weights = f", {self.weights} weights" if drawn else ""
        return f"{DATA.get(self.data, self.data)}{weights}"

    def where(self) -> str:
        """Device and machine."""
        device = DEVICES.get(self.device, self.device)
        many = f"{self.devices} {device}s" if self.devices > 1 else f"one {device}"
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else ""
        return f"{many}{threads} of {self.machine}"

    def header(self) -> str:
        """All conditions in one line of words."""
        parts = [
            self.data_words(),
            f"fed from {FEEDS.get(self.feed, self.feed)}",
            self.precision,
            f"batch {self.batch}" if self.batch else "",
            self.where(),
            f"profile {self.profile}",
        ]
        return "; ".join(part for part in parts if part)


@cache
def _spec(workload: str) -> workloads.Workload | None:
    """None for a workload of old results that the project no longer has."""
    return workloads.load(workload) if workload in workloads.names() else None


def workload_title(workload: str) -> str:
    """Its title, or its name where the project no longer has it."""
    spec = _spec(workload)
    return spec.title if spec else workload


def sample_word(workload: str) -> str:
    """What one sample is called: "image", "review"."""
    spec = _spec(workload)
    return spec.sample if spec else "sample"


def subject(row: Row) -> str:
    """Who was measured, short: ``PyTorch compile``."""
    return f"{row.title} {row.variant}"


def labels(rows: list[Row]) -> list[str]:
    """``subject`` of each row; with version, or lock, where two rows would have one name."""
    named = [subject(row) for row in rows]
    for longer in (
        [f"{row.title} {row.version} {row.variant}" for row in rows],
        [f"{row.title} {row.version} {row.variant} {row.lock[:8]}" for row in rows],
    ):
        named = [new if named.count(old) > 1 else old for old, new in zip(named, longer)]
    return named


def groups(rows: Iterable[Row]) -> list[tuple[Conditions, list[Row]]]:
    """Rows by equal conditions, the fastest first, those without a time last.

    A cell that was never started may know neither batch nor inputs; it stands in every table that
    it was planned for.
    """
    found: dict[Conditions, list[Row]] = defaultdict(list)
    loose: dict[Conditions, list[Row]] = defaultdict(list)
    for row in rows:
        key = Conditions.of(row)
        (found if row.batch and row.inputs else loose)[key].append(row)
    for key, waiting in loose.items():
        homes = [k for k in found if k.planned() == key.planned()] or [key]
        for home in homes:
            found[home].extend(waiting)
    return [(key, sorted(found[key], key=_speed)) for key in sorted(found)]


def _speed(row: Row) -> tuple:
    timed = row.step_seconds is not None
    return (not timed, row.step_seconds.median if timed else 0.0, row.title, row.variant)
