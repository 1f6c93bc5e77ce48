"""The tables of 2018, and today's rows in their layout: frameworks down, machines across."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .. import project
from ..row import Row
from . import format as fmt
from .conditions import DATA, DEVICES, workload_title
from .tables import Table

FOLDER = project.ROOT / "results" / "historical"  # wherever the results of runs are
FINAL = "final"  # of a README of which two versions differ, the one whose number comes first


@dataclass(frozen=True)
class Number:
    """One published number, as results/historical/README.md describes the columns."""

    workload: str
    feed: str
    item: str  # the layer or the model, in layers.csv
    quantity: str  # training, 1,000 images; forward, backward, total
    id: str  # the folder of notebooks/ that goes on with this framework's row
    framework: str
    machine: str  # empty: an accuracy without a time
    devices: int
    printed: str
    value: float | None  # in ``unit``
    unit: str
    accuracy: float | None
    auc: float | None
    source: str
    date: str
    note: str

    @property
    def column(self) -> str:
        """The machine as a column's title."""
        return f"{self.devices} x {self.machine}" if self.devices > 1 else self.machine

    @property
    def text(self) -> str:
        """The seconds as the source prints them, minutes turned into seconds."""
        return f"{self.value:,.0f}" if ":" in self.printed else self.printed


@dataclass(frozen=True)
class Protocol:
    """What the whole job of 2018 was: so many samples."""

    workload: str
    feed: str
    samples: int
    words: str


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def numbers(folder: Path = FOLDER) -> tuple[Number, ...]:
    """All published numbers."""
    files = sorted(path for path in folder.glob("*.csv") if path.stem != "protocols")
    return tuple(_number(entry) for path in files for entry in _read(path))


def _number(entry: dict[str, str]) -> Number:
    floats = {name: float(entry[name]) if entry[name] else None for name in _FLOATS}
    return Number(**{**entry, **floats, "devices": int(entry["devices"])})


_FLOATS = ("value", "accuracy", "auc")


@cache
def protocols(folder: Path = FOLDER) -> tuple[Protocol, ...]:
    """The jobs of 2018 that today's workloads go on with."""
    entries = _read(folder / "protocols.csv")
    return tuple(Protocol(**{**e, "samples": int(e["samples"])}) for e in entries)


def by_machine(rows: list[Row], workloads: set[str] | None = None) -> list[Table]:
    """The 2018 layout, for every job of 2018 among ``workloads`` (None: all).

    A row's time is that of the whole 2018 job at the measured rate. Rows of the smoke profile are
    left out: they were timed over too few steps to stand beside anything.
    """
    wanted = [p for p in protocols() if workloads is None or p.workload in workloads]
    return [_table(protocol, rows) for protocol in wanted]


def _table(protocol: Protocol, rows: list[Row]) -> Table:
    same = [r for r in rows if (r.workload, r.feed) == (protocol.workload, protocol.feed)]
    timed = _newest([r for r in same if r.samples_per_second and r.profile != "smoke"])
    old = [n for n in numbers() if (n.workload, n.feed) == (protocol.workload, protocol.feed)]
    cells: dict[str, dict[str, str]] = {}
    titles = {n.id: n.framework for n in old} | {r.framework: r.title for r in timed}
    for row in timed:
        if row.variant_class == "default":
            cells.setdefault(_name(row, titles), {})
    columns = list(dict.fromkeys(f"{n.column} (2018)" for n in old if n.machine))
    for number in old:
        line = cells.setdefault(titles[number.id], {})
        _enter(line, number)
    scores: list[str] = ["accuracy (2018)"] if any(n.accuracy for n in old) else []
    for row in timed:
        line, column = cells.setdefault(_name(row, titles), {}), machine(row)
        line[column] = _seconds(row, protocol)
        columns += [column] if column not in columns else []
        if score := _score(row):
            line[f"{score[0]}, {column}"] = score[1]
            scores.append(f"{score[0]}, {column}")
    columns += dict.fromkeys(scores)
    return Table(
        f"{workload_title(protocol.workload)}, fed from {protocol.feed}: {protocol.words}",
        ("framework", *columns),
        tuple((who, *(line.get(c, fmt.MISSING) for c in columns)) for who, line in cells.items()),
        _notes(old, same),
    )


def _newest(rows: list[Row]) -> list[Row]:
    """Of a framework measured in several versions the last; default rows first, then by name."""
    newest = {
        (machine(row), row.framework, row.variant, row.precision): row
        for row in sorted(rows, key=lambda row: row.run)
    }
    return sorted(
        newest.values(),
        key=lambda r: (r.variant_class != "default", r.title, r.variant, r.precision),
    )


def _name(row: Row, titles: dict[str, str]) -> str:
    """The default row of a framework goes on with its row of 2018; any other has its own."""
    variant = "" if row.variant_class == "default" else f", {row.variant}"
    precision = "" if row.precision == "fp32" else f", {row.precision}"
    return f"{titles[row.framework]}{variant}{precision}"


def machine(row: Row) -> str:
    """A column's title for today's rows: everything that a 2018 reader has to know."""
    many = f"{row.devices} {DEVICES.get(row.device, row.device)}{'s' * (row.devices > 1)}"
    data = "" if row.data in ("official", "synthetic") else f", {DATA.get(row.data, row.data)}"
    return f"{row.machine}, {many}, batch {row.batch}, {row.profile}{data}"


def _enter(line: dict[str, str], number: Number) -> None:
    if number.accuracy is not None:
        line["accuracy (2018)"] = fmt.percent(number.accuracy)
    if not number.machine:
        return
    column = f"{number.column} (2018)"
    auc = f" (AUC {number.auc:.3f})" if number.auc is not None else ""
    if column in line:  # the two versions of the README differ
        line[column] += f" (earlier {number.text})"
    else:
        line[column] = number.text + auc


def _seconds(row: Row, protocol: Protocol) -> str:
    text = fmt.digits(protocol.samples / row.samples_per_second)
    state = row.parity.state if row.parity else "unverified"
    return text if state == "verified" else f"{text} (parity: {state})"


def _score(row: Row) -> tuple[str, str] | None:
    steps = f" ({fmt.count(row.trained_steps)} steps)"
    if row.accuracy_2018 is not None:
        return "accuracy", fmt.percent(row.accuracy_2018) + steps
    return ("AUC", f"{row.auc:.3f}{steps}") if row.auc is not None else None


def _notes(old: list[Number], same: list[Row]) -> str:
    sources = dict.fromkeys(f"{n.source} ({n.date})" for n in old)
    remarks = dict.fromkeys(f"{n.framework}: {n.note}" for n in old if n.note)
    notes = [
        "Today's times: the samples of the whole 2018 job at the measured rate; accuracy of whole "
        "test batches, as in 2018.",
        f"2018: {'; '.join(sources)}; one run each, no interval.",
        *(f"{remark}." for remark in remarks),
    ]
    if smoke := sum(row.profile == "smoke" for row in same):
        notes.append(f"{smoke} rows of the smoke profile are left out.")
    return " ".join(notes)
