"""Functions of single elements. They follow the layout of their first operand."""

from __future__ import annotations

from ..registry import Plan
from ..simd import LANES, Launch, Operand, block, parameter, share, thread, threads
from ..simd import kernel as compiled
from ..spec import CHANNELS_LAST, PLAIN
from .common import kernel, refusal


@block
def _relu(emit, x, y, n):
    mask = emit.first(n)
    emit.store(y, emit.maximum(emit.load(x, mask), 0.0), mask)


@compiled
def relu_flat(table):
    """y, x, n."""
    y, x, n = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    low, high = share(n, 4 * LANES, thread(), threads())
    for i in range(low, high, LANES):
        _relu(x + 4 * i, y + 4 * i, high - i)


@kernel("relu")
def relu(call):
    if why := refusal(call):
        return why
    (x,) = call.ins
    x = x.at(CHANNELS_LAST if x.layout == CHANNELS_LAST else PLAIN)
    run = Launch((relu_flat, (Operand(0), Operand(1), x.size)))
    return Plan(run, (x,), (x,), bind=run.bind, name="native", addressed=True, over=((0, 0),))
