"""A whole run: set up, prepare, plan, resume or begin, measure job by job, judge."""

from __future__ import annotations

import getpass
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock

from .. import inputs, judge, machine, project, references
from ..env import environments
from ..env.environments import Environment
from ..progress import bar, console
from ..spec import framework as frameworks_of
from ..spec.framework import Framework
from ..spec.workload import Workload
from . import plan
from .execute import execute
from .plan import Job, Options
from .progress import JobProgress
from .record import FINAL, Record


def run(
    frameworks: list[Framework],
    workloads: list[Workload],
    options: Options,
    source: inputs.Source,
) -> Record:
    """Measures every cell that was asked for, or goes on with the run that was cut off.

    Raises:
        KeyboardInterrupt: After what was measured has been judged.
        RosettaError: Nothing can be measured: bad input, missing data.
        OSError: The disk is full; what was measured stays, and the next call goes on.
    """
    with alone():
        outcomes = {f.name: environments.outcome(f, options.device) for f in frameworks}
        manifests = prepare(workloads, options.profile, source)
        referee = _referee(frameworks, workloads, options, manifests)
        record, jobs = _begin(frameworks, workloads, options, outcomes, manifests, referee)
        kernels = {name: e.kernel for name, e in outcomes.items() if isinstance(e, Environment)}
        try:
            _measure(record, jobs, kernels, manifests)
        finally:
            judge.judge_run(record.folder)
    return record


@contextmanager
def alone() -> Iterator[None]:
    """Holds the machine, for two runs at once would measure each other; a second one waits."""
    path = Path(tempfile.gettempdir()) / f"rosetta-{getpass.getuser()}.lock"
    lock = filelock.FileLock(path)
    owner = path.with_suffix(".owner")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = owner.read_text("utf-8") if owner.is_file() else "another process"
        console.print(f"waiting: {who} is measuring on this machine (Ctrl-C to give up)")
        lock.acquire()
    try:
        owner.write_text(f"process {os.getpid()} in {project.ROOT.name}", "utf-8")
        yield
    finally:
        lock.release()


def prepare(workloads: list[Workload], profile: str, source: inputs.Source) -> dict[str, Path]:
    """The manifest of each workload's canonical inputs, written now or found written."""
    manifests = {}
    for workload in workloads:
        with bar() as progress:
            manifests[workload.name] = inputs.prepare(workload, profile, source, progress)
    return manifests


def _referee(
    frameworks: list[Framework],
    workloads: list[Workload],
    options: Options,
    manifests: dict[str, Path],
) -> plan.Referee | None:
    """Who judges, and the workloads that have no reference yet; None where nobody can.

    A run that measures the judge itself makes its references anew.
    """
    if "parity" not in options.kinds:
        return None
    judges = (f for f in map(frameworks_of.load, frameworks_of.names()) if f.judge)
    judging = next(judges, None)
    if judging is None:
        return None
    machine_folder = project.RESULTS / machine.name(machine.fingerprint())
    steps = {w.name: references.steps(w, options.profile, manifests[w.name]) for w in workloads}
    lacking = {
        w.name: steps[w.name]
        for w in workloads
        if judging in frameworks
        or not references.at_hand(machine_folder, w.name, manifests[w.name], steps[w.name])
    }
    environment = environments.outcome(judging, "cpu")
    if isinstance(environment, str):
        console.print(f"{judging.title}, which judges the others, is {environment}")
        return None
    return plan.Referee(judging, lacking, environment.kernel)


def _begin(
    frameworks: list[Framework],
    workloads: list[Workload],
    options: Options,
    outcomes: dict[str, Environment | str],
    manifests: dict[str, Path],
    referee: plan.Referee | None,
) -> tuple[Record, list[Job]]:
    """The run to go on with, where this very plan was cut off; else a new one."""
    cells = plan.cells(frameworks, workloads, options, outcomes)
    jobs = plan.jobs(cells, workloads, frameworks, options, referee)
    document: dict[str, Any] = {
        "profile": options.profile,
        "options": asdict(options),
        "frameworks": {f.name: _framework(f, outcomes[f.name]) for f in frameworks},
        "inputs": {n: _inputs(path) for n, path in manifests.items()},
        "cells": [{**asdict(cell), "id": cell.id} for cell in cells],
        "jobs": [
            {"id": j.id, "cell": j.cell.id, "kind": j.kind, "round": j.round, "job": j.parameters}
            for j in jobs
        ],
    }
    same = plan.digest(document)
    facts = machine.fingerprint()
    name = machine.name(facts)
    if record := Record.unfinished(name, same):
        console.print(f"going on with {record.name}, which was cut off")
        return record, jobs
    created = Record.create(
        name, {"plan": same, "machine": {"name": name, **facts}, **commit(), **document}
    )
    return created, jobs


def _measure(
    record: Record,
    jobs: list[Job],
    kernels: dict[str, str],
    manifests: dict[str, Path],
) -> None:
    states = record.states()
    done = {job.id for job in jobs if states.get(job.id, {}).get("state") in FINAL}
    with JobProgress(jobs, done) as progress:
        for job in jobs:
            if job.id in done:
                continue
            progress.begin(job)
            kernel = job.kernel or kernels[job.cell.framework]
            if job.judges and record.states()[job.judges]["state"] != "measured":
                state = "skipped"
                record.note(job.id, state, reason=f"{job.judges} recorded nothing to judge")
            else:
                state = execute(record, job, kernel, manifests[job.cell.workload])
            progress.end(job, state, record.states()[job.id]["reason"])


def _framework(framework: Framework, outcome: Environment | str) -> dict[str, Any]:
    facts = {"title": framework.title, "distribution": framework.distribution}
    if isinstance(outcome, str):
        state, _, reason = outcome.partition(": ")
        return {**facts, "state": state, "reason": reason, "version": ""}
    version = framework.version(outcome.versions)
    return {**facts, "state": "ready", "reason": "", "version": version, **outcome.facts()}


def _inputs(path: Path) -> dict[str, Any]:
    manifest = inputs.load_manifest(path)
    order = manifest["arrays"].get("order", {"shape": [0, 0]})
    known = {key: manifest[key] for key in ("digest", "data", "weights")}
    return {**known, "samples": order["shape"][1]}  # of training, in an epoch


def commit() -> dict[str, Any]:
    """Which state of the project measures; empty where it is no git checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "", "dirty": None}


def _git(*words: str) -> str:
    command = ["git", "-C", str(project.ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
