"""Functions of one operand, and their slopes times the incoming gradient."""

from __future__ import annotations

import numpy as np

from ..spec import PLAIN
from .common import as_they_lie, kernel


def unary(name, function, slope):
    """Kernels ``name``: y = function(x, *options), and ``name_grad``: gy * slope(saved)."""

    @kernel(name)
    def forward(call):
        def run(y, x):
            with np.errstate(all="ignore"):
                y[...] = function(x, *call.geometry)

        return as_they_lie(call, run, call.ins[0].at(PLAIN))

    @kernel(f"{name}_grad")
    def backward(call):
        def run(gx, gy, v):
            with np.errstate(all="ignore"):
                gx[...] = gy * slope(v, *call.geometry)

        return as_they_lie(call, run, call.ins[1].at(PLAIN))


unary("relu", lambda x: np.maximum(x, 0), lambda y: y > 0)
unary("tanh", np.tanh, lambda y: 1 - y * y)
