"""`rosetta machine`: what this machine can do, by the best library at hand."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer

from .. import machine, project, roofline, rows, store
from ..errors import SpecError
from ..progress import console
from ..report import page, render
from ..report import roofline as ceilings
from ..runner import plan
from ..runner.roofline import LEAST_ROUNDS, Options, choose, measure
from ..spec import framework as frameworks
from ..spec.framework import DEVICES
from .table import wide

Words = list[str] | None
SECONDS = 10.0


def command(
    names: Annotated[Words, typer.Argument(metavar="[FRAMEWORK]...", help="none: all")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    threads: Annotated[int, typer.Option(help="cores of every script; 0: all")] = 0,
    seconds: Annotated[float, typer.Option(help="of each script in each round, about")] = SECONDS,
    rounds: Annotated[int, typer.Option(help="of fresh processes")] = LEAST_ROUNDS,
    as_json: Annotated[bool, typer.Option("--json", help="print the measurement as JSON")] = False,
) -> None:
    """Measure the machine: matrix products, convolutions, copies, the cost of a call.

    Frameworks that are set up are asked in turn; the best counts. Rows measured with the same
    device and as many threads are from then on shown as shares of it. Exit code 1: one failed.
    """
    options = _checked(device or machine.device(), threads or machine.cores(), seconds, rounds)
    known = [frameworks.load(name) for name in frameworks.names()]
    chosen = choose(names or [], known, options.device)
    titles = ", ".join(framework.title for framework, _ in chosen)
    console.print(f"{options.device}, {options.threads} threads: {titles}")
    try:
        found = measure(chosen, options)
    except KeyboardInterrupt:
        console.print("interrupted; nothing was written")
        raise typer.Exit(130) from None
    failed = any(facts["state"] == "failed" for facts in found["frameworks"].values())
    if found["best"]:
        folder = project.RESULTS / found["machine"]["name"]
        path = roofline.write(folder, found)
        if as_json:
            print(json.dumps(found))
        else:
            render.terminal(ceilings.table(found), wide())
        for line in ceilings.unrest(found):
            console.print(f"[yellow]not quiet[/]: {line}")
        console.print(f"results: {path}")
        if store.runs(folder):  # its rows are shares of what was measured just now
            console.print(f"tables: {page.write(folder, rows.rows(folder))}")
    if failed or not found["best"]:
        raise typer.Exit(1)


def _checked(device: str, threads: int, seconds: float, rounds: int) -> Options:
    plan.one_of("device", device, DEVICES)
    if device == "cuda" and machine.device() != "cuda":
        raise SpecError("device cuda: the driver shows no GPU", "--device cpu")
    if not 1 <= threads <= machine.cores():
        raise SpecError(
            f"--threads {threads}: this process may use {machine.cores()} cores",
            f"a number from 1 to {machine.cores()}, or 0 for all",
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise SpecError(f"--seconds {seconds:g}: expected a number above zero", "--seconds 10")
    if rounds < LEAST_ROUNDS:
        raise SpecError(
            f"--rounds {rounds}: fewer than {LEAST_ROUNDS} have no interval",
            f"--rounds {LEAST_ROUNDS} or more",
        )
    return Options(device, threads, seconds, rounds)
