"""One line for each row, a dot with its interval: step time, ratio, lag, features, cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..row import Interval, Row
from . import format as fmt
from .conditions import Conditions
from .style import Mark, figure, marks

LOG_FROM = 12  # a wider range than this between the least and the greatest needs a log axis


@dataclass(frozen=True)
class Dot:
    """One value of one row, with the text at its right."""

    row: Row
    value: Interval
    text: str


def step(key: Conditions, rows: list[Row]) -> Figure | None:
    """Time per step."""
    timed = [row for row in rows if row.step_seconds]
    unit = fmt.unit(row.step_seconds.median for row in timed)
    dots = [
        Dot(r, scaled(r.step_seconds, unit), fmt.interval(r.step_seconds, unit.scale))
        for r in timed
    ]
    return one_panel("time per step", key, dots, f"time per step [{unit.name}]")


def ratio(key: Conditions, rows: list[Row]) -> Figure | None:
    """Time relative to the reference, with the line at one."""
    dots = [
        Dot(row, row.ratio, f"{fmt.interval(row.ratio)} {row.verdict}") for row in rows if row.ratio
    ]
    name = next((row.reference for row in rows if row.reference), "the reference")
    return one_panel(
        f"ratio to {name}", key, dots, f"time / time of {name}  (below 1: faster)", one=True
    )


def lag(key: Conditions, rows: list[Row]) -> Figure | None:
    """What reading files adds to a step."""
    known = [row for row in rows if row.io_lag]
    dots = [
        Dot(row, row.io_lag, f"{fmt.interval(row.io_lag)}  {fmt.difference(row.io_lag_seconds)}")
        for row in known
    ]
    axis = "time from files / time from synthetic tensors; difference per step"
    return one_panel("IO lag", key, dots, axis, one=True)


def features(key: Conditions, rows: list[Row]) -> Figure | None:
    """How far the features are from the reference's."""
    known = [row for row in rows if row.features and row.features.get("error")]
    dots = [
        Dot(row, Interval(row.features["error"], None, None), fmt.error(row.features["error"]))
        for row in known
    ]
    against = next((row.features.get("against") for row in known), None) or "the reference"
    images = max((row.features.get("images") or 0 for row in known), default=0)
    axis = f"worst relative error to {against}"
    n = f"n = {images} images, the worst of them"
    return one_panel("agreement of features", key, dots, axis, log=True, n=n)


def scaled(value: Interval, unit: fmt.Unit) -> Interval:
    """In ``unit``."""
    bounds = (None if b is None else b / unit.scale for b in (value.low, value.high))
    return Interval(value.median / unit.scale, *bounds)


def one_panel(
    title: str,
    key: Conditions,
    dots: list[Dot],
    axis: str,
    *,
    one: bool = False,
    log: bool = False,
    n: str = "",
) -> Figure | None:
    """A figure of dots; None where there are none.

    Args:
        axis: What the x axis shows.
        one: A line at 1, and no zero.
        log: Whatever the range.
        n: How many there were of what; empty: rounds.
    """
    if not dots:
        return None
    rounds = sorted({dot.row.n for dot in dots})
    n = n or f"n = {' to '.join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))} rounds"
    bars = "; bars: 95 % interval" if any(dot.value.low is not None for dot in dots) else ""
    fig, ax = figure(title, key, f"{n}{bars}; hollow: tuned.", 1.3 + 0.28 * len(dots))
    draw(ax, dots)
    if one:
        ax.axvline(1, color="black", linewidth=1)
    wide = log or spread([dot.value.median for dot in dots] + [1.0] * one) > LOG_FROM
    finish(ax, axis, log=wide, zero=not one)
    return fig


def draw(ax: Axes, dots: list[Dot]) -> None:
    """Dots with intervals, the first at the top, their text in the right margin."""
    found = marks([dot.row for dot in dots])
    for y, (dot, mark) in enumerate(zip(dots, found)):
        value = dot.value
        if value.low is not None and value.high is not None:
            ax.plot([value.low, value.high], [y, y], color=mark.colour, linewidth=2.5, alpha=0.6)
        ax.plot(value.median, y, "o", color=mark.colour, markerfacecolor=mark.face, markersize=6.5)
        ax.text(1.01, y, dot.text, transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    rows_axis(ax, [mark.label for mark in found])


def rows_axis(ax: Axes, labels: list[str]) -> None:
    """One line of the y axis for each label, from top to bottom."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def spread(values: list[float]) -> float:
    """Greatest over least of what is above zero."""
    above = [value for value in values if value > 0]
    return max(above) / min(above) if above else 1.0


def finish(ax: Axes, axis: str, log: bool, zero: bool = True) -> None:
    """The x axis: from zero, or logarithmic with plain numbers."""
    ax.set_xlabel(axis + (", log scale" if log else ""))
    ax.tick_params(axis="y", length=0)
    if log:
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        few = high / low < 60
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif zero:
        right = ax.dataLim.x1  # not finite where no row has this number
        ax.set_xlim(0, right * 1.06 if isfinite(right) and right > 0 else 1)


def cost(key: Conditions, rows: list[Row]) -> Figure | None:
    """Peak memory, and the first step with empty and with filled caches."""
    known = [row for row in rows if row.peak_host_bytes or row.peak_host_bytes_cold]
    if not known:
        return None
    caption = "Cold: the framework's own caches empty; warm (bars): filled; hollow: tuned."
    height = 1.5 + 0.28 * len(known)
    fig, (memory, first) = figure("memory and first step", key, caption, height, 2, sharey=True)
    found = marks(known)
    _memory(memory, known, found)
    _first_steps(first, known, found)
    rows_axis(memory, [mark.label for mark in found])
    return fig


def _memory(ax: Axes, rows: list[Row], found: list[Mark]) -> None:
    on_device = any(row.peak_device_bytes for row in rows)
    shift, height = (0.2, 0.34) if on_device else (0.0, 0.5)
    host = [(row.peak_host_bytes, row.peak_host_bytes_cold) for row in rows]
    bars = [(y - shift, warm, cold) for y, (warm, cold) in enumerate(host)]
    bars += [(y + shift, row.peak_device_bytes, None) for y, row in enumerate(rows)]
    for (y, warm, cold), mark in zip(bars, found * 2):
        ends = [bytes_ / 2**20 for bytes_ in (warm, cold) if bytes_]
        if warm:
            ax.barh(y, ends[0], height, color=mark.face, edgecolor=mark.colour, linewidth=1.4)
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(fmt.digits(ends[0]), (max(ends), y), fontsize=7.5, **place)
        if cold:
            ax.plot(ends, [y] * len(ends), color=mark.colour, linewidth=1, alpha=0.6)
            ax.plot(ends[-1], y, "s", color=mark.colour, markersize=6)
    which = "; upper bar: host, lower: device" if on_device else " of the host"
    finish(ax, f"peak memory [MiB]{which}", log=False)
    ax.set_xlim(right=ax.get_xlim()[1] * 1.12)  # room for the numbers


def _first_steps(ax: Axes, rows: list[Row], found: list[Mark]) -> None:
    times = [t for row in rows for t in (row.first_step_cold, row.first_step_warm)]
    unit = fmt.unit(times)
    for y, (row, mark) in enumerate(zip(rows, found)):
        ends = [t / unit.scale for t in (row.first_step_warm, row.first_step_cold) if t is not None]
        ax.plot(ends, [y] * len(ends), color=mark.colour, linewidth=1, alpha=0.6)
        for value, marker in ((row.first_step_warm, "<"), (row.first_step_cold, "s")):
            if value is not None:
                ax.plot(value / unit.scale, y, marker, color=mark.colour, markersize=6)
    shapes = [
        Line2D([], [], color="#444444", marker=marker, linestyle="", label=text)
        for marker, text in (("s", "cold"), ("<", "warm"))
    ]
    ax.legend(handles=shapes, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    wide = spread([t / unit.scale for t in times if t]) > LOG_FROM
    finish(ax, f"first step [{unit.name}]", log=wide)
