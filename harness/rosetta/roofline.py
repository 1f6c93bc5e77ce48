"""results/<machine>/roofline.json: what the machine can do, by the best library at hand.

``rosetta machine`` writes it; rows are shares of it. It holds one measurement for each device and
number of threads, with all raw laps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from . import schema, stats
from .errors import ResultError
from .inputs import write_whole
from .row import Interval

FILE = "roofline.json"
UNITS = {"gemm": "flop/s", "convolution": "flop/s", "copy": "byte/s", "dispatch": "s"}


class Roofline:
    """The measurements of one machine.

    Args:
        measurements: As they stand in the file.
    """

    def __init__(self, measurements: Iterable[dict[str, Any]] = ()) -> None:
        self.measurements = list(measurements)

    def best_gemm(self, precision: str, device: str, threads: int) -> float | None:
        """The largest rate of a matrix product, in flop/s.

        Returns:
            None where it was not measured on this device with as many threads.
        """
        for entry in self.measurements:
            if (entry["device"], entry["threads"]) == (device, threads):
                asked = "gemm", precision
                rates = (f for f in entry["best"] if (f["figure"], f["precision"]) == asked)
                return next((figure["median"] for figure in rates), None)
        return None

    def share(self, rate: float | None, precision: str, device: str, threads: int) -> float | None:
        """``rate``, in flop/s on one device, as a share of ``best_gemm``; None: one is unknown."""
        best = self.best_gemm(precision, device, threads)
        return rate / best if rate and best else None


def read(machine: Path) -> Roofline:
    """The roofline in ``results/<machine>``; without measurements where there is none.

    Raises:
        ResultError: The file is not JSON, or not of the schema.
    """
    path = machine / FILE
    if not path.is_file():
        return Roofline()
    try:
        document = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ResultError(f"{path}: not JSON: {error}", "delete it, then rosetta machine") from None
    schema.check("roofline", document, str(path))
    return Roofline(document["measurements"])


def write(machine: Path, measurement: dict[str, Any]) -> Path:
    """Puts a measurement in the place of the one of the same device and number of threads.

    Returns:
        The path of the file.

    Raises:
        ResultError: The file that is there, or the measurement, is not of the schema.
    """
    key = measurement["device"], measurement["threads"]
    others = [m for m in read(machine).measurements if (m["device"], m["threads"]) != key]
    kept = sorted([*others, measurement], key=lambda m: (m["device"], m["threads"]))
    document = {"schema": schema.SCHEMA, "measurements": kept}
    path = machine / FILE
    schema.check("roofline", document, str(path))
    write_whole(path, json.dumps(document, allow_nan=False).encode())
    return path


def best(turns: Iterable[dict[str, Any]]) -> tuple[list[dict], list[dict]]:
    """The best of all libraries, and the best of each, of every figure and precision.

    A turn is one fresh process; its number is the median of its laps. What counts is the median
    over the turns of a library, so that one lucky lap makes no ceiling. Of several sizes and
    layouts the fastest stands for the library, of several libraries the fastest for the machine.

    Args:
        turns: {framework, version, round, printed}; ``printed`` is what its machine.py printed.

    Returns:
        Entries of ``best`` and ``libraries`` in roofline.json.
    """
    found: dict[tuple, list[float]] = defaultdict(list)
    for turn in turns:
        for sample in turn["printed"]["samples"]:
            who = turn["framework"], turn["version"]
            key = sample["figure"], sample["precision"], *who, sample["what"]
            found[key].append(_value(sample))
    libraries: dict[tuple, dict] = {}
    machine: dict[tuple, dict] = {}
    for key, values in found.items():
        figure = _figure(key, values)
        for best_of, name in ((libraries, key[:3]), (machine, key[:2])):
            if name not in best_of or _better(figure, best_of[name]):
                best_of[name] = figure
    return _in_order(machine.values()), _in_order(libraries.values())


def _in_order(figures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(figures, key=lambda figure: list(UNITS).index(figure["figure"]))


def _value(sample: dict[str, Any]) -> float:
    """Of one turn: work per second; of a dispatch, seconds per call."""
    seconds = median(sample["laps"]) / sample["calls"]
    return seconds if sample["figure"] == "dispatch" else sample["work"] / seconds


def _figure(key: tuple, values: list[float]) -> dict[str, Any]:
    figure, precision, framework, version, what = key
    over: Interval = stats.interval(values)
    return {
        "figure": figure,
        "precision": precision,
        "unit": UNITS[figure],
        "median": over.median,
        "low": over.low,
        "high": over.high,
        "n": len(values),
        "framework": framework,
        "version": version,
        "what": what,
    }


def _better(mine: dict[str, Any], other: dict[str, Any]) -> bool:
    if mine["n"] != other["n"]:
        return mine["n"] > other["n"]  # a size that did not fit every turn is no match
    return (mine["median"] < other["median"]) == (mine["unit"] == "s")
