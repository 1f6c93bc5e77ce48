"""Functions of one operand, and what they make of the incoming gradient."""

from __future__ import annotations

import numpy as np

from ..spec import PLAIN
from .common import as_they_lie, kernel
from .erf import erf


def unary(name, function, pull):
    """Kernels ``name``: y = function(x, *options), and ``name_grad``: pull(gy, saved, *options)."""

    @kernel(name)
    def forward(call):
        def run(y, x):
            y[...] = function(x, *call.geometry)

        return as_they_lie(call, run, call.ins[0].at(PLAIN))

    @kernel(f"{name}_grad")
    def backward(call):
        def run(gx, gy, v):
            gx[...] = pull(gy, v, *call.geometry)

        return as_they_lie(call, run, call.ins[1].at(PLAIN))


def clip_grad(gy, x, low, high):
    return np.where(np.clip(x, low, high) == x, gy, 0)


def power(x, exponent):
    return x**exponent


def power_grad(gy, x, exponent):
    """x**0 is 1 everywhere, so flat, also where the formula would say 0 * inf."""
    return gy * (exponent * x ** (exponent - 1)) if exponent else 0


unary("exp", np.exp, lambda gy, y: gy * y)
unary("log", np.log, lambda gy, x: gy / x)
unary("sqrt", np.sqrt, lambda gy, y: gy / (2 * y))
unary("reciprocal", np.reciprocal, lambda gy, y: -gy * y * y)
unary("sin", np.sin, lambda gy, x: gy * np.cos(x))
unary("cos", np.cos, lambda gy, x: -gy * np.sin(x))
unary("tanh", np.tanh, lambda gy, y: gy * (1 - y * y))
unary("erf", erf, lambda gy, x: gy * (2 / np.pi**0.5) * np.exp(-x * x))
unary("abs", np.abs, lambda gy, x: gy * np.sign(x))
unary("clip", np.clip, clip_grad)
unary("power", power, power_grad)

for name, step in {
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
}.items():
    unary(name, step, lambda gy, y: 0)
