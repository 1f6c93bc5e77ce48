"""What the arrays of a run say, computed once and kept: accuracy, AUC, distances from a reference.

Arrays are large and stay in the ignored ``.rosetta/``; ``judged/<job>.json`` is small, has their
digests and is committed. No notebook computes any of this, so none can define it its own way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import agreement, references, store
from .agreement import Agreement
from .errors import ResultError
from .inputs import load_array, load_manifest, write_whole
from .references import Reference, sha256
from .spec import workload as workloads
from .spec.workload import Workload

SCHEMA = 1
BATCH_2018 = 64  # the 2018 suite counted whole batches only: 9,984 of 10,000, 24,960 of 25,000
FINDINGS = 20  # at most that many are kept of one job


def judge_run(folder: Path) -> list[str]:
    """Judges every measured job of a run whose arrays are at hand.

    May be called again at any time: what was judged is left as it is unless its arrays, its
    reference or its bounds have changed; where arrays are gone, what was found in them stays.

    Args:
        folder: ``results/<machine>/<run>``.

    Returns:
        The jobs judged by this call.

    Raises:
        ResultError: The run cannot be read as what it claims to be.
    """
    run, judged = store.Run(folder), []
    known: dict[str, Reference | None] = {}
    for planned in run.plan["jobs"]:
        job, kind, workload = planned["id"], planned["kind"], planned["job"]["workload"]
        if kind not in ("parity", "training") or run.measured(job) is None:
            continue
        if workload not in known:
            known[workload] = references.find(run, workload)
        reference = known[workload] if kind == "parity" else None
        if planned["job"]["precision"] == "fp64":  # it judges, and the stored losses judge it
            reference = references.trajectory(workload, references.parity_digest(run, workload))
        spec, files = workloads.load(workload), _files(run.arrays(job), kind)
        twin = _twin(run, planned, next(iter(files), ""))
        alone = _alone(run, planned) if kind == "parity" else None
        key = _key(files, reference, twin, alone, spec)
        if not files or (run.judged(job) or {}).get("key") == key:
            continue
        found = (
            _training(run, planned, spec, twin)
            if kind == "training"
            else _parity(run, planned, spec, reference, twin, alone)
        )
        head = {"schema": SCHEMA, "job": job, "kind": kind, "key": key, "arrays": files}
        text = json.dumps({**head, **found}, indent=1, allow_nan=False)
        write_whole(folder / "judged" / f"{job}.json", text.encode())
        judged.append(job)
    return judged


def _training(
    run: store.Run, planned: dict[str, Any], spec: Workload, twin: Path | None
) -> dict[str, Any]:
    job, out = planned["id"], run.arrays(planned["id"])
    found: dict[str, Any] = {
        "samples": None,
        "accuracy": None,
        "accuracy_2018": None,
        "auc": None,
        "auc_classes": None,
        "features": None,
        "findings": [],
    }
    try:
        if (out / "predictions.npy").is_file():
            found |= _score(_recorded(run, job, "predictions"), _targets(run, spec), spec)
        if (out / "features.npy").is_file():
            mine = _recorded(run, job, "features")
            found["features"] = _against_framework(run, mine, twin)
    except ResultError as error:
        found["findings"] = [str(error)]
    return found


def _targets(run: store.Run, spec: Workload) -> np.ndarray:
    path = run.manifest(spec.name)
    if path is None:
        raise ResultError(f"the inputs of {spec.name} are gone, so predictions cannot be scored")
    return np.asarray(load_array(path, load_manifest(path), "test.y"))


def _score(predictions: np.ndarray, y: np.ndarray, spec: Workload) -> dict[str, Any]:
    """Accuracy of class ids (N,) or scores (N, classes); the mean AUC of scores of many labels."""
    if len(predictions) != len(y):
        raise ResultError(f"predictions: {len(predictions)} of {len(y)} test samples")
    if not np.isfinite(predictions).all():
        raise ResultError("predictions: some are not finite numbers")
    if spec.input.target == "multi_hot":
        if predictions.shape != y.shape:
            raise ResultError(f"predictions have shape {predictions.shape}, expected {y.shape}")
        from sklearn.metrics import roc_auc_score  # here: it takes seconds to import

        both = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
        areas = [roc_auc_score(y[:, k], predictions[:, k]) for k in both]
        mean = float(np.mean(areas)) if areas else None
        return {"samples": len(y), "auc": mean, "auc_classes": len(areas)}
    classes = predictions.argmax(1) if predictions.ndim == 2 else predictions
    right = classes.astype(np.int64) == y
    whole = len(y) // BATCH_2018 * BATCH_2018
    return {
        "samples": len(y),
        "accuracy": float(right.mean()),
        "accuracy_2018": float(right[:whole].mean()) if whole else None,
    }


def _parity(
    run: store.Run,
    planned: dict[str, Any],
    spec: Workload,
    reference: Reference | None,
    twin: Path | None,
    alone: Path | None,
) -> dict[str, Any]:
    losses = run.measured(planned["id"]).last["parity"]["losses"]
    precision = planned["job"]["precision"]
    steps = planned["job"]["schedule"]["steps"] or 1
    document: dict[str, Any] = {
        "state": "unverified",
        "against": reference.name if reference else None,
        "curve": losses,
        "reference_curve": list(reference.losses[: len(losses)]) if reference else [],
        "parameters": None,
        "features": None,
    }
    found, judged = Agreement(), False
    try:
        with _open(run.arrays(planned["id"]) / "parity.npz") as arrays:
            document["parameters"] = _parameters(arrays)
            if reference and reference.path:
                judged = True
                with _open(reference.path) as base:
                    found = agreement.compare(
                        arrays, base, reference.losses, spec, precision, steps
                    )
                    if alone:  # the layer at fault comes before what follows from it
                        with _open(alone) as own:
                            start = _parity_tensors(run, spec)
                            first = agreement.compare_alone(arrays, own, start, spec, precision)
                        found.findings[:0] = first.findings
                        found.worst |= first.worst
                    if "features" in base:
                        mine = arrays.get("features")
                        compared = agreement.compare_features(mine, base["features"])
                        found.findings += [compared["problem"]] if "problem" in compared else []
                        pairwise = _against_framework(run, mine, twin)
                        who = {"against": "the float64 reference", "pairwise": pairwise}
                        document["features"] = {**compared, **who}
            elif reference and spec.parity.bound_losses:
                judged = True
                agreement.compare_losses(found, losses, reference.losses, spec, precision, steps)
    except ResultError as error:
        judged = True
        found.findings.append(str(error))
    document |= {**asdict(found), "findings": found.findings[:FINDINGS]}
    if not judged:
        return {**document, "reason": "no float64 reference to compare with"}
    if found.findings:
        return {**document, "state": "outside", "reason": found.findings[0]}
    note = "" if reference.path else "losses only: the reference's tensors are not at hand"
    return {**document, "state": "verified", "reason": note}


def _alone(run: store.Run, planned: dict[str, Any]) -> Path | None:
    """What the reference made of this parity job's own numbers, layer by layer."""
    for job in run.jobs(planned["cell"], "alone"):
        path = run.arrays(job["id"]) / "parity.npz"
        if run.measured(job["id"]) and path.is_file():
            return path
    return None


def _parity_tensors(run: store.Run, spec: Workload) -> dict[str, np.ndarray]:
    """What the parity jobs started from; nothing where the inputs are gone."""
    path = run.manifest(spec.name)
    manifest = load_manifest(path) if path else {"arrays": {}}
    names = [t.name for t in spec.tensors if f"parity/{t.name}" in manifest["arrays"]]
    return {name: load_array(path, manifest, f"parity/{name}") for name in names}


def _parameters(arrays: Mapping[str, np.ndarray]) -> int | None:
    """How many numbers were trained: those that have a gradient."""
    names = [n for n in arrays if n.startswith("gradient/") and n != "gradient/input"]
    return sum(arrays[name].size for name in names) or None


def _twin(run: store.Run, planned: dict[str, Any], file: str) -> Path | None:
    """The same file of the job that the named reference framework did under equal conditions."""
    same = ("workload", "feed", "precision", "device", "devices", "kind")
    for other in run.plan["jobs"]:
        path = run.arrays(other["id"]) / file
        if (
            f"{other['job']['framework']}/{other['job']['variant']}" == _named(run)
            and all(other["job"][key] == planned["job"][key] for key in same)
            and run.measured(other["id"])
            and path.is_file()
        ):
            return path if other["id"] != planned["id"] else None
    return None


def _named(run: store.Run) -> str:
    return run.plan["options"].get("reference", "pytorch/eager")


def _against_framework(
    run: store.Run, mine: np.ndarray | None, twin: Path | None
) -> dict[str, Any] | None:
    """Features against those of the named reference framework."""
    if twin is None:
        return None
    with _open(twin) as arrays:
        if "features" not in arrays:
            return None
        return {**agreement.compare_features(mine, arrays["features"]), "against": _named(run)}


class _Arrays(Mapping):
    """The arrays of a file, each read when asked for: two whole networks need not fit in memory."""

    def __init__(self, file: Any, names: list[str]) -> None:
        self._file, self._names = file, names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        try:
            return self._file[name]
        except Exception as error:  # zipfile, zlib, NumPy and the pickle ban each raise their own
            raise ResultError(f"{name} cannot be read: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def _open(path: Path) -> Iterator[_Arrays]:
    """parity.npz, or features.npy as the one array ``features``."""
    with path.open("rb") as file:
        try:
            loaded = np.load(file, allow_pickle=False)
        except Exception as error:  # as above
            raise ResultError(f"{path.name} cannot be read: {error}") from error
        if isinstance(loaded, np.ndarray):
            yield _Arrays({path.stem: loaded}, [path.stem])
        else:
            with loaded:
                yield _Arrays(loaded, loaded.files)


def _recorded(run: store.Run, job: str, kind: str) -> np.ndarray:
    """predictions.npy or features.npy, if it is still what the job recorded."""
    path, event = run.arrays(job) / f"{kind}.npy", run.measured(job).last.get(kind)
    if event is None or event["sha256"] != sha256(path):
        raise ResultError(f"{path.name} is not what the job recorded: its digest differs")
    with _open(path) as arrays:
        return arrays[kind]


def _files(out: Path, kind: str) -> dict[str, str]:
    names = ("parity.npz",) if kind == "parity" else ("predictions.npy", "features.npy")
    return {name: sha256(out / name) for name in names if (out / name).is_file()}


def _key(
    files: dict[str, str],
    reference: Reference | None,
    twin: Path | None,
    alone: Path | None,
    spec: Workload,
) -> str:
    """Equal where judging again would find the same."""
    base = (reference.name, reference.digest) if reference else None
    others = [path and sha256(path) for path in (twin, alone)]
    text = repr((SCHEMA, files, base, others, spec.parity, spec.input))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
