"""How every plot looks: colours, marks, the caption, and files that do not change by themselves."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..inputs import write_whole
from ..row import Row
from .conditions import Conditions, labels

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour blindness.
# The yellow is last: on white it needs the marks beside it.
PALETTE = (
    "#D55E00",
    "#0072B2",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
# A framework keeps its colour from plot to plot and year to year; one that is not named here gets
# the next free colour of its plot.
COLOURS = {
    "pytorch": PALETTE[0],
    "jax_flax": PALETTE[1],
    "mxnet_gluon": PALETTE[2],
    "keras_tf": PALETTE[3],
    "trivet": PALETTE[4],
}
MARKERS = "osD^vPX*<>"
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 3)))
WIDTH, LINE = 9.0, 0.14  # inches: of a figure, of a line of its caption
RC = {
    "svg.hashsalt": "rosetta",  # the same plot gets the same ids
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 110,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Mark:
    """How one row is drawn; the hollow ones are tuned."""

    colour: str
    marker: str
    line: object
    face: str
    label: str


def marks(rows: list[Row]) -> list[Mark]:
    """A mark for each row: the framework's colour, a shape and a line for each of its variants."""
    frameworks = sorted({row.framework for row in rows})
    free = [colour for colour in PALETTE if colour not in COLOURS.values()]
    unnamed = [name for name in frameworks if name not in COLOURS]
    colours = COLOURS | {name: free[i % len(free)] for i, name in enumerate(unnamed)}
    names = labels(rows)
    made: dict[int, Mark] = {}
    order = sorted(range(len(rows)), key=lambda i: (rows[i].variant_class != "default", names[i]))
    for i in order:
        row, colour = rows[i], colours[rows[i].framework]
        seen = sum(rows[j].framework == row.framework for j in made)
        tuned = row.variant_class == "tuned"
        made[i] = Mark(
            colour,
            MARKERS[seen % len(MARKERS)],
            LINES[seen % len(LINES)],
            "white" if tuned else colour,
            names[i] + (" (tuned)" if tuned else ""),
        )
    return [made[i] for i in range(len(rows))]


def figure(title: str, key: Conditions, caption: str, height: float, panels: int = 1, **kw):
    """A figure with a title, a caption with all conditions, and ``panels`` axes side by side."""
    stand_in = "   [STAND-IN DATA]" if key.stand_in else ""
    whole = f"{key.title}: {title}{stand_in}"
    return captioned(whole, f"{caption} {key.header()}.", height, panels, **kw)


def captioned(title: str, caption: str, height: float, panels: int = 1, **kw):
    """As ``figure``, with title and caption as they are given."""
    text = textwrap.fill(caption, 150, break_on_hyphens=False)
    below = 0.1 + LINE * (text.count("\n") + 1)
    whole = Figure(figsize=(WIDTH, height + below), layout="constrained")
    body, foot = whole.subfigures(2, 1, height_ratios=(height, below))
    body.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    foot.text(0.01, 0.98, text, va="top", fontsize=7.5, color="#444444")
    return whole, body.subplots(1, panels, **kw)


def legend_below(ax: Axes) -> None:
    """The legend of ``ax`` under the panels, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    columns = max(1, min(len(labels), int(WIDTH * 14.5 / (longest + 8))))
    ax.figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def save(fig: Figure, folder: Path, name: str) -> Path:
    """Writes ``name``.svg and ``name``.png, whole or not at all; returns the path of the SVG."""
    for form, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        content = io.BytesIO()
        fig.savefig(content, format=form, metadata=metadata, facecolor="white")
        write_whole(folder / f"{name}.{form}", content.getvalue())
    return folder / f"{name}.svg"


def styled():
    """The settings of all plots, for a ``with``."""
    return matplotlib.rc_context(RC)
