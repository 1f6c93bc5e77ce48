"""`rosetta setup`: the environments of frameworks, built, repaired or adopted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .. import machine
from ..env import environments
from ..env.environments import Environment
from ..errors import SpecError
from ..progress import output
from ..runner import plan
from ..spec import framework as frameworks
from ..spec.framework import Framework

Words = list[str] | None


def command(
    names: Annotated[Words, typer.Argument(help="frameworks; none: all")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    use: Annotated[Words, typer.Option(help="FRAMEWORK=PATH/TO/python: adopt it")] = None,
    rebuild: Annotated[bool, typer.Option(help="also what is ready; ends an adoption")] = False,
) -> None:
    """Build each framework's environment from its lock file; reuse what matches it.

    Exit code 1: an installation failed. What is not installable on this machine is no failure.
    """
    device = device or machine.device()
    foreign = dict(_adoption(text) for text in use or [])
    chosen = plan.choose([*(names or []), *foreign], frameworks.names(), "framework")
    outcomes = []
    for framework in map(frameworks.load, dict.fromkeys(chosen)):
        if rebuild:
            environments.forget(framework, device)
        outcome = environments.outcome(framework, device, foreign.get(framework.name))
        if framework.name in foreign and isinstance(outcome, Environment):
            _show_differences(framework, outcome)
        outcomes.append((framework, outcome))
    _show(outcomes, device)
    if any(isinstance(o, str) and o.startswith("failed") for _, o in outcomes):
        raise typer.Exit(1)


def _adoption(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise SpecError(f"--use {text!r}: FRAMEWORK=PATH/TO/python, where that file exists")
    return name, Path(path)


def _show(outcomes: list[tuple[Framework, Environment | str]], device: str) -> None:
    table = Table("framework", "state", "Python", "version", title=f"device {device}")
    table.add_column("lock", overflow="fold")
    for framework, outcome in outcomes:
        if isinstance(outcome, str):
            table.add_row(framework.title, outcome)
            continue
        version = framework.version(outcome.versions)
        state = "adopted" if outcome.adopted else "ready"
        remark = "" if outcome.tested or outcome.adopted else " (untested)"
        lock = outcome.lock.removesuffix(".txt") + remark
        table.add_row(framework.title, state, outcome.python_version, version, lock)
    output.print(table)


def _show_differences(framework: Framework, environment: Environment) -> None:
    if not environment.differences:
        output.print(f"{framework.title}: as in {environment.lock}")
        return
    table = Table("package", "lock", "adopted", title=f"{framework.title}: not as in its lock")
    for difference in environment.differences:
        table.add_row(difference.package, difference.locked, difference.found or "absent")
    output.print(table)
