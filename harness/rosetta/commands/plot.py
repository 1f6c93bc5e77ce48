"""`rosetta plot`: every plot of the results, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..report import plots, results


def command(
    machine: Annotated[list[str] | None, typer.Option(help="of results/; none: all")] = None,
    out: Annotated[Path | None, typer.Option(help="none: results/MACHINE/plots")] = None,
    reference: Annotated[str, typer.Option(help="framework/variant; empty: each run's own")] = "",
) -> None:
    """Draw step times, ratios, losses, layers, memory; a caption names the conditions of each."""
    for folder in results.folders(machine):
        rows = results.load([folder.name], None, reference or None)
        drawn = plots.draw(rows, out / folder.name if out else folder / plots.FOLDER)
        for plot in drawn:
            print(plot.path)
