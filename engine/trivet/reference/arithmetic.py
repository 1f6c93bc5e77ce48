"""Arithmetic, comparisons and choices, element by element with broadcasting."""

from __future__ import annotations

import numpy as np

from ..spec import Spec
from .common import as_they_lie, kernel


def elementwise(name, function, dtype=None):
    """A kernel ``y = function(*ins)``; its dtype is that of the last operand unless given."""

    @kernel(name)
    def answer(call):
        def run(y, *ins):
            y[...] = function(*ins)

        shape = np.broadcast_shapes(*(s.shape for s in call.ins))
        return as_they_lie(call, run, Spec(shape, dtype or call.ins[-1].dtype))


def maximum_share(a, b):
    """Which part of the gradient goes to a; nan is taken before every number."""
    return np.where(a == b, 0.5, (a > b) | np.isnan(a))


def minimum_share(a, b):
    return np.where(a == b, 0.5, (a < b) | np.isnan(a))


for name, function in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "neg": np.negative,
    "pow": np.power,
    "maximum": np.maximum,
    "maximum_share": maximum_share,
    "minimum": np.minimum,
    "minimum_share": minimum_share,
    "where": np.where,
}.items():
    elementwise(name, function)

for name, function in {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
}.items():
    elementwise(name, function, dtype="bool")


@kernel("accumulate")
def accumulate(call):
    """total += x, in place."""

    def run(total, x):
        total += x

    return as_they_lie(call, run, writes=(0,))
