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
            with np.errstate(all="ignore"):  # inf and nan are results, as in every framework
                y[...] = function(*ins)

        shape = np.broadcast_shapes(*(s.shape for s in call.ins))
        return as_they_lie(call, run, Spec(shape, dtype or call.ins[-1].dtype))


for name, function in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
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
}.items():
    elementwise(name, function, dtype="bool")


@kernel("accumulate")
def accumulate(call):
    """total += x, in place."""

    def run(total, x):
        total += x

    return as_they_lie(call, run, writes=(0,))
