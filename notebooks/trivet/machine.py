"""How much of this machine trivet gets hold of; `rosetta machine` runs it, or by hand:

PYTHONPATH=harness:engine python notebooks/trivet/machine.py cpu 10
"""

from functools import partial

import numpy as np
import trivet
from rosetta.probe.roofline import Machine, cpu_has_bf16
from trivet import Tensor, ops

machine = Machine({"trivet": trivet.__version__, "numpy": np.__version__})
if machine.device != "cpu":
    raise SystemExit("trivet has no GPU leg yet")
precisions = {"fp32": "full"}
if cpu_has_bf16():
    precisions["bf16"] = "reduced"  # operands are float32, factors of products rounded


def normal(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


def captured(op, *operands, precision="full", **options):
    """Replayed without Python; operands that stay the same are laid out once, before.

    The first guess is what rounds, where that is asked for: in a race, float32 might win.
    """
    step = trivet.capture(lambda: op(*operands, **options), tune=precision == "full")
    with trivet.using(precision=precision):
        step()  # the first two calls are noted, those after them replayed
        step()
    if precision == "reduced" and not any(note.plan.reduced for note in step.program.notes):
        raise RuntimeError("nothing here multiplies bfloat16: it would be float32 again")
    return step


def product(precision, size):
    a, b = normal(size, size), normal(size, size)
    return captured(ops.matmul, a, b, precision=precisions[precision])


def convolution(precision, shape):
    images, channels, side = shape
    x, w = normal(images, channels, side, side), normal(channels, channels, 3, 3)
    return captured(ops.conv2d, x, w, padding=1, precision=precisions[precision])


def copy():
    source = Tensor(np.ones(machine.bytes // 4, np.float32))
    return captured(ops.concat, [source])


def tiny():
    x = Tensor(np.ones(8, np.float32))
    return lambda: ops.relu(x)


for precision in precisions:
    for size in machine.sizes:
        machine.gemm(precision, size, partial(product, precision, size))
    for shape in machine.convolutions:
        prepare = partial(convolution, precision, shape)
        machine.convolution(precision, shape, "the engine's own layout", prepare)
machine.copy(copy)
machine.dispatch("relu of 8 numbers", tiny)
with trivet.no_grad():
    machine.measure()
