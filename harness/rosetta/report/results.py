"""From the results folder to rows, for every command that reads results."""

from __future__ import annotations

from pathlib import Path

from .. import store
from ..errors import ResultError, SpecError
from ..row import Row
from ..rows import rows as rows_of


def folders(machines: list[str] | None) -> list[Path]:
    """The result folders of the named machines, or of all.

    Raises:
        ResultError: A machine without results, or no results at all.
    """
    known = {folder.name: folder for folder in store.machines()}
    if not known:
        raise ResultError("results/ has no run of any machine", "rosetta run")
    for name in machines or ():
        if name not in known:
            raise ResultError(
                f"no results of machine {name!r}; results/ has {', '.join(known)}",
                "rosetta run, or another --machine",
            )
    return [known[name] for name in machines or known]


def load(
    machines: list[str] | None, workloads: list[str] | None, reference: str | None
) -> list[Row]:
    """The rows of machines and workloads; None: all.

    Args:
        reference: "framework/variant" that ratios refer to; None: the one each run was given.

    Raises:
        ResultError: A machine without results, or no results at all.
        SpecError: A workload or a reference of which there is no row.
    """
    rows = [row for folder in folders(machines) for row in rows_of(folder, reference)]
    _there("workload", workloads or [], {row.workload for row in rows})
    _there("reference", [reference] * bool(reference), {f"{r.framework}/{r.variant}" for r in rows})
    return [row for row in rows if not workloads or row.workload in workloads]


def _there(what: str, asked: list[str], known: set[str]) -> None:
    for name in asked:
        if name not in known:
            raise SpecError(f"no rows of {what} {name!r}", f"one of: {', '.join(sorted(known))}")
