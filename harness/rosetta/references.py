"""The float64 jobs that judge all others: which one, and whether its arrays are still at hand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from . import project, store
from .errors import ResultError
from .inputs import load_manifest, write_whole
from .spec.workload import Workload


@dataclass(frozen=True)
class Reference:
    """What parity jobs of a workload are compared with."""

    name: str  # run/job, or the file of the stored trajectory
    digest: str
    path: Path | None  # of its arrays; None: only the losses are known
    losses: tuple[float, ...]


def find(run: store.Run, workload: str) -> Reference | None:
    """The float64 reference of a workload: of this run, else the newest one of another run on the
    same parity inputs, else the losses stored beside the workload."""
    others = [other for other in store.runs(run.folder.parent) if other.name != run.name]
    wanted = parity_digest(run, workload)
    for candidate in [run, *others]:
        if candidate is not run and (not wanted or parity_digest(candidate, workload) != wanted):
            continue
        for job in jobs(candidate, workload):
            path = candidate.arrays(job) / "parity.npz"
            record = candidate.measured(job)
            if record and path.is_file():
                losses = tuple(record.last["parity"]["losses"])
                found = Reference(f"{candidate.name}/{job}", sha256(path), path, losses)
                return _prolonged(found, trajectory(workload, wanted))
    return trajectory(workload, wanted)


def _prolonged(reference: Reference, stored: Reference | None) -> Reference:
    """The reference with the losses stored for the steps that its job was not asked for.

    Only where the stored ones agree with those it has: float64 differs by machine in the last
    digits, and what differs by more is another trajectory.
    """
    have = len(reference.losses)
    if not stored or len(stored.losses) <= have:
        return reference
    if not np.allclose(reference.losses, stored.losses[:have], rtol=1e-9, atol=0):
        return reference
    losses = reference.losses + stored.losses[have:]
    return replace(reference, losses=losses, digest=f"{reference.digest} {stored.digest}")


def steps(workload: Workload, profile: str, manifest: Path) -> int:
    """How many steps the float64 job computes: all, or, where the profile says so and the losses
    stored beside the workload are of these inputs, only the first few of them."""
    schedule = workload.profiles[profile].schedules["parity"]
    every = schedule.steps or 0
    stored = trajectory(workload.name, digest_of(manifest))
    covered = stored is not None and len(stored.losses) >= every
    return schedule.reference if schedule.reference and covered else every


def trajectory(workload: str, wanted: str) -> Reference | None:
    """The losses stored beside a workload, if they are of these very parity inputs."""
    path = _stored(workload)
    stored = json.loads(path.read_text("utf-8")) if path.is_file() else None
    if stored is None or stored["inputs"] != wanted:
        return None
    name = f"benchmarks/{workload}/{path.name}"
    return Reference(name, sha256(path), None, tuple(stored["losses"]))


def jobs(run: store.Run, workload: str) -> list[str]:
    """The float64 parity jobs of a workload in a run: they judge, and stand in no table."""
    return [
        job["id"]
        for job in run.plan["jobs"]
        if job["kind"] == "parity"
        and job["job"]["workload"] == workload
        and job["job"]["precision"] == "fp64"
    ]


def at_hand(machine: Path, workload: str, manifest: Path, steps: int) -> bool:
    """Whether a run of this machine still has a float64 job's arrays on these parity inputs.

    Args:
        machine: ``results/<machine>``.
        steps: At least as many must have been recorded.
    """
    wanted = digest_of(manifest)
    for run in store.runs(machine):
        for job in jobs(run, workload) if parity_digest(run, workload) == wanted else ():
            record = run.measured(job)
            recorded = (record.header["job"]["schedule"]["steps"] or 0) if record else 0
            if record and recorded >= steps and (run.arrays(job) / "parity.npz").is_file():
                return True
    return False


def parity_digest(run: store.Run, workload: str) -> str:
    """Equal where parity jobs were fed the same tensors and batches; "" without a manifest."""
    path = run.manifest(workload)
    return digest_of(path) if path else ""


def digest_of(path: Path) -> str:
    """The digest of what a manifest gives to parity jobs."""
    arrays = load_manifest(path)["arrays"]
    names = sorted(n for n in arrays if n.startswith(("parity/", "parity.")))
    text = "".join(f"{name}{arrays[name]['sha256']}" for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(folder: Path) -> list[Path]:
    """Writes benchmarks/<workload>/reference.json from the float64 jobs of a run.

    Raises:
        ResultError: The run has no measured float64 job with losses, or its inputs are gone.
    """
    run, written = store.Run(folder), []
    for workload in {job["job"]["workload"] for job in run.plan["jobs"]}:
        for job in jobs(run, workload):
            record = run.measured(job)
            losses = record.last["parity"]["losses"] if record else []
            digest = parity_digest(run, workload)
            if not losses or None in losses or not digest:
                continue
            document = {
                "made_by": {**record.header["versions"], "precision": "fp64", "run": run.name},
                "inputs": digest,
                "first_loss": losses[0],
                "losses": losses,
            }
            write_whole(_stored(workload), (json.dumps(document, indent=1) + "\n").encode())
            written.append(_stored(workload))
    if not written:
        raise ResultError(
            f"{folder}: no float64 parity job with losses was measured in this run",
            "rosetta verify, then the run it names",
        )
    return sorted(written)


def _stored(workload: str) -> Path:
    return project.BENCHMARKS / workload / "reference.json"


def sha256(path: Path) -> str:
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
