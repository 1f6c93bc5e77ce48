"""`rosetta list`: what can be measured here, and what cannot, with the reason."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from .. import machine
from ..env import environments
from ..env.environments import Environment
from ..progress import output
from ..runner import plan
from ..spec import framework, workload
from ..spec.framework import Framework


def command(
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """List every cell: workload, framework, variant, and whether it can run on this machine."""
    device = device or machine.device()
    frameworks = [framework.load(name) for name in framework.names()]
    workloads = [workload.load(name) for name in workload.names()]
    options = plan.Options(profile="quick", device=device, threads=0, variants=("all",))
    outcomes = {f.name: _outlook(f, device) for f in frameworks}
    cells = plan.cells(frameworks, workloads, options, outcomes)
    if as_json:
        keys = ("framework", "workload", "variant", "precision", "device", "state", "reason")
        rows = [{key: getattr(cell, key) for key in (*keys, "feed", "category")} for cell in cells]
        print(json.dumps({"schema": 1, "cells": rows}, indent=1))
        return
    table = Table("workload", "framework", "variants", "state", title=f"device {device}")
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in cells:
        state = "" if cell.state == "planned" else cell.state
        key = cell.workload, cell.framework, state, cell.reason
        variants = groups.setdefault(key, [])
        if cell.variant not in variants:
            variants.append(cell.variant)
    for (task, who, state, reason), variants in groups.items():
        told = f"{state}: {reason}" if state else "can be measured"
        table.add_row(task, who, "" if state else ", ".join(variants), told)
    output.print(table)


def _outlook(framework: Framework, device: str) -> Environment | str:
    """Its environment, "planned" where one can be built, or why there can be none."""
    if ready := environments.status(framework, device):
        return ready
    try:
        environments.choose(framework, device)
        return "planned"
    except environments.NotInstallable as reason:
        return f"not installable: {reason}"
