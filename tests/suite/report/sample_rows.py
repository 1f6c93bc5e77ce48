"""Rows as the suite makes them, in every state a table has to show. The numbers are invented."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

from rosetta.row import Interval, LayerTime, Parity, Row
from rosetta.spec import workload as workloads

MACHINE = "amd-epyc-9r14-2c"
RUN = "20261121T120000Z-quick"
VERSIONS = {"pytorch": "2.13.0", "keras_tf": "2.21.0", "jax_flax": "0.12.8", "mxnet_gluon": "1.9.1"}
TITLES = {
    "pytorch": "PyTorch",
    "keras_tf": "Keras on TensorFlow",
    "jax_flax": "JAX/Flax",
    "mxnet_gluon": "MXNet Gluon",
}
# framework, variant, class, seconds a step relative to PyTorch eager
CELLS = (
    ("pytorch", "eager", "default", 1.0),
    ("pytorch", "channels_last", "tuned", 0.82),
    ("pytorch", "compile", "tuned", 0.71),
    ("pytorch", "compile_channels_last", "tuned", 0.63),
    ("pytorch", "fused", "tuned", 0.995),
    ("keras_tf", "xla_off", "default", 1.31),
    ("keras_tf", "xla", "tuned", 3.4),
    ("jax_flax", "jit", "default", 2.12),
    ("mxnet_gluon", "hybrid", "default", 1.02),
)


def losses(steps: int, start: float, end: float, seed: int) -> tuple[float, ...]:
    """A noisy decay."""
    noise = random.Random(seed)
    return tuple(
        end + (start - end) * math.exp(-3 * i / steps) + noise.gauss(0, 0.03 * (1 + end))
        for i in range(steps)
    )


def layer_times(workload: str, batch: int, speed: float, seed: int) -> tuple[LayerTime, ...]:
    """Times of the distinct layers from their flops, at 40 GFLOP/s and a cost per launch."""
    noise = random.Random(seed)
    made = []
    for layer in workloads.load(workload).layers:
        if layer.like:
            continue
        flops = batch * layer.flops
        forward = (flops / 4e10 + 2e-5 + batch * math.prod(layer.input) / 2e9) * speed
        work = {"forward": forward, "input_gradient": 2.1 * forward, "total": 3.0 * forward}
        if layer.kind not in ("relu", "pool", "dropout"):
            work["weight_gradient"] = 1.9 * forward
        for name, seconds in work.items():
            seconds *= noise.uniform(0.95, 1.05)
            rate = flops / seconds if name == "forward" and flops else None
            made.append(
                LayerTime(
                    layer.name, layer.kind, name, seconds, seconds * 0.97, seconds * 1.1, rate
                )
            )
    return tuple(made)


def parity(cell: int, steps: int, state: str = "verified") -> Parity:
    """Losses that leave the reference's slowly; ``outside``: at once."""
    noise = random.Random(cell)
    size = 3e-2 if state == "outside" else 2e-7 * (1 + cell)
    reference = [2.31 * math.exp(-i / 40) for i in range(steps)]
    curve = [
        loss * (1 + size * (1 + i) * noise.uniform(0.3, 1)) for i, loss in enumerate(reference)
    ]
    worst = {
        "activations": {"tensor": "fc2", "error": 3.1e-7 * (1 + cell), "bound": 1e-5},
        "gradients": {"tensor": "conv1.bias", "error": size * 20, "bound": 1e-4},
        "updated": {"tensor": "conv3.weight", "error": 1.2e-7, "bound": 1e-5},
    }
    reason = "gradients: conv1.bias: 6.0e-01, bound 1.0e-04" if state == "outside" else ""
    worst_loss = max((abs(a / b - 1) for a, b in zip(curve, reference)), default=None)
    return Parity(
        state,
        first_loss=size,
        losses=worst_loss,
        curve=tuple(curve),
        reference_curve=tuple(reference),
        worst=worst,
        reason=reason,
    )


def measured(
    workload: str,
    cell: int,
    *,
    feed: str = "arrays",
    seconds: float,
    batch: int,
    data: str = "stand-in",
    profile: str = "quick",
    **other,
) -> Row:
    """A row with everything that every measured row has."""
    framework, variant, variant_class, speed = CELLS[cell]
    step = seconds * speed
    half = 0.006 * (1 + cell % 3)
    reference = cell == 0
    outside = variant == "fused" and workload == "cnn_cifar10"
    no_ratio = reference or outside
    verdict = "reference" if reference else "FASTER" if speed < 0.98 else "SLOWER"
    job = f"{workload}-{feed}-{framework}-{variant}-fp32-cpu1"
    jobs = [f"timing-{job}-r{k}" for k in (1, 2, 3)] + [f"parity-{job}-r1", f"training-{job}-r1"]
    compiled = "compile" in variant or framework == "jax_flax"
    row = Row(
        framework,
        TITLES[framework],
        workload,
        feed,
        variant,
        variant_class,
        "fp32",
        "cpu",
        1,
        "measured",
        "",
        profile,
        MACHINE,
        RUN,
        data,
        "random",
        batch,
        2,
        "0123456789abcdef",
        VERSIONS[framework],
        n=3,
        step_seconds=Interval(step, step * (1 - half), step * (1 + half)),
        samples_per_second=batch / step,
        epoch_seconds=step * 781,
        ratio=None if no_ratio else Interval(speed, speed * (1 - 2 * half), speed * (1 + 2 * half)),
        reference="pytorch/eager",
        verdict="no ratio: outside the parity bound" if outside else verdict,
        first_step_cold=step * (60 if compiled else 1.8),
        first_step_warm=step * (8 if compiled else 1.6),
        compile_cold=step * 55 if compiled else None,
        compile_warm=step * 6 if compiled else None,
        peak_host_bytes_cold=int(9e8 * (1.3 + 0.1 * cell)) if compiled else None,
        peak_host_bytes=int(9e8 * (1 + 0.1 * cell)),
        parity=parity(cell, 20, "outside" if outside else "verified"),
        layers=layer_times(workload, batch, speed, cell),
        samples=tuple(f"results/{MACHINE}/{RUN}/events/{j}.jsonl" for j in jobs),
        notebooks=tuple(f"results/{MACHINE}/{RUN}/notebooks/{j}.ipynb" for j in jobs),
    )
    return replace(row, **other)


def unmeasured(workload: str, cell: int, state: str, reason: str, **other) -> Row:
    """A row that only says why it has no numbers."""
    framework, variant, variant_class, _ = CELLS[cell]
    row = Row(
        framework,
        TITLES[framework],
        workload,
        "arrays",
        variant,
        variant_class,
        "fp32",
        "cpu",
        1,
        state,
        reason,
        "quick",
        MACHINE,
        RUN,
        "",
        "",
        0,
        0,
        "",
        VERSIONS[framework],
    )
    return replace(row, **other)


def cnn(data: str = "stand-in", profile: str = "quick") -> list[Row]:
    """The CNN in four frameworks; one row outside its bound, one that failed."""
    trained = [
        measured(
            "cnn_cifar10",
            cell,
            seconds=0.085,
            batch=64,
            data=data,
            profile=profile,
            accuracy=0.612 + 0.003 * cell,
            accuracy_2018=0.611 + 0.003 * cell,
            trained_steps=250,
            band="not judged: 250 steps",
            curve=losses(250, 2.3, 1.1, cell),
        )
        for cell in (0, 1, 2, 3, 4, 5, 7, 8)
    ]
    failed = (
        "InvalidArgumentError: the XLA compiler gave up on conv3 with a message | of some length"
    )
    return [*trained, unmeasured("cnn_cifar10", 6, "failed", failed, profile=profile)]


def gru() -> list[Row]:
    """The GRU: official data, two frameworks that were not measured."""
    row = measured(
        "gru_imdb",
        0,
        seconds=0.064,
        batch=64,
        data="official",
        accuracy=0.856,
        accuracy_2018=0.8559,
        trained_steps=1170,
        band="inside",
        curve=losses(500, 0.7, 0.2, 1),
    )
    return [
        row,
        unmeasured("gru_imdb", 7, "not offered", "no notebook of this workload"),
        unmeasured("gru_imdb", 8, "not installable", "no wheel for Python 3.14 on macos-arm64"),
        unmeasured("gru_imdb", 5, "interrupted", "the run was stopped before its first round"),
    ]


def resnet() -> list[Row]:
    """Features: no loss, no accuracy, a latency, and the agreement."""
    made = []
    for cell in (0, 1, 2, 5):
        named = {"error": 9e-7, "cosine": 1 - 1e-12, "images": 4, "against": "pytorch/eager"}
        pairwise = named if cell else None
        loss_free = replace(
            parity(cell, 0), first_loss=None, losses=None, curve=(), reference_curve=()
        )
        made.append(
            measured(
                "resnet50_features",
                cell,
                feed="synthetic",
                seconds=2.9,
                batch=16,
                data="synthetic",
                latency_seconds=0.21,
                parity=loss_free,
                features={
                    "error": 4.1e-7 * (1 + 3 * cell),
                    "cosine": 1 - 2e-13 * (1 + cell),
                    "images": 4,
                    "against": "the float64 reference",
                    "pairwise": pairwise,
                },
                layers=layer_times("resnet50_features", 16, CELLS[cell][3], cell),
            )
        )
    return made


def densenet() -> list[Row]:
    """CheXNet from files and from synthetic tensors; too short a training for an AUC."""
    made = []
    for cell in (0, 5):
        files = {"io_lag_seconds": 0.31, "io_lag": Interval(1.083, 1.05, 1.12)}
        for feed, extra in (("files", files), ("synthetic", {})):
            made.append(
                measured(
                    "densenet_chexnet",
                    cell,
                    feed=feed,
                    seconds=3.7 + 0.3 * bool(extra),
                    batch=8,
                    data="stand-in" if extra else "synthetic",
                    validate_seconds=0.9,
                    auc=0.71 if extra and cell else None,
                    auc_classes=14 if extra else None,
                    trained_steps=500 if extra else None,
                    **extra,
                )
            )
    return made


def all_rows() -> list[Row]:
    """Everything above, as one machine's results."""
    return [*cnn(), *gru(), *resnet(), *densenet()]


def write_run(results: Path, rows: list[Row]) -> Path:
    """The run that the rows come from, with empty samples and notebooks; returns the machine's."""
    machine = results / MACHINE
    cells, jobs, inputs = [], [], {}
    for row in rows:
        data = {"label": row.data or "stand-in"}
        inputs[row.workload] = {"digest": "d", "data": data, "weights": "", "samples": 50_000}
        name = f"{row.workload}-{row.feed}-{row.framework}-{row.variant}-fp32-cpu1"
        cell = {
            k: getattr(row, k) for k in ("workload", "feed", "framework", "variant", "precision")
        }
        state = row.state if row.state.startswith("not ") else "planned"
        cells.append({"id": name, **cell, "device": "cpu", "devices": 1, "state": state})
        cells[-1]["category"] = "default"
        for path in row.samples:
            kind, _, number = Path(path).stem.replace("-", " ").partition(" ")
            job = {"id": Path(path).stem, "cell": name, "kind": kind, "round": int(number[-1])}
            jobs.append({**job, "job": {**cell, "batch": row.batch, "devices": 1}})
        for path in (*row.samples, *row.notebooks):
            target = results.parent / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    document = {
        "schema": 1, "run": RUN, "profile": "quick", "started": "2026-11-21T12:00:00Z",
        "commit": "0123456789abcdef0123", "dirty": True,
        "machine": {"name": MACHINE, "cpu": "AMD EPYC 9R14", "cores": 2, "memory_bytes": 2**34,
                    "gpus": [], "system": "Linux-6.1"},
        "options": {"threads": 2, "batch": None, "rounds": 3, "reference": "pytorch/eager",
                    "data": "stand-in"},
        "frameworks": {name: {"title": title, "version": VERSIONS[name], "state": "ready"}
                       for name, title in TITLES.items()},
        "inputs": inputs, "cells": cells, "jobs": jobs,
    }  # fmt: skip
    (machine / RUN).mkdir(parents=True, exist_ok=True)
    (machine / RUN / "run.json").write_text(json.dumps(document), "utf-8")
    return machine
