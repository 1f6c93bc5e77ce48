"""Tables and rows as text: a terminal's, Markdown, CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ..row import Row
from .tables import Table

LONG = ("layers", "curve", "samples", "notebooks", "parity", "features")


def markdown(table: Table, level: int = 4) -> str:
    """A GitHub table under a heading; unpadded, for a long one would grow threefold."""
    rule = [":--" if i in table.words else "--:" for i in range(len(table.columns))]
    lines = [map(_plain, table.columns), rule, *(map(_plain, row) for row in table.cells)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    note = f"\n\n{table.note}" if table.note else ""
    return f"{'#' * level} {table.title}\n\n{body}{note}\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def terminal(table: Table, console: Console) -> None:
    """Prints the table, wrapped to the console's width."""
    shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD)
    shown.caption, shown.caption_justify = escape(table.note), "left"
    for i, column in enumerate(table.columns):
        shown.add_column(escape(column), justify="left" if i in table.words else "right")
    for row in table.cells:
        shown.add_row(*map(escape, row))
    console.print(shown)


def csv(rows: Iterable[Row]) -> str:
    """One line per row with the numbers as they are, seconds and bytes; no curves and layers."""
    flat = [
        {
            **{k: v for k, v in asdict(row).items() if k not in LONG},
            "parity": row.parity
            and {
                "state": row.parity.state,
                "first_loss": row.parity.first_loss,
                "losses": row.parity.losses,
                "reason": row.parity.reason,
            },
            "features": row.features,
            "samples": " ".join(row.samples),
            "notebooks": " ".join(row.notebooks),
        }
        for row in rows
    ]
    return pd.json_normalize(flat, sep="_").to_csv(index=False, lineterminator="\n")


def table_csv(table: Table) -> str:
    """The table's own cells."""
    frame = pd.DataFrame(list(table.cells), columns=list(table.columns))
    return frame.to_csv(index=False, lineterminator="\n")
