"""Forward and backward of each layer alone, all frameworks on one line."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..row import Row
from . import format as fmt
from .conditions import Conditions
from .layers import pieces
from .plots_dots import LOG_FROM, finish, rows_axis, spread
from .style import figure, legend_below, marks

TOP = 25  # layers, of a longer network the costliest


def layers(key: Conditions, rows: list[Row]) -> Figure | None:
    """Two panels: forward, and backward as the difference of total and forward."""
    known = [row for row in rows if row.layers]
    if not known:
        return None
    measured = [pieces(row) for row in known]
    names = list(dict.fromkeys(name for found in measured for name in found))
    cost = {n: max(found[n].whole for found in measured if n in found) for n in names}
    top = set(sorted(names, key=cost.__getitem__, reverse=True)[:TOP])
    shown = [name for name in names if name in top]
    part = f"the costliest {len(top)} of {len(names)} layers" if len(names) > TOP else "layers"
    caption = "Backward: forward and all gradients, minus forward; median over laps; hollow: tuned."
    backward = any(piece.backward is not None for found in measured for piece in found.values())
    fig, axes = figure(part, key, caption, 2.0 + 0.19 * len(shown), 1 + backward, sharey=True)
    panels = dict(zip(("forward", "backward"), axes if backward else [axes]))
    unit = fmt.unit(cost[name] for name in shown)
    for what, ax in panels.items():
        values: list[float] = []
        for found, mark in zip(measured, marks(known)):
            there = [
                (getattr(found[name], what), y) for y, name in enumerate(shown) if name in found
            ]
            points = [(t / unit.scale, y) for t, y in there if t is not None and t > 0]
            x, y = zip(*points) if points else ((), ())
            style = {"color": mark.colour, "markerfacecolor": mark.face, "label": mark.label}
            ax.plot(x, y, mark.marker, markersize=5, alpha=0.85, **style)
            values += x
        ax.set_title(what, loc="left")
        finish(ax, f"time [{unit.name}]", log=spread(values) > LOG_FROM)
    rows_axis(panels["forward"], shown)
    legend_below(panels["forward"])
    return fig
