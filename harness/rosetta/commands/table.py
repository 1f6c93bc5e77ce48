"""`rosetta table`: frameworks side by side, one set of tables for each set of equal conditions."""

from __future__ import annotations

import json
import shutil
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from ..report import conditions, historical, layers, render, results, tables
from ..rows import document

PIPE = 200  # columns of text where no terminal says how many it has


class Format(StrEnum):
    """How the tables are written."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"


class By(StrEnum):
    """What stands across."""

    CONDITIONS = "conditions"
    MACHINE = "machine"


def command(
    machine: Annotated[list[str] | None, typer.Option(help="of results/; none: all")] = None,
    workload: Annotated[list[str] | None, typer.Option(help="none: all")] = None,
    by: Annotated[By, typer.Option(help="machine: the layout of 2018")] = By.CONDITIONS,
    reference: Annotated[str, typer.Option(help="framework/variant; empty: each run's own")] = "",
    form: Annotated[Format, typer.Option("--format")] = Format.TERMINAL,
    as_json: Annotated[bool, typer.Option("--json", help="the same as --format json")] = False,
) -> None:
    """Print results; CSV and JSON have the numbers as they are, in seconds and bytes."""
    rows = results.load(machine, workload, reference or None)
    form = Format.JSON if as_json else form
    if form is Format.JSON:
        print(json.dumps(document(rows), allow_nan=False))
    elif by is By.MACHINE:
        _print(historical.by_machine(rows, set(workload) if workload else None), form)
    elif form is Format.CSV:
        print(render.csv(rows), end="")
    else:
        for key, members in conditions.groups(rows):
            heading = f"{key.title}\n{key.header()}"
            print(f"## {key.title}\n\n{key.header()}\n" if form is Format.MARKDOWN else heading)
            _print([*tables.tables(key, members), *layers.tables(members)], form)


def wide() -> Console:
    """A console of the terminal's width, or in a pipe wide enough for a table."""
    return Console(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE)


def _print(made: list[tables.Table], form: Format) -> None:
    console = wide()
    for table in made:
        if form is Format.MARKDOWN:
            print(render.markdown(table, 3))
        elif form is Format.CSV:
            print(render.table_csv(table))
        else:
            render.terminal(table, console)
