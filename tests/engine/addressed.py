"""Runs plans that take addresses, one by one, and looks after the memory behind each value."""

from __future__ import annotations

import numpy as np
from trivet import registry
from trivet.registry import Call, Plan
from trivet.spec import CHANNELS_LAST, Spec, Strided

GUARD = 64  # bytes behind each value: readable, never to be written
POISON = 0xFF  # NaN as a float


def reference(call: Call, *operands: np.ndarray) -> list[np.ndarray]:
    """The call in float64, by the reference; operands and results in the order of their axes."""
    wide = Call(
        call.name, tuple(Spec(a.shape, "float64") for a in operands), call.geometry,
        auxiliaries=call.auxiliaries,
    )  # fmt: skip
    (plan,) = registry.ask("trivet.reference", wide)
    outs = [np.empty(spec.physical) for spec in plan.outs]
    plan.run(*outs, *(a.astype(np.float64) for a in operands))
    return outs


def execute(plan: Plan, *operands: np.ndarray, bound: bool = False) -> list[np.ndarray]:
    """The results; operands and results in the order of their axes."""
    workspace = [Spec((plan.workspace,), "uint8")] if plan.workspace else []
    specs = [*plan.outs, *plan.ins, *workspace]
    memories = [_memory(spec) for spec in specs]
    count = len(plan.outs)
    for memory, spec, operand in zip(memories[count:], plan.ins, operands, strict=False):
        _look(memory, spec)[...] = operand
    before = [memory.copy() for memory in memories]
    addresses = [memory.ctypes.data for memory in memories]
    plan.bind(*addresses)() if bound else plan.run(*addresses)
    for k, (memory, spec) in enumerate(zip(memories, specs)):
        kept = slice(spec.nbytes, None) if k < count or k >= count + len(operands) else slice(None)
        np.testing.assert_array_equal(memory[kept], before[k][kept], f"written beyond {spec}")
    return [_look(memory, spec) for memory, spec in zip(memories, plan.outs)]


def _memory(spec: Spec) -> np.ndarray:
    size = spec.nbytes
    if isinstance(spec.layout, Strided):
        size = 4 * (1 + sum((n - 1) * step for n, step in zip(spec.shape, spec.steps)))
    raw = np.full(size + 2 * GUARD, POISON, np.uint8)
    start = -raw.ctypes.data % GUARD
    return raw[start : start + size + GUARD]


def _look(memory: np.ndarray, spec: Spec) -> np.ndarray:
    """A view with the axes in order."""
    dtype = np.dtype(spec.dtype)
    if isinstance(spec.layout, Strided):
        steps = [step * dtype.itemsize for step in spec.steps]
        return np.ndarray(spec.shape, dtype, memory, strides=steps)
    array = np.ndarray(spec.physical, dtype, memory)
    return np.moveaxis(array, -1, 1) if spec.layout == CHANNELS_LAST else array
