"""Finds the command modules and hands over. No command is named here."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import typer

from . import commands
from .errors import RosettaError

app = typer.Typer(
    name="rosetta",
    help="The same deep-learning work in every framework, under one clock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _register() -> None:
    """The commands; where one is named, that one alone: some import seconds of libraries."""
    names = sorted(info.name for info in pkgutil.iter_modules(commands.__path__))
    for name in [word for word in sys.argv[1:2] if word in names] or names:
        module = importlib.import_module(f"{commands.__name__}.{name}")
        app.command(name)(module.command)
    app.callback()(lambda: None)  # a command stays a word of its own, even where it is the only one


def main() -> None:
    """Exit codes: 0 done, 1 something that was offered failed, 2 bad input, 130 interrupted."""
    try:
        _register()
        app(prog_name="rosetta")
    except RosettaError as error:
        print(f"rosetta: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        fix = "free space or permissions, then repeat the command: it goes on where it stopped"
        print(f"rosetta: {error}\n  Fix: {fix}", file=sys.stderr)
        raise SystemExit(2) from error
