"""What the recorder costs: a training loop under the suite's clock beside the bare loop.

``python harness/measure_overhead.py [--step-ms 5] [--pairs 20]`` runs the same NumPy step, about
``step-ms`` long, in both loops, in alternating order, and prints the ratio of the time of a step
(with / without) with its 95 % interval over pairs. The bare loop does what a person would write
without the suite; the other asks the probe for laps, times them, and records the losses. Needs the
canonical inputs: ``rosetta prepare cnn_cifar10 --profile quick``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rosetta import project, stats
from rosetta.probe import Run
from rosetta.spec import workload

WORKLOAD = "cnn_cifar10"


def main() -> None:
    """Measures and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400, help="in each loop of a pair")
    options = parser.parse_args()
    step = step_of(options.step_ms / 1e3)
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for number in range(options.pairs):
            loops = [bare, recorded] if number % 2 else [recorded, bare]
            taken = {loop: loop(step, options.steps, Path(folder) / str(number)) for loop in loops}
            pairs.append((taken[recorded], taken[bare]))
    ratio = stats.interval([with_probe / without for with_probe, without in pairs])
    bare_step = float(np.median([p[1] for p in pairs]))
    print(json.dumps({"step_seconds": bare_step, "pairs": len(pairs), "ratio": asdict(ratio)}))


def step_of(seconds: float):
    """A training step of about that length: fetch a batch, apply a layer, compute a loss.

    It allocates nothing: whether an array of 128 kB comes from the heap or from a fresh mapping
    depends on what the process freed before, and was seen to change a step by 7 %.
    """
    rng = np.random.default_rng(0)
    samples, weights = rng.random((4096, 512), np.float32), rng.random((512, 512), np.float32)

    x, y = np.empty((64, 512), np.float32), np.empty((64, 512), np.float32)

    def step(index, repeats):
        np.take(samples, index % 4096, axis=0, out=x)
        for _ in range(repeats):
            np.matmul(x, weights, out=y)
            np.tanh(y, out=x)
        return x.mean()

    index = np.arange(64)
    repeats = 1
    while True:
        start = time.perf_counter()
        for _ in range(20):
            step(index, repeats)
        if (time.perf_counter() - start) / 20 >= seconds:
            return lambda index: step(index, repeats)
        repeats += 1


def bare(step, steps: int, folder: Path) -> float:
    """Seconds per step of the loop alone; batches are cut from one permutation."""
    order = np.random.default_rng(1).permutation(50_000)
    step(order[:64])
    start = time.perf_counter()
    losses = []
    for number in range(1, steps):
        at = number * 64 % 49_000
        losses.append(step(order[at : at + 64]))
    return (time.perf_counter() - start) / (steps - 1)


def recorded(step, steps: int, folder: Path) -> float:
    """Seconds per step of the same loop under the probe, everything it does included."""
    schedule = asdict(workload.Schedule(steps=steps, at_least=5))
    manifest = project.home() / "inputs" / WORKLOAD / "quick.json"
    job = {
        "workload": WORKLOAD,
        "framework": "numpy",
        "variant": "bare",
        "precision": "fp32",
        "profile": "quick",
        "kind": "timing",
        "batch": 64,
        "schedule": schedule,
        "inputs": str(manifest),
        "out": str(folder),
    }
    run = Run(job, device="cpu", versions={}, synchronize=lambda value: None)
    start = time.perf_counter()
    for number, lap in enumerate(run.laps()):
        with run.lap("train", steps=len(lap)) as done:
            losses = [step(one.index) for one in lap]
            done(losses)
        run.losses(losses)
        if number == 0:
            start = time.perf_counter()
    return (time.perf_counter() - start) / (steps - 1)


if __name__ == "__main__":
    main()
