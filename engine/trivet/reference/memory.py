"""Kernels that move values without computing any."""

from __future__ import annotations

import numpy as np

from ..registry import Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import as_they_lie, axes_in_order, kernel, plain


@kernel("fill")
def fill(call):
    """geometry = (shape, value[, dtype]): one number, on the device of an operand not read."""
    shape, value, *dtype = call.geometry

    def run(y, like):
        with np.errstate(all="ignore"):  # too large for the dtype is inf
            y[...] = value

    # whatever the layout of what is not read
    return Plan(run, call.ins, (Spec(shape, *(dtype or [call.ins[0].dtype])),))


@kernel("reorder")
def reorder(call):
    """geometry = the layout wanted."""
    (x,) = call.ins
    y = x.at(call.geometry)
    if x.steps is None or y.steps is None:
        return f"cannot reorder {x.layout.name} to {y.layout.name}, one of them a backend's own"

    def run(out, array):
        out = axes_in_order(out) if y.layout == CHANNELS_LAST else out
        array = axes_in_order(array) if x.layout == CHANNELS_LAST else array
        np.copyto(out, array)

    return Plan(run, (x,), (y,))


@kernel("cast")
def cast(call):
    """geometry = the dtype wanted; floats are cut to integers towards zero, as NumPy does."""
    (x,) = call.ins

    def run(y, x):
        with np.errstate(all="ignore"):  # inf and nan are results here too
            y[...] = x.astype(y.dtype)

    return Plan(run, (x.at(PLAIN),), (Spec(x.shape, call.geometry),))


@kernel("concat")
def concat(call):
    """geometry = the axis."""
    axis, first = call.geometry, call.ins[0]
    shape = list(first.shape)
    shape[axis] = sum(s.shape[axis] for s in call.ins)

    def run(y, *xs):
        np.concatenate(xs, axis, out=y)

    return as_they_lie(call, run, Spec(tuple(shape), first.dtype))


@kernel("unslice")
def unslice(call):
    """geometry = (shape, index): zeros of that shape, the operand written where index says."""
    shape, items = call.geometry
    index = tuple(slice(*item) if isinstance(item, tuple) else item for item in items)

    def run(y, x):
        y[...] = 0
        y[index] = x

    return as_they_lie(call, run, Spec(shape, call.ins[0].dtype))


@kernel("pad")
def pad(call):
    """geometry = ((before, after) per axis, value)."""
    (x,) = call.ins
    widths, value = call.geometry
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, widths))

    def run(y, x):
        y[...] = value
        y[tuple(slice(b, b + n) for (b, _), n in zip(widths, x.shape))] = x

    return as_they_lie(call, run, Spec(shape, x.dtype))


@kernel("sum_to")
def sum_to(call):
    """Sums over the axes along which the shape in the geometry would be broadcast."""
    (x,) = call.ins
    new = len(x.shape) - len(call.geometry)
    axes = tuple(
        i
        for i, size in enumerate(x.shape)
        if i < new or (call.geometry[i - new] == 1 and size != 1)
    )

    def run(y, x):
        y[...] = x.sum(axes, dtype=x.dtype).reshape(y.shape)

    return plain(call, run, Spec(call.geometry, x.dtype))
