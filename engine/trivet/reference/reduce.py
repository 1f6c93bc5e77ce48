"""Reductions: over any axes, or over the last axis of rows."""

from __future__ import annotations

import math

import numpy as np

from ..spec import Spec
from .common import as_they_lie, kernel


def reduction(name, function):
    """A kernel ``y = function(x, axes, *options)``; geometry = (axes, *options).

    The axes stay, with size 1. Sums are taken in the dtype of x, of 16-bit floats in float32.
    """

    @kernel(name)
    def answer(call):
        (x,), (axes, *options) = call.ins, call.geometry

        def run(y, x):
            y[...] = function(x, axes, *options)

        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return as_they_lie(call, run, Spec(shape, x.dtype))


def mean(x, axes):
    count = math.prod(x.shape[a] for a in axes)
    return np.true_divide(x.sum(axes, keepdims=True), x.dtype.type(count))


def var(x, axes, correction):
    """In two passes: the mean first, so that no large squares cancel."""
    count = math.prod(x.shape[a] for a in axes)
    centred = x - mean(x, axes)
    squares = (centred * centred).sum(axes, keepdims=True)
    return np.true_divide(squares, x.dtype.type(max(count - correction, 0)))


def logsumexp(x, axes):
    """Taken from the largest, so that no exponential overflows."""
    top = x.max(axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top).sum(axes, keepdims=True)) + top


reduction("mean", mean)
reduction("var", var)
reduction("logsumexp", logsumexp)


@kernel("cumsum")
def cumsum(call):
    """geometry = (axis, whether from the end)."""
    (x,), (axis, reverse) = call.ins, call.geometry

    def run(y, x):
        if reverse:
            x, y = np.flip(x, axis), np.flip(y, axis)
        np.cumsum(x, axis, out=y)

    return as_they_lie(call, run, Spec(x.shape, x.dtype))


def position(name, function):
    """A kernel: where in each row x (..., M) the extreme stands, the first if several do."""

    @kernel(name)
    def answer(call):
        def run(y, x):
            y[...] = function(x, axis=-1)

        return as_they_lie(call, run, Spec(call.ins[0].shape[:-1], "int64"))


position("argmax", np.argmax)
position("argmin", np.argmin)


@kernel("pick")
def pick(call):
    """x (..., M), position (...) -> y (...): from each row the element at its position."""

    def run(y, x, at):
        y[...] = np.take_along_axis(x, at[..., None], -1)[..., 0]

    return as_they_lie(call, run, Spec(call.ins[1].shape, call.ins[0].dtype))


@kernel("place")
def place(call):
    """y (...), position (...) -> x (..., M), geometry = M: rows of zeros but for one element."""

    def run(x, y, at):
        x[...] = 0
        np.put_along_axis(x, at[..., None], y[..., None], -1)

    y = call.ins[0]
    return as_they_lie(call, run, Spec((*y.shape, call.geometry), y.dtype))
