"""Peak memory of one training step: freed as the tape goes, kept, and captured.

    python engine/measure_memory.py

Every figure comes from a process of its own. "values" are those of the step, at their peak: what
the engine allocated for it, or the arena. "all" is the peak that tracemalloc saw, to which NumPy
reports what it allocates: parameters, optimiser state, the batch, the values, and what the
reference kernels use for themselves while they run. "between" is what is left after the step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
from trivet import Tensor, capture, nn, ops, optim, registry, zoo
from trivet.launch import Eager, sending_to

WAYS = {
    "freed": "each value freed when its last reader has run (the default)",
    "keep_graph": "saved values kept to the end: backward(keep_graph=True)",
    "everything": "nothing freed before the step ends",
    "captured": "replayed, values in one arena",
}
MB = 1e6


class Counting(Eager):
    """Runs everything at once and knows how many bytes of values are alive."""

    def __init__(self, keep: bool):
        self.kept = [] if keep else None
        self.alive = self.peak = 0

    def allocate(self, spec, device):
        buffer = super().allocate(spec, device)
        self._add(spec.nbytes)
        weakref.finalize(buffer.memory, self._add, -spec.nbytes)
        if self.kept is not None:
            self.kept.append(buffer)
        return buffer

    def _add(self, nbytes):
        self.alive += nbytes
        self.peak = max(self.peak, self.alive)


def cnn():
    """The suite's CNN at its batch of 64."""
    rng, net = np.random.default_rng(0), zoo.cnn_cifar10()
    x, y = Tensor(rng.random((64, 3, 32, 32)), "float32"), Tensor(rng.integers(0, 10, 64))
    rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)
    return net, rule, ops.cross_entropy, (x, y)


def gru():
    """The suite's GRU: 64 reviews of 150 words."""
    rng, net = np.random.default_rng(0), zoo.gru_imdb()
    x, y = Tensor(rng.integers(0, 30_000, (64, 150))), Tensor(rng.integers(0, 2, 64))
    return net, optim.Adam(net.parameters(), 1e-3), ops.cross_entropy, (x, y)


def densenet():
    """DenseNet-121 for two X-rays of 224 pixels."""
    rng, net = np.random.default_rng(0), zoo.densenet_chexnet()
    x = Tensor(rng.random((2, 3, 224, 224)), "float32")
    y = Tensor(rng.integers(0, 2, (2, 14)), "float32")
    rule = optim.Adam(net.parameters(), 1e-4)
    return net, rule, ops.binary_cross_entropy_with_logits, (x, y)


NETS = {
    "cnn": (cnn, "CNN, batch 64"),
    "gru": (gru, "GRU, batch 64"),
    "densenet": (densenet, "DenseNet-121, batch 2"),
}


def measure(name: str, way: str) -> dict[str, int]:
    """Bytes of one step."""
    registry.PREFERENCE["cpu"] = [registry.LAST_RESORT]  # what freeing is worth, not a kernel
    tracemalloc.start()
    nn.init.seed(0)
    net, rule, loss_of, batch = NETS[name][0]()
    graph: dict = {"keep_graph": True} if way == "keep_graph" else {}

    def step(x, y):
        rule.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward(**graph)
        rule.step()
        return loss

    if way == "captured":
        replay = capture(step)
        replay(*batch), replay(*batch)
        tracemalloc.reset_peak()
        replay(*batch)
        values = replay.program.arena.nbytes
    else:
        counting = Counting(keep=way == "everything")
        tracemalloc.reset_peak()
        with sending_to(counting):
            step(*batch)
        values = counting.peak
        counting.kept = None
    between, peak = tracemalloc.get_traced_memory()
    return {"values": values, "all": peak, "between": between}


def in_a_fresh_process(name: str, way: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--one", name, way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--one", nargs=2, metavar=("NET", "WAY"), help="measure here, print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print("| step, float32 | MB |", " | ".join(WAYS), "|")
    print("|---" * (2 + len(WAYS)) + "|")
    for name in options.nets:
        found = {way: in_a_fresh_process(name, way) for way in WAYS}
        for what, base in found["freed"].items():
            cells = [f"{each[what] / MB:.0f} ({each[what] / base:.2f})" for each in found.values()]
            print(f"| {NETS[name][1]} | {what} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
