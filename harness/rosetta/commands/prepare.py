"""`rosetta prepare`: write the canonical inputs of workloads."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import inputs
from ..errors import SpecError
from ..progress import bar
from ..runner import plan
from ..spec import workload as workloads


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="workloads or datasets; none: all")
    ] = None,
    profile: Annotated[str, typer.Option(help="smoke, quick or full")] = "full",
    data: Annotated[str, typer.Option(help="auto or stand-in")] = "auto",
    download: Annotated[bool | None, typer.Option(help="missing data; full does")] = None,
) -> None:
    """Read, verify, decode and draw what every framework is fed; downloads what you name."""
    plan.one_of("data", data, ("auto", "stand-in"))
    plan.one_of("profile", profile, workloads.PROFILES)
    specs = [workloads.load(name) for name in workloads.names()]
    chosen = [w for w in specs if not names or w.name in names or w.dataset in names]
    known = {n for w in specs for n in (w.name, w.dataset)}
    if unknown := set(names or ()) - known:
        raise SpecError(
            f"{', '.join(sorted(unknown))}: not known", f"one of {', '.join(sorted(known))}"
        )
    download = profile == "full" if download is None else download
    source = inputs.Source(data == "stand-in", download, large=bool(names))
    for workload in chosen:
        with bar() as progress:
            path = inputs.prepare(workload, profile, source, progress)
        manifest = inputs.load_manifest(path)
        print(f"{workload.name}: {manifest['data']['label']} data, {path}")
