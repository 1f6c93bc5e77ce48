"""Forward and backward of each layer alone, all frameworks on one line."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..row import Row
from . import format as fmt
from .conditions import Conditions
from .layers import pieces
from .plots_dots import LOG_FROM, finish, rows_axis, spread
from .style import figure, legend_below, mark_of, marks

TOP = 25  # layers, of a longer network the costliest


def layers(key: Conditions, rows: list[Row]) -> Figure | None:
    """Two panels: forward, and backward as the difference of total and forward."""
    known = [row for row in rows if row.layers]
    if not known:
        return None
    measured = [(row, pieces(row)) for row in known]
    names = list(dict.fromkeys(name for _, found in measured for name in found))
    cost = {n: max(found[n].whole for _, found in measured if n in found) for n in names}
    shown = [n for n in names if cost[n] >= sorted(cost.values())[-min(TOP, len(names))]][:TOP]
    part = (
        f"the costliest {len(shown)} of {len(names)} layers"
        if len(shown) < len(names)
        else "layers"
    )
    caption = "Backward: forward and all gradients, minus forward; median over laps; hollow: tuned."
    backward = any(piece.backward is not None for _, found in measured for piece in found.values())
    fig, axes = figure(part, key, caption, 2.0 + 0.19 * len(shown), 1 + backward, sharey=True)
    panels = dict(zip(("forward", "backward"), axes if backward else [axes]))
    unit = fmt.unit(cost[name] for name in shown)
    styles = marks(known)
    for what, ax in panels.items():
        values = []
        for row, found in measured:
            mark = mark_of(row, styles)
            there = [(y, getattr(found[n], what)) for y, n in enumerate(shown) if n in found]
            points = [(t / unit.scale, y) for y, t in there if t is not None and t > 0]
            values += [x for x, _ in points]
            ax.plot(
                [x for x, _ in points], [y for _, y in points], mark.marker, color=mark.colour,
                markerfacecolor=mark.face, markersize=5, alpha=0.85, label=mark.label,
            )  # fmt: skip
        ax.set_title(what, loc="left")
        ax.tick_params(axis="y", length=0)
        finish(ax, f"time [{unit.name}]", log=spread(values) > LOG_FROM)
    rows_axis(panels["forward"], shown)
    legend_below(panels["forward"])
    return fig
