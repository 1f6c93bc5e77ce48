"""Functions of single elements. They follow the layout of their operands."""

from __future__ import annotations

import math

from ..simd.maps import Map
from ..spec import Spec
from .common import kernel, map_launch, map_plan, planned, update_plan


def elementwise(name, function, absent=()):
    """A kernel of operands that broadcast; its geometry holds options, None for an absent one."""
    made = Map(name, function, options=len(absent))

    @kernel(name)
    def answer(call):
        given = call.geometry or ()
        options = [b if option is None else option for option, b in zip(given, absent)]
        return map_plan(call, made, options)


def unary(name, function, pull, absent=()):
    """Kernels ``name``: function(emit, x, ...), and ``name_grad``: pull(emit, gy, saved, ...)."""
    elementwise(name, function, absent)
    elementwise(f"{name}_grad", pull, absent)


def joined(first, second, function):
    """The kernel ``first+second`` of two without options, the first result's place known."""
    made = {place: Map(f"{first}_{second}_{place}", function) for place in (0, 1)}

    @kernel(f"{first}+{second}")
    def answer(call):
        return map_plan(call, made[call.geometry[2]])


def clip_grad(emit, gy, x, low, high):
    return ((x >= low) & (x <= high)).choose(gy, 0.0)


def clip(emit, x, low, high):
    return emit.minimum(emit.maximum(x, low), high)


def absolute_grad(emit, gy, x):
    sign = (x > 0.0).choose(emit.constant(1.0), (x < 0.0).choose(emit.constant(-1.0), x))
    return gy * sign  # x itself is 0 or NaN


def silu_grad(emit, gy, x):
    s = emit.sigmoid(x)
    return gy * s * (x * (1.0 - s) + 1.0)


def softplus(emit, x):
    return emit.maximum(x, 0.0) + emit.log1p(emit.exp(0.0 - emit.absolute(x)))


def relu(emit, x):
    return emit.maximum(x, 0.0)


def relu_grad(emit, gy, y):
    return (y <= 0.0).choose(emit.constant(0.0), gy)


def share_of(larger):
    """Of the result, what is a's: 1, a half where both are equal, 0; NaN has won."""

    def function(emit, a, b):
        won = (larger(a, b) | a.differs(a)).choose(emit.constant(1.0), 0.0)
        return a.equals(b).choose(emit.constant(0.5), won)

    return function


unary("exp", lambda emit, x: emit.exp(x), lambda emit, gy, y: gy * y)
unary("log", lambda emit, x: emit.log(x), lambda emit, gy, x: gy / x)
unary("sqrt", lambda emit, x: emit.sqrt(x), lambda emit, gy, y: gy / (y * 2.0))
unary("reciprocal", lambda emit, x: 1.0 / x, lambda emit, gy, y: 0.0 - gy * y * y)
unary("tanh", lambda emit, x: emit.tanh(x), lambda emit, gy, y: gy * (1.0 - y * y))
unary("abs", lambda emit, x: emit.absolute(x), absolute_grad)
unary("clip", clip, clip_grad, absent=(-math.inf, math.inf))
unary("relu", relu, relu_grad)
unary(
    "leaky_relu",
    lambda emit, x, slope: (x > 0.0).choose(x, x * slope),
    lambda emit, gy, x, slope: (x > 0.0).choose(gy, gy * slope),
    absent=(None,),
)
unary("sigmoid", lambda emit, x: emit.sigmoid(x), lambda emit, gy, y: gy * y * (1.0 - y))
unary("silu", lambda emit, x: x * emit.sigmoid(x), silu_grad)
unary("softplus", softplus, lambda emit, gy, x: gy * emit.sigmoid(x))

elementwise("neg", lambda emit, x: 0.0 - x)
elementwise("add", lambda emit, a, b: a + b)
elementwise("sub", lambda emit, a, b: a - b)
elementwise("mul", lambda emit, a, b: a * b)
elementwise("div", lambda emit, a, b: a / b)
elementwise("maximum", lambda emit, a, b: emit.larger(a, b))
elementwise("minimum", lambda emit, a, b: emit.smaller(a, b))
elementwise("maximum_share", share_of(lambda a, b: a > b))
elementwise("minimum_share", share_of(lambda a, b: a < b))
joined("add", "relu", lambda emit, a, b: emit.maximum(a + b, 0.0))

ACCUMULATE = Map("accumulate", lambda emit, total, x: total + x)
FILL = Map("fill", lambda emit, value: value, options=1)


@kernel("accumulate")
def accumulate(call):
    return update_plan(call, ACCUMULATE, (0,), (0, 1))


@kernel("fill")
def fill(call):
    shape, value, *dtype = call.geometry
    out = Spec(shape, *(dtype or [call.ins[0].dtype]))
    if out.dtype != "float32" or not out.size:
        return "float32 only, and not empty"
    return planned(map_launch(FILL, [out], [], [0], [value]), call.ins, [out])
