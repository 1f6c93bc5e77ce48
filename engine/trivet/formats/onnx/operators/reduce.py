"""Reductions over axes, and running sums."""

from __future__ import annotations

import math

import numpy as np

from .... import ops
from ....dtypes import is_float
from ....ops import checks
from ..operator import operator
from .elementwise import exactly
from .shape import integers


def _mean(x, **over):
    return ops.mean(x, **over) if is_float(x.dtype) else exactly(lambda x: ops.mean(x, **over), x)


def _root(x, **over):
    return ops.sqrt(ops.sum(ops.mul(x, x), **over))


def _norm2(x, **over):
    return _root(x, **over) if is_float(x.dtype) else exactly(lambda x: _root(x, **over), x)


def _magnitudes(x, **over):
    return ops.sum(ops.maximum(x, ops.neg(x)), **over)


def _largest(x, **over):
    return _extreme(ops.max, -math.inf, x, **over)


def _smallest(x, **over):
    return _extreme(ops.min, math.inf, x, **over)


def _extreme(function, of_nothing, x, *, axis, keepdims):
    if x.dtype == "bool":
        whole = _extreme(function, 0, ops.cast(x, "uint8"), axis=axis, keepdims=keepdims)
        return ops.cast(whole, "bool")
    if x.size:
        return function(x, axis=axis, keepdims=keepdims)
    shape = np.empty(x.shape).sum(axis, keepdims=keepdims).shape
    return checks.full(x, of_nothing, shape)


def _enter(name, function):
    @operator(name, host=("axes",))
    def run(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
        axes = () if axes is None else integers(axes)
        if not axes and not noop_with_empty_axes:
            axes = None
        return function(x, axis=axes, keepdims=bool(keepdims))


for _name, _function in {
    "ReduceSum": ops.sum,
    "ReduceMean": _mean,
    "ReduceMax": _largest,
    "ReduceMin": _smallest,
    "ReduceProd": ops.prod,
    "ReduceL1": _magnitudes,
    "ReduceL2": _norm2,
    "ReduceSumSquare": lambda x, **over: ops.sum(ops.mul(x, x), **over),
    "ReduceLogSum": lambda x, **over: ops.log(ops.sum(x, **over)),
    "ReduceLogSumExp": ops.logsumexp,
}.items():
    _enter(_name, _function)


def _position(function, x, axis, keepdims, select_last_index):
    if not select_last_index:
        return function(x, axis=axis, keepdims=bool(keepdims))
    back = ops.index(x, (slice(None),) * (axis % x.ndim) + (slice(None, None, -1),))
    found = function(back, axis=axis, keepdims=bool(keepdims))
    return ops.sub(x.shape[axis] - 1, found)


@operator("ArgMax")
def argmax(x, *, axis=0, keepdims=1, select_last_index=0):
    return _position(ops.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def argmin(x, *, axis=0, keepdims=1, select_last_index=0):
    return _position(ops.argmin, x, axis, keepdims, select_last_index)


@operator("CumSum", host=("axis",))
def cumsum(x, axis, *, exclusive=0, reverse=0):
    axis = int(axis.item()) % x.ndim
    lead = (slice(None),) * axis
    turn = (*lead, slice(None, None, -1))
    x = ops.index(x, turn) if reverse else x
    y = ops.cumsum(x, axis=axis)
    y = ops.sub(y, x) if exclusive else y
    return ops.index(y, turn) if reverse else y
