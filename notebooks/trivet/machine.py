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
precisions = {"fp32": "float32"}
if cpu_has_bf16():
    precisions["bf16"] = "bfloat16"


def normal(precision, *shape):
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return Tensor(values).to(precisions[precision])


def captured(op, *operands, **options):
    """Replayed without Python; operands that stay the same are laid out once, before."""
    step = trivet.capture(lambda: op(*operands, **options), tune=True)
    step()  # the first two calls are noted, those after them replayed
    step()
    return step


def product(precision, size):
    return captured(ops.matmul, *(normal(precision, size, size) for _ in "ab"))


def convolution(precision, shape):
    images, channels, side = shape
    x = normal(precision, images, channels, side, side)
    w = normal(precision, channels, channels, 3, 3)
    return captured(ops.conv2d, x, w, padding=1)


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
