"""Arithmetic, comparisons, logic and functions of one number."""

from __future__ import annotations

import functools
import math

import numpy as np

from .... import ops
from ....dtypes import is_float
from ....tape import Tensor
from ..operator import operator


def exactly(function, *xs: Tensor) -> Tensor:
    """A function of floats for integers: in float64, which holds them below 2**53."""
    return ops.cast(function(*(ops.cast(x, "float64") for x in xs)), xs[0].dtype)


def _lined_up(a: Tensor, b: Tensor, broadcast: int, axis: int | None) -> Tensor:
    """b with axes of size 1 behind it, as opset 6 counts them: its axes start at ``axis``."""
    if not broadcast or axis is None:
        return b
    behind = a.ndim - axis % a.ndim - b.ndim
    return ops.reshape(b, (*b.shape, *[1] * behind))


def _divided(a, b):
    return ops.div(a, b) if is_float(a.dtype) else exactly(ops.div, a, b)  # towards zero


def _power(a, b):
    return ops.pow(a, ops.cast(b, a.dtype)) if is_float(a.dtype) else exactly(ops.pow, a, b)


def _enter_binary(name, function):
    @operator(name)
    def run(a, b, *, broadcast=0, axis=None, consumed_inputs=None):
        return function(a, _lined_up(a, b, broadcast, axis))


for _name, _function in {
    "Add": ops.add,
    "Sub": ops.sub,
    "Mul": ops.mul,
    "Div": _divided,
    "Pow": _power,
    "Equal": ops.equal,
    "Less": ops.less,
    "LessOrEqual": ops.less_equal,
    "Greater": ops.greater,
    "GreaterOrEqual": ops.greater_equal,
    "And": ops.logical_and,
    "Or": ops.logical_or,
    "Xor": ops.not_equal,
}.items():
    _enter_binary(_name, _function)


def _absolute(x):
    return ops.abs(x) if is_float(x.dtype) else ops.maximum(x, ops.neg(x))


def cosh(x):
    return ops.mul(ops.add(ops.exp(x), ops.exp(ops.neg(x))), 0.5)


def _enter_unary(name, function):
    @operator(name)
    def run(x, *, consumed_inputs=None):
        return function(x)


for _name, _function in {
    "Abs": _absolute,
    "Neg": ops.neg,
    "Exp": ops.exp,
    "Log": ops.log,
    "Sqrt": ops.sqrt,
    "Reciprocal": ops.reciprocal,
    "Sin": ops.sin,
    "Cos": ops.cos,
    "Tan": lambda x: ops.div(ops.sin(x), ops.cos(x)),
    "Sinh": lambda x: ops.mul(ops.tanh(x), cosh(x)),  # exact near 0, other than e^x - e^-x
    "Cosh": cosh,
    "Tanh": ops.tanh,
    "Erf": ops.erf,
    "Floor": ops.floor,
    "Ceil": ops.ceil,
    "Round": ops.round,
    "Sign": ops.sign,
    "Not": ops.logical_not,
    "Identity": lambda x: x,
    "IsNaN": lambda x: ops.not_equal(x, x),
}.items():
    _enter_unary(_name, _function)


@operator("IsInf")
def is_inf(x, *, detect_positive=1, detect_negative=1):
    found = ops.less(x, -math.inf)  # nowhere
    for value, wanted in [(math.inf, detect_positive), (-math.inf, detect_negative)]:
        found = ops.logical_or(found, ops.equal(x, value)) if wanted else found
    return found


@operator("Sum")
def total(*xs, consumed_inputs=None):
    return functools.reduce(ops.add, xs)


@operator("Mean")
def mean(*xs, consumed_inputs=None):
    return ops.mul(functools.reduce(ops.add, xs), 1 / len(xs))


@operator("Max")
def largest(*xs, consumed_inputs=None):
    return functools.reduce(ops.maximum, xs)


@operator("Min")
def smallest(*xs, consumed_inputs=None):
    return functools.reduce(ops.minimum, xs)


@operator("Mod")
def remainder(a, b, *, fmod=0):
    """With the divisor's sign, or the dividend's if fmod."""
    if not is_float(a.dtype):
        return exactly(functools.partial(remainder, fmod=fmod), a, b)
    quotient = ops.div(a, b)
    whole = ops.mul(ops.floor(ops.abs(quotient)), ops.sign(quotient))  # towards zero
    rest = ops.where(ops.equal(whole, 0.0), a, ops.sub(a, ops.mul(b, whole)))  # b may be inf
    if fmod:
        return rest
    other_sign = ops.not_equal(ops.less(rest, 0.0), ops.less(b, 0.0))
    wrong = ops.logical_and(ops.not_equal(rest, 0.0), other_sign)
    return ops.where(wrong, ops.add(rest, b), rest)


@operator("Where")
def where(condition, a, b):
    return ops.where(condition, a, b)


@operator("Clip", host=("min", "max"))
def clip(x, min=None, max=None, *, consumed_inputs=None):
    low, high = (b if b is None else np.asarray(b).item() for b in (min, max))
    if low is None and high is None:
        return x
    if is_float(x.dtype) and (low is None or high is None or low <= high):
        return ops.clip(x, low, high)
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)
