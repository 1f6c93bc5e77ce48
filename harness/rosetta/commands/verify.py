"""`rosetta verify`: are the environments what their locks say, and the numbers right?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import inputs, machine, project, store
from ..agreement import bound_of
from ..env import environments, locks, record
from ..errors import EnvironmentFailed
from ..runner import plan
from ..runner.run import run as run_jobs
from ..spec import framework as frameworks_of
from ..spec import workload as workloads_of
from ..spec.framework import Framework
from ..spec.workload import Workload
from ..store import Run

Words = list[str] | None


@dataclass(frozen=True)
class Finding:
    """One line of the verdict."""

    state: str  # "ok", "FAIL", or "skip": nothing was checked, and why
    what: str
    evidence: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"\n     Fix: {self.fix}" if self.fix else ""
        return f"{self.state:4} {self.what}: {self.evidence}{fix}"


def command(
    names: Annotated[Words, typer.Argument(help="frameworks; none: all that are set up")] = None,
    workloads: Annotated[Words, typer.Option("--workload", help="names; none: all")] = None,
    profile: Annotated[str, typer.Option(help="how many parity steps: smoke or quick")] = "smoke",
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Check environments against their locks, and every network's numbers against the reference.

    Parameter counts, first losses, losses, activations, gradients and updated tensors of one short
    parity job per framework and workload. Exit code 1: a line says FAIL.
    """
    device = device or machine.device()
    plan.choose([profile], ["smoke", "quick"], "profile")
    asked = plan.choose(names or [], frameworks_of.names(), "framework")
    wanted = plan.choose(workloads or [], workloads_of.names(), "workload")
    chosen = [frameworks_of.load(name) for name in asked]
    found = []
    for framework in chosen:
        found.append(_say(environment_finding(framework, device, named=bool(names)), as_json))
    able = [f for f in chosen if environments.status(f, device)]
    if able:
        specs = [workloads_of.load(name) for name in wanted]
        run = _parity_run(able, specs, profile, device)
        for finding in parity_findings(run, set(asked)):
            found.append(_say(finding, as_json))
    failed = [finding for finding in found if finding.state == "FAIL"]
    if as_json:
        lines = [asdict(finding) for finding in found]
        print(json.dumps({"schema": 1, "ok": not failed, "findings": lines}, indent=1))
    else:
        print(
            f"{len(failed)} of {len(found)} checks failed" if failed else "all is as it should be"
        )
    if failed:
        raise typer.Exit(1)


def environment_finding(framework: Framework, device: str, named: bool = False) -> Finding:
    """What is installed against what the lock lists, asked of the interpreter itself.

    Args:
        named: The framework was asked for by name, so that its absence is a failure.
    """
    what, remedy = f"environment of {framework.name}", f"rosetta setup {framework.name}"
    known = record.read(record.kernel_name(framework.name, device))
    if known is None:
        if reason := framework.refusal(device=device):
            return Finding("skip", what, f"not offered on {device}: {reason}")
        return Finding("FAIL" if named else "skip", what, f"not set up for {device}", remedy)
    try:
        _, versions = record.inventory(known.python, known.overlay, known.paths)
    except EnvironmentFailed as error:
        return Finding("FAIL", what, str(error), f"{remedy} --rebuild")
    path = framework.locks / known.lock
    if not known.lock or not path.is_file():
        state = "ok" if known.adopted else "FAIL"
        return Finding(state, what, f"no lock file to compare with{_adopted(known)}")
    lock = locks.Lock(path, "")
    differences = record.differences(versions, lock.packages)
    texts = [f"{d.package} {d.found or 'missing'} (lock: {d.locked})" for d in differences]
    if known.adopted:  # it stays as it is; the difference is shown
        return Finding("ok", what, f"{len(texts)} differences from {known.lock}{_adopted(known)}")
    if texts:
        shown = ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if texts[3:] else "")
        return Finding("FAIL", what, f"{shown}; {known.lock}", f"{remedy} --rebuild")
    if lock.digest != known.lock_digest:
        return Finding("FAIL", what, f"{known.lock} has changed since it was built", remedy)
    return Finding("ok", what, f"all {len(lock.packages)} packages as in {known.lock}")


def parity_findings(run: Run, frameworks: set[str]) -> Iterator[Finding]:
    """What the parity jobs of a judged run say of these frameworks and of the reference itself."""
    for job in run.plan["jobs"]:
        facts = job["job"]
        reference = facts["precision"] == "fp64"
        if job["kind"] != "parity" or not (reference or facts["framework"] in frameworks):
            continue
        who = f"{facts['workload']}, {facts['framework']}/{facts['variant']}"
        who += ", float64 reference" if reference else ""
        state, document = run.state(job["id"]), run.judged(job["id"])
        if document is None:
            why = state.reason or f"its job is {state.state}"
            notebook = run.folder / "notebooks" / f"{job['id']}.ipynb"
            yield Finding("FAIL", who, why, f"read {notebook}")
        else:
            yield from _judged(who, document, workloads_of.load(facts["workload"]), facts)
    for cell in run.plan["cells"]:
        if cell["state"] != "planned" and cell["framework"] in frameworks:
            state = "FAIL" if cell["state"] == "failed" else "skip"
            who = f"{cell['workload']}, {cell['framework']}/{cell['variant']}"
            yield Finding(state, who, f"{cell['state']}: {cell['reason']}")


def _judged(
    who: str, document: dict[str, Any], workload: Workload, facts: dict[str, Any]
) -> Iterator[Finding]:
    count = document["parameters"]
    if count is not None and count != workload.parameters:
        evidence = f"{count:,} parameters, {workload.parameters:,} expected"
        yield Finding("FAIL", who, evidence, "compare its Model section with tensors.csv")
    if facts["precision"] == "fp64" and not workload.parity.bound_losses:
        yield Finding("ok", who, "computed; it has no losses to compare with stored ones")
        return
    if document["state"] == "unverified":
        yield Finding("skip", who, document["reason"], _unverified(facts))
        return
    for text in document["findings"][:3]:
        yield Finding("FAIL", who, text, f"the bounds: benchmarks/{workload.name}/workload.toml")
    if document["state"] == "verified":
        yield Finding("ok", who, f"{_distances(document, workload, facts)}{_note(document)}")


def _distances(document: dict[str, Any], workload: Workload, facts: dict[str, Any]) -> str:
    parts = [f"{document['parameters']:,} parameters"] if document["parameters"] else []
    bounds, precision = workload.parity, facts["precision"]
    steps = min(len(document["curve"]), len(document["reference_curve"]))
    for name, value, bound in (
        ("first loss", document["first_loss"], bounds.bound_first),
        (f"{steps} losses", document["losses"], bounds.bound_losses),
    ):
        if value is not None:
            parts.append(f"{name} {value:.1e} (bound {bound_of(bound, precision):.0e})")
    for group, worst in document["worst"].items():
        parts.append(f"{group} {worst['error']:.1e} (bound {worst['bound']:.0e})")
    return "; ".join(parts)


def _note(document: dict[str, Any]) -> str:
    return f" ({document['reason']})" if document["reason"] else ""


def _unverified(facts: dict[str, Any]) -> str:
    if facts["precision"] == "fp64":
        return "maintainers store its losses with harness/make_reference.py"
    return "rosetta setup of the framework whose framework.toml names a judge"


def _adopted(known: record.Environment) -> str:
    return "; adopted, left as it is" if known.adopted else ""


def _say(finding: Finding, as_json: bool) -> Finding:
    if not as_json:
        print(finding, flush=True)
    return finding


def _parity_run(
    frameworks: list[Framework], workloads: list[Workload], profile: str, device: str
) -> Run:
    """One parity job of every default variant, judged; the records of earlier ones are deleted."""
    options = plan.Options(profile, device, machine.cores(), kinds=("parity",))
    with _aside() as folder:
        made = run_jobs(frameworks, workloads, options, inputs.Source(stand_in=True))
        for path in folder.glob("*/*/run.json"):
            if path.parent != made.folder:
                shutil.rmtree(project.home() / "runs" / path.parent.name, ignore_errors=True)
                shutil.rmtree(path.parent)
        return store.Run(made.folder)


@contextmanager
def _aside() -> Iterator[Path]:
    """To verify is not to measure: its records stay in ``.rosetta``, away from the results."""
    results, project.RESULTS = project.RESULTS, project.home() / "verify"
    try:
        yield project.RESULTS
    finally:
        project.RESULTS = results
