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
for _info in sorted(pkgutil.iter_modules(commands.__path__), key=lambda info: info.name):
    _module = importlib.import_module(f"{commands.__name__}.{_info.name}")
    app.command(_info.name)(_module.command)


def main() -> None:
    """Exit codes: 0 done, 1 something that was offered failed, 2 bad input, 130 interrupted."""
    try:
        app()
    except RosettaError as error:
        print(f"rosetta: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("rosetta: interrupted; nothing measured was lost", file=sys.stderr)
        raise SystemExit(130) from None
