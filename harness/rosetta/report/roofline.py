"""What the machine can do, as tables: one for each device and number of threads."""

from __future__ import annotations

from typing import Any

from ..roofline import Roofline
from ..row import Interval
from . import format as fmt
from .conditions import DEVICES
from .tables import Table

NAMES = {
    "gemm": "GEMM",
    "convolution": "convolution 3x3",
    "copy": "copy, read + written",
    "dispatch": "dispatch of one op",
}
QUIET = 1.5  # high / low of an interval over 3 rounds, whose t-quantile is 4.3
NOTE = (
    "The best of all libraries, sizes and layouts tried: median over rounds of fresh processes, "
    "each the median of its laps, with the 95 % interval. {when}; a turn of {seconds:g} s each. "
    "Convolutions are counted as of the direct algorithm. The last columns: the best of each "
    "library."
)


def tables(roofline: Roofline) -> list[Table]:
    """The tables of all measurements; none where nothing was measured."""
    return [table(measurement) for measurement in roofline.measurements]


def unrest(measurement: dict[str, Any]) -> list[str]:
    """The ceilings whose rounds lie so far apart that something else was running."""
    found = []
    for best in measurement["best"]:
        if best["low"] and best["high"] > QUIET * best["low"]:
            what = f"{NAMES[best['figure']]} {best['precision']}".strip()
            found.append(f"the interval of {what} spans {best['high'] / best['low']:.1f} to 1")
    return found


def table(measurement: dict[str, Any]) -> Table:
    """The table of one measurement, as it stands in roofline.json."""
    known = measurement["frameworks"]
    asked = [name for name, facts in known.items() if facts["state"] == "measured"]
    own = {(f["figure"], f["precision"], f["framework"]): f for f in measurement["libraries"]}
    cells = []
    for best in measurement["best"]:
        unit = fmt.RATES.get(best["unit"]) or fmt.unit([best["median"]])
        each = (own.get((best["figure"], best["precision"], name)) for name in asked)
        cells.append(
            (
                " ".join(
                    filter(None, (NAMES[best["figure"]], best["precision"], f"[{unit.name}]"))
                ),
                fmt.interval(Interval(best["median"], best["low"], best["high"]), unit.scale),
                str(best["n"]),
                f"{known[best['framework']]['title']} {best['version']}",
                best["what"],
                *(fmt.digits(f["median"] / unit.scale) if f else fmt.MISSING for f in each),
            )
        )
    titles = (known[name]["title"] for name in asked)
    columns = ("figure", "best (95 %)", "n", "library", "of", *titles)
    threads = measurement["threads"]
    where = f"{DEVICES[measurement['device']]}, {threads} thread{'s' * (threads > 1)}"
    note = NOTE.format(when=measurement["date"][:10], seconds=measurement["seconds"])
    words = frozenset({0, 3, 4})
    return Table(f"What the machine can do: {where}", columns, tuple(cells), note, words)
