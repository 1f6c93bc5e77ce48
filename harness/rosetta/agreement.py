"""How far one set of arrays is from another, in words: numbers of frameworks against a reference.

Errors are relative and Euclidean, ||a - r|| / max(||r||, 1e-3 * median norm of its group): the
second term is the scale of a tensor that ought to be zero (the gradient of a bias in front of a
batch norm, say), of which rounding is all there is. Everything is compared in float64. What is
missing, has another shape or is not finite is a finding with a name, never a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .spec.workload import Workload

GROUPS = {
    "alone": "activation/",
    "activations": "activation/",
    "alone gradients": "gradient/",
    "gradients": "gradient/",
    "alone updated": "updated/",
    "updated": "updated/",
    "buffers": "updated/",
}
FLOOR = 1e-3  # of the median norm of a group
# Bounds are stated for float32. Another precision's are wider by the ratio of the unit roundoffs,
# up to half of the reference: a transposed or swapped tensor is off by more than its own size.
ROUNDOFF = {"fp64": 2**-24, "fp32": 2**-24, "tf32": 2**-11, "fp16": 2**-11, "bf16": 2**-8}
LOOSEST = 0.5


@dataclass
class Agreement:
    """Distances, and what is wrong, in the order in which a step computes it."""

    first_loss: float | None = None
    losses: float | None = None
    worst: dict[str, dict[str, Any]] = field(default_factory=dict)  # group -> tensor, error, bound
    findings: list[str] = field(default_factory=list)


def bound_of(bound: float, precision: str) -> float:
    """A float32 bound, widened for another precision."""
    scale = ROUNDOFF[precision] / ROUNDOFF["fp32"]
    return bound if scale == 1 else min(bound * scale, LOOSEST)


def compare(
    arrays: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    trajectory: Sequence[float],
    workload: Workload,
    precision: str,
    steps: int,
) -> Agreement:
    """The arrays of a parity job against those of the reference.

    The first finding is the nearest to the cause: activations from the first layer to the last,
    the first loss, gradients from the last layer to the first (as backpropagation computes them),
    updated tensors, the later losses.

    Args:
        arrays: As parity.npz has them; likewise ``reference``.
        trajectory: The reference's losses, also of steps that its own job was not asked for.
        steps: How many losses the job was asked for.
    """
    bounds, found = workload.parity, Agreement()
    losses = Agreement()
    compare_losses(losses, arrays.get("losses"), trajectory, workload, precision, steps)
    for group, limit in (
        ("activations", bounds.bound_activations),
        ("gradients", bounds.bound_gradients),
        ("updated", bounds.bound_updated),
        ("buffers", bounds.bound_buffers),
    ):
        if limit:
            names = [n for n in _names(group, workload) if GROUPS[group] + n in reference]
            _tensors(found, group, names, bound_of(limit, precision), arrays, reference)
        if group == "activations":
            found.findings += [text for text in losses.findings if text.startswith("first loss")]
    found.first_loss, found.losses = losses.first_loss, losses.losses
    found.findings += [text for text in losses.findings if not text.startswith("first loss")]
    return found


def compare_alone(
    arrays: Mapping[str, np.ndarray],
    alone: Mapping[str, np.ndarray],
    start: Mapping[str, np.ndarray],
    workload: Workload,
    precision: str,
) -> Agreement:
    """The arrays of a parity job, layer by layer against one layer's float64 at a time.

    Args:
        alone: What the reference made of the job's own output of the layer before, the gradients
            of a backward pass through the job's own outputs, and the parameters after a step with
            the job's own gradients.
        start: The parameters before that step. Of an update the change is compared, for next to
            the weights themselves it is small.
    """
    bounds, found = workload.parity, Agreement()
    for group, limit, mine, base in (
        ("alone", bounds.bound_alone, arrays, alone),
        ("alone gradients", bounds.bound_alone_gradients, arrays, alone),
        (
            "alone updated",
            bounds.bound_alone_updated,
            *(_changes(a, start) for a in (arrays, alone)),
        ),
    ):
        if limit:
            names = [n for n in _names(group, workload) if GROUPS[group] + n in base]
            _tensors(found, group, names, bound_of(limit, precision), mine, base)
    return found


def _changes(
    arrays: Mapping[str, np.ndarray], start: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What a step added to each tensor; one of another shape stays as it is, to be found."""
    found = {}
    for name, before in start.items():
        after = arrays.get(f"updated/{name}")
        if after is not None:
            same = after.shape == before.shape
            found[f"updated/{name}"] = _floats(after) - before if same else after
    return found


def compare_losses(
    found: Agreement,
    losses: Sequence[float | None] | np.ndarray | None,
    reference: Sequence[float] | np.ndarray | None,
    workload: Workload,
    precision: str,
    steps: int,
) -> None:
    """Relative errors of the losses, as far as both trajectories go."""
    if not workload.parity.bound_losses or reference is None:
        return
    mine = _floats([] if losses is None else losses)
    base = _floats(reference)
    if len(mine) < min(steps, len(base)):
        found.findings.append(f"losses: {len(mine)} recorded, {steps} asked for")
    mine, base = mine[: len(base)], base[: len(mine)]
    if not len(mine):
        return
    if not np.isfinite(base).all():
        found.findings.append("losses: the reference's are not all finite numbers")
        return
    if not np.isfinite(mine).all():
        step = int(np.argmin(np.isfinite(mine)))
        name = "first loss" if step == 0 else f"losses: that of step {step + 1}"
        found.findings.append(f"{name} is not a finite number")
        return
    errors = np.abs(mine - base) / np.maximum(np.abs(base), np.finfo(float).tiny)
    found.first_loss, found.losses = float(errors[0]), float(errors.max())
    first = bound_of(workload.parity.bound_first, precision)
    every = bound_of(workload.parity.bound_losses, precision)
    if errors[0] > first:
        found.findings.append(
            f"first loss: {mine[0]:.9g}, reference {base[0]:.9g}: "
            f"relative error {errors[0]:.1e}, bound {first:.1e}"
        )
    if (errors > every).any():
        step = int(np.argmax(errors > every))
        found.findings.append(
            f"losses: that of step {step + 1} is {mine[step]:.6g}, reference {base[step]:.6g}: "
            f"relative error {errors[step]:.1e}, bound {every:.1e}"
        )


def compare_features(features: np.ndarray | None, reference: np.ndarray) -> dict[str, Any]:
    """(N, F) features against the reference's: the worst image of all.

    Returns:
        ``error`` (relative, Euclidean) and ``cosine``, ``images``; or ``problem``, a sentence.
    """
    if problem := _problem("features", features, reference):
        return {"problem": problem}
    mine, base = _floats(features), _floats(reference)  # (N, F)
    norms = np.linalg.norm(base, axis=1)
    tiny = np.finfo(float).tiny
    errors = np.linalg.norm(mine - base, axis=1) / np.maximum(norms, tiny)
    lengths = np.maximum(np.linalg.norm(mine, axis=1) * norms, tiny)
    cosines = (mine * base).sum(axis=1) / lengths
    return {"error": float(errors.max()), "cosine": float(cosines.min()), "images": len(mine)}


def _names(group: str, workload: Workload) -> Iterable[str]:
    if group in ("alone", "activations"):
        return workload.parity.activations
    if group in ("alone gradients", "gradients"):
        return [*(t.name for t in reversed(workload.tensors) if t.trained), "input"]
    return [tensor.name for tensor in workload.tensors if tensor.trained == (group != "buffers")]


def _tensors(
    found: Agreement,
    group: str,
    names: Sequence[str],
    bound: float,
    arrays: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
) -> None:
    prefix = GROUPS[group]
    norms = {name: float(np.linalg.norm(_floats(reference[prefix + name]))) for name in names}
    floor = FLOOR * float(np.median(list(norms.values()))) if norms else 0.0
    worst = None
    for name in names:
        base, mine = reference[prefix + name], arrays.get(prefix + name)
        if problem := _problem(prefix + name, mine, base):
            found.findings.append(problem)
            continue
        scale = max(norms[name], floor) or 1.0
        error = float(np.linalg.norm(_floats(mine) - _floats(base))) / scale
        if not error <= bound:  # also where the reference is not a number
            own = " alone" if group.startswith("alone") else ""
            text = f"{prefix}{name}{own}: relative error {error:.1e}, bound {bound:.1e}"
            found.findings.append(text)
        if np.isfinite(error) and (worst is None or error > worst["error"]):
            worst = {"tensor": name, "error": error, "bound": bound}
    if worst:
        found.worst[group] = worst


def _problem(name: str, mine: np.ndarray | None, base: np.ndarray) -> str:
    if mine is None:
        return f"{name} is missing"
    if mine.shape != base.shape:
        return f"{name} has shape {mine.shape}, expected {base.shape}"
    if mine.dtype.kind not in "fiub":
        return f"{name} is of type {mine.dtype}, expected real numbers"
    wrong = int(mine.size - np.isfinite(mine).sum())
    return f"{name}: {wrong} of {mine.size} numbers are not finite" if wrong else ""


def _floats(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)  # None becomes NaN
