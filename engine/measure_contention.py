"""What a training step costs when other processes want the same processors.

    python engine/measure_contention.py --torch-python PATH/TO/python

One CNN training step (batch 64), captured in trivet and eager in PyTorch (channels last), each in
a process of its own with all threads: alone, then beside one and two processes that do nothing but
compute. Rounds are interleaved; medians and the slowest tenth are printed, raw laps go to --out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

BUSY = "while True: pass"
TRIVET = """
import numpy as np, trivet
from trivet import Tensor, ops, optim, zoo
rng = np.random.default_rng(0)
net = zoo.cnn_cifar10()
rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)
x, y = Tensor(rng.random((64, 3, 32, 32), np.float32)), Tensor(rng.integers(0, 10, 64))

def train(x, y):
    rule.zero_grad()
    loss = ops.cross_entropy(net(x), y)
    loss.backward()
    rule.step()
    return loss.detach()

captured = trivet.capture(train, fuse=True, tune=True)
step = lambda: captured(x, y).item()
"""
TORCH = """
import torch
from torch import nn
net = nn.Sequential(
    nn.Conv2d(3, 50, 3, padding=1), nn.ReLU(), nn.Conv2d(50, 50, 3, padding=1), nn.MaxPool2d(2),
    nn.ReLU(), nn.Dropout(0.25), nn.Conv2d(50, 100, 3, padding=1), nn.ReLU(),
    nn.Conv2d(100, 100, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25), nn.Flatten(),
    nn.Linear(6400, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
).to(memory_format=torch.channels_last)
rule = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
x = torch.rand(64, 3, 32, 32).contiguous(memory_format=torch.channels_last)
y = torch.randint(0, 10, (64,))

def step():
    rule.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    rule.step()
    return loss.item()
"""
SERVE = """
import sys, time
for _ in range(5):
    step()
print("ready", flush=True)
for line in sys.stdin:
    laps = []
    for _ in range(int(line)):
        start = time.perf_counter()
        step()
        laps.append(time.perf_counter() - start)
    print(laps, flush=True)
"""


class Subject:
    """A process that runs steps when asked."""

    def __init__(self, python: str, code: str):
        self.process = subprocess.Popen(
            [python, "-c", code + SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit("a subject did not start; its error stands above")

    def laps(self, count: int) -> list[float]:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def busy(count: int):
    """So many processes that compute."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torch-python", default=sys.executable, help="who runs PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in each burst")
    parser.add_argument("--out", type=Path, help="a JSON file for the raw laps")
    options = parser.parse_args()
    subjects = {
        "trivet": Subject(sys.executable, TRIVET),
        "PyTorch": Subject(options.torch_python, TORCH),
    }
    laps = {(name, others): [] for name in subjects for others in (0, 1, 2)}
    for number in range(options.rounds):
        for others in (0, 1, 2):
            with busy(others):
                for name, subject in subjects.items():
                    laps[name, others] += subject.laps(options.steps)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    for subject in subjects.values():
        subject.close()
    print(f"{os.cpu_count()} processors; milliseconds a step: median (slowest tenth from)")
    for (name, others), times in laps.items():
        slow = statistics.quantiles(times, n=10)[-1]
        print(f"{name:8} beside {others}: {1e3 * statistics.median(times):7.1f} ({1e3 * slow:.1f})")
    if options.out:
        named = {f"{name} beside {others}": times for (name, others), times in laps.items()}
        options.out.write_text(json.dumps(named, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
