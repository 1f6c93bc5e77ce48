"""`rosetta run`: measure, then write all tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import inputs, machine, project
from ..progress import console
from ..report import page
from ..row import Row
from ..rows import document
from ..rows import rows as rows_of
from ..runner import plan
from ..runner.run import run
from ..spec import framework, workload
from ..spec.workload import KINDS, PROFILES

Words = list[str] | None


def command(
    profile: Annotated[str, typer.Option(help="smoke, quick or full; full on a GPU")] = "",
    frameworks: Annotated[Words, typer.Option("--framework", help="names; none: all")] = None,
    workloads: Annotated[Words, typer.Option("--workload", help="names; none: all")] = None,
    variants: Annotated[Words, typer.Option("--variant", help="names or all")] = None,
    kinds: Annotated[Words, typer.Option("--kind", help=", ".join(KINDS))] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    precision: Annotated[str, typer.Option(help="fp32, or tf32 and bf16 where offered")] = "fp32",
    threads: Annotated[int, typer.Option(help="cores of every job; 0: all")] = 0,
    batch: Annotated[int, typer.Option(help="samples per step; 0: the workload's own")] = 0,
    rounds: Annotated[int, typer.Option(help="of fresh processes; 0: the profile's own")] = 0,
    timeout: Annotated[float, typer.Option(help="seconds for one job; 0: the profile's own")] = 0,
    data: Annotated[str, typer.Option(help="auto or stand-in")] = "auto",
    seed: Annotated[int, typer.Option(help="another: other initial values and orders")] = 0,
    download: Annotated[bool, typer.Option(help="fetch data above 1 GB too")] = False,
    reference: Annotated[str, typer.Option(help="what ratios refer to")] = "pytorch/eager",
    as_json: Annotated[bool, typer.Option("--json", help="print the rows as JSON")] = False,
) -> None:
    """Measure frameworks on workloads, interleaved, each job a fresh process; then write tables.

    Repeating the same command after a kill goes on where it stopped. Exit code 1: something that
    is offered failed.
    """
    device = device or machine.device()
    profile = profile or ("full" if device == "cuda" else "quick")
    plan.one_of("profile", profile, PROFILES)
    plan.one_of("data", data, ("auto", "stand-in"))
    plan.one_of("precision", precision, framework.PRECISIONS)
    chosen = [
        framework.load(n) for n in plan.choose(frameworks or [], framework.names(), "framework")
    ]
    wanted = [workload.load(n) for n in plan.choose(workloads or [], workload.names(), "workload")]
    known = sorted({name for f in chosen for name in f.variants})
    if variants:
        plan.choose(variants, ["all", *known], "variant")
    options = plan.Options(
        profile=profile,
        device=device,
        threads=threads or machine.cores(),
        variants=tuple(plan.split(variants or [])),
        kinds=tuple(plan.choose(kinds or [], list(KINDS), "kind")),
        rounds=rounds,
        batch=batch or None,
        timeout=timeout,
        precision=precision,
        reference=reference,
        data=data,
        seed=seed,
    )
    source = inputs.Source(data == "stand-in", profile == "full", download, seed)
    names = ", ".join(f.name for f in chosen)
    console.print(f"profile {profile}, {device}, {options.threads} threads: {names}")
    try:
        record = run(chosen, wanted, options, source)
    except KeyboardInterrupt:
        console.print("interrupted; nothing measured was lost: repeat the command to go on")
        raise typer.Exit(130) from None
    finally:  # also after Ctrl-C: what was measured stands in the tables
        path, rows = _report(reference)
    if as_json:
        print(json.dumps(document(rows)))
    console.print(f"results: {path}")
    failed = [s for s in record.states().values() if s["state"] == "failed"]
    broken = [cell for cell in record.document["cells"] if cell["state"] == "failed"]
    if failed or broken:
        raise typer.Exit(1)


def _report(reference: str) -> tuple[Path, list[Row]]:
    folder = project.RESULTS / machine.name(machine.fingerprint())
    found = rows_of(folder, reference=reference)
    return page.write(folder, found), found
