"""From the results folder to rows, for every command that reads results."""

from __future__ import annotations

from pathlib import Path

from .. import project
from ..errors import ResultError, SpecError
from ..row import Row
from ..rows import rows as rows_of


def folders(machines: list[str] | None) -> list[Path]:
    """The result folders of the named machines, or of all.

    Raises:
        ResultError: A machine without results, or no results at all.
    """
    known = sorted({path.parents[1].name for path in project.RESULTS.glob("*/*/run.json")})
    for name in machines or ():
        if name not in known:
            raise ResultError(
                f"no results of machine {name!r}: results/ has {', '.join(known) or 'none'}",
                "rosetta run, or another --machine",
            )
    if not known:
        raise ResultError("results/ has no run of any machine", "rosetta run")
    return [project.RESULTS / name for name in machines or known]


def load(machines: list[str] | None, workloads: list[str] | None, reference: str) -> list[Row]:
    """The rows of machines and workloads; None: all.

    Raises:
        ResultError: A machine without results, or no results at all.
        SpecError: A workload of which there is no row.
    """
    rows = [row for folder in folders(machines) for row in rows_of(folder, reference=reference)]
    there = sorted({row.workload for row in rows})
    for name in workloads or ():
        if name not in there:
            raise SpecError(f"no rows of workload {name!r}", f"one of: {', '.join(there)}")
    return [row for row in rows if not workloads or row.workload in workloads]
