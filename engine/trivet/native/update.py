"""Updates of parameters and gradients, in place: one pass over all that an update touches.

Rates and steps are read when a kernel runs, so that a replay sees their new values. What is
derived from them is computed in float64, as the reference does.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..simd import (
    Launch,
    Operand,
    double_bits,
    helper,
    parameter,
    read,
    read_double,
    read_integer,
    thread,
    write_integer,
)  # fmt: skip
from ..simd import kernel as compiled
from ..simd.maps import Map
from ..simd.sums import root_of_parts, square_parts
from ..spec import PLAIN, Spec
from .common import kernel, planned, refusal, team, update_plan

# Behind the options of a map stand the address of the rate, and what else the scalars need.


@helper
def rate_alone(at):
    return read_double(read_integer(at)), 0.0, 0.0


@cache
def sgd_map(momentum: bool, nesterov: bool, decay: bool) -> Map:
    def function(emit, weight, g, *rest):
        keep, shrink, rate, *_ = rest[momentum:]
        g = g + shrink * weight if decay else g
        if not momentum:
            return weight - rate * g
        velocity = rest[0] * keep + g
        change = g + keep * velocity if nesterov else velocity
        return weight - rate * change, velocity

    name = f"sgd_{momentum:d}{nesterov:d}{decay:d}"
    return Map(name, function, results=1 + momentum, options=2, scalars=rate_alone)


@kernel("sgd_")
def sgd(call):
    o, momentum = call.geometry, len(call.ins) == 4
    made = sgd_map(momentum, momentum and o.nesterov, bool(o.weight_decay))
    written = (0, 3)[: 1 + momentum]
    options = o.momentum, o.weight_decay
    return update_plan(call, made, written, (0, 1, *written[1:]), options, [Operand(2)])


@helper
def whole_power(base, exponent):
    """A float64 to a whole power, by squaring."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@helper
def adam_scalars(at):
    """Of rate, step, betas and decoupled decay: step size, 1 / correction, what decay leaves."""
    rate, step = read_double(read_integer(at)), read_integer(read_integer(at + 8))
    first = 1.0 - whole_power(read_double(at + 16), step)
    second = 1.0 - whole_power(read_double(at + 24), step)
    return rate / first, 1.0 / second**0.5, 1.0 - rate * read_double(at + 32)


@cache
def adam_map(decay: bool, decoupled: bool) -> Map:
    def function(emit, weight, mean, square, g, b1, b2, rest2, eps, shrink, size, unbias, left):
        if decay and decoupled:
            weight = weight * left
        elif decay:
            g = g + shrink * weight
        mean = mean + b1 * (g - mean)
        square = square * b2 + (g * g) * rest2
        return weight - size * (mean / (emit.sqrt(square) * unbias + eps)), mean, square

    name = f"adam_{decay:d}{decoupled:d}"
    return Map(name, function, results=3, options=5, scalars=adam_scalars)


@kernel("adam_")
def adam(call):
    o = call.geometry
    b1, b2 = o.betas
    if call.ins[5].dtype != "int64":
        return "counts steps in int64 only"
    options = 1 - b1, b2, 1 - b2, o.eps, o.weight_decay
    behind = Operand(4), Operand(5), *map(double_bits, (b1, b2, o.weight_decay))
    made = adam_map(bool(o.weight_decay), o.decoupled)
    return update_plan(call, made, (0, 1, 2), (0, 1, 2, 3), options, behind)


@cache
def rmsprop_map(centered: bool, momentum: bool, decay: bool) -> Map:
    def function(emit, weight, square, g, *rest):
        alpha, rest_alpha, eps, shrink, keep, rate, *_ = rest[centered + momentum :]
        g = g + shrink * weight if decay else g
        square = square * alpha + (g * g) * rest_alpha
        variance, state = square, []
        if centered:
            mean = rest[0] + rest_alpha * (g - rest[0])
            variance, state = square - mean * mean, [mean]
        change = g / (emit.sqrt(variance) + eps)
        if momentum:
            change = rest[centered] * keep + change
            state.append(change)
        return weight - rate * change, square, *state

    name = f"rmsprop_{centered:d}{momentum:d}{decay:d}"
    results = 2 + centered + momentum
    return Map(name, function, results=results, options=5, scalars=rate_alone)


@kernel("rmsprop_")
def rmsprop(call):
    o = call.geometry
    made = rmsprop_map(bool(o.centered), bool(o.momentum), bool(o.weight_decay))
    state = tuple(range(4, len(call.ins)))
    options = o.alpha, 1 - o.alpha, o.eps, o.weight_decay, o.momentum
    return update_plan(call, made, (0, 1, *state), (0, 1, 2, *state), options, [Operand(3)])


@compiled
def count_on(table):
    """Steps, places, their number."""
    if thread() == 0:
        for k in range(parameter(table, 2)):
            at = parameter(table, 0) + 8 * read_integer(parameter(table, 1) + 8 * k)
            write_integer(at, read_integer(at) + 1)


def counted(call, places):
    """The plan that adds one to int64 elements at these places."""
    (steps,) = call.ins
    if steps.dtype != "int64" or steps.layout != PLAIN or not steps.size:
        return "plain int64 only, and some"
    places = np.array(places, np.int64)
    table = Operand(0), places.ctypes.data, len(places)
    return planned(Launch((count_on, table), on=1, keep=places), [steps], writes=(0,))


@kernel("count_")
def count(call):
    """geometry = the places that are counted on."""
    return counted(call, [n % call.ins[0].size for n in call.geometry if call.ins[0].size])


@helper
def norm_scalars(at):
    """Of a norm and the largest allowed: the factor of clip_norm_; NaN stays."""
    factor = read_double(at + 8) / (read(read_integer(at)) + 1e-6)
    return 1.0 if factor > 1.0 else factor, 0.0, 0.0


CLIP_NORM = Map("clip_norm", lambda emit, g, factor, *_: g * factor, scalars=norm_scalars)
CLIP_VALUE = Map(
    "clip_value", lambda emit, g, at: emit.minimum(emit.maximum(g, 0.0 - at), at), options=1
)


@kernel("clip_norm_")
def clip_norm(call):
    if why := refusal(call):
        return why
    behind = Operand(1), double_bits(call.geometry)
    return update_plan(call, CLIP_NORM, (0,), (0,), behind=behind)


@kernel("clip_value_")
def clip_value(call):
    return update_plan(call, CLIP_VALUE, (0,), (0,), [call.geometry])


@kernel("global_norm")
def global_norm(call):
    if why := refusal(call):
        return why
    ins = [s.at(PLAIN) for s in call.ins]
    on, parts = team(sum(s.size for s in ins)), len(ins) + 1
    stages = [
        (square_parts, (s.size, Operand(1 + i), Operand(parts, 64 * on * i)))
        for i, s in enumerate(ins)
    ]
    stages.append((root_of_parts, (Operand(parts), on * len(ins), Operand(0))))
    return planned(Launch(*stages, on=on), ins, [Spec(())], workspace=64 * on * len(ins))
