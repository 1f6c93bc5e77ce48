"""Softmax and its logarithm along one axis, and the causal mask of attention."""

from __future__ import annotations

import numpy as np

from ..spec import PLAIN, Spec
from .common import as_they_lie, kernel


def shifted(z, axis):
    """z less its largest entry, so that exp cannot overflow; inf - inf is nan."""
    return z - z.max(axis, keepdims=True, initial=-np.inf)


def softmax(z, axis):
    e = np.exp(shifted(z, axis))
    return e / e.sum(axis, keepdims=True)


def log_softmax(z, axis):
    z = shifted(z, axis)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def safe_softmax(z, axis):
    """Softmax that is 0, not nan, where every entry of a row is -inf."""
    none = (z == -np.inf).all(axis, keepdims=True)
    return np.where(none, z.dtype.type(0), softmax(z, axis))


def softmax_grad(gy, y, axis):
    return y * (gy - (gy * y).sum(axis, keepdims=True))


def log_softmax_grad(gy, y, axis):
    return gy - np.exp(y) * gy.sum(axis, keepdims=True)


def along_axis(name, function):
    """A kernel ``out = function(*ins, axis)`` of the operands' shape; geometry = the axis."""

    @kernel(name)
    def answer(call):
        def run(out, *ins):
            with np.errstate(all="ignore"):  # inf and nan are results
                out[...] = function(*ins, call.geometry)

        return as_they_lie(call, run, call.ins[-1].at(PLAIN))


for function in (softmax, softmax_grad, log_softmax, log_softmax_grad, safe_softmax):
    along_axis(function.__name__, function)


@kernel("causal_mask")
def causal_mask(call):
    """geometry = (n, m): 0 where key j <= query i, -inf elsewhere; of an operand not read."""
    n, m = call.geometry

    def run(mask, like):
        mask[...] = np.where(np.tri(n, m, dtype=bool), 0, -np.inf)

    return as_they_lie(call, run, Spec((n, m), call.ins[0].dtype))
