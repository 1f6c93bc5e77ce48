"""Every plot of a set of rows, drawn into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ..row import Row
from .conditions import Conditions, groups
from .plots_curves import parity, training
from .plots_dots import cost, features, lag, ratio, step
from .plots_layers import layers
from .style import save, styled

FOLDER = "plots"  # of a machine's results
KINDS: dict[str, Callable[[Conditions, list[Row]], Figure | None]] = {
    "step": step,
    "ratio": ratio,
    "lag": lag,
    "parity": parity,
    "features": features,
    "training": training,
    "layers": layers,
    "cost": cost,
}


@dataclass(frozen=True)
class Plot:
    """A plot on disk; beside the SVG lies a PNG of the same name."""

    key: Conditions
    kind: str
    path: Path


def draw(rows: list[Row], folder: Path) -> list[Plot]:
    """Draws what the rows hold into ``folder``."""
    made: list[Plot] = []
    taken: set[str] = set()
    with styled():
        for key, members in groups(rows):
            stem = _stem(key, taken)
            for kind, function in KINDS.items():
                if fig := function(key, members):
                    made.append(Plot(key, kind, save(fig, folder, f"{stem}-{kind}")))
    return made


def prune(folder: Path, kept: list[Plot]) -> None:
    """Removes the plots of an earlier call that no row stands behind any more."""
    names = {plot.path.stem for plot in kept}
    for path in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        if path.stem not in names:
            path.unlink()


def _stem(key: Conditions, taken: set[str]) -> str:
    """A file name from the conditions, with more of them where the short one is taken."""
    name = f"{key.workload}-{key.feed}-{key.precision}-{key.device}{key.devices}-{key.profile}"
    longer = f"{name}-{key.data}-t{key.threads}-b{key.batch}-{key.inputs[:8]}"
    chosen = next(n for n in (name, longer, f"{longer}-{key.machine}") if n not in taken)
    taken.add(chosen)
    return chosen
