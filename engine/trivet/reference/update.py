"""Updates of parameters and gradients, in place.

Rates and steps are read when a kernel runs, so that a replay sees their new values. Scalars are
Python's double-precision numbers, arrays keep their own dtype.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import HALF
from ..spec import Spec
from .common import as_they_lie, kernel

QUIET = np.errstate(all="ignore")  # a training that diverges shows inf and nan


@kernel("sgd_")
def sgd(call):
    """weight, g, rate[, velocity]; geometry = Sgd."""
    o = call.geometry

    @QUIET
    def run(weight, g, rate, velocity=None):
        if o.weight_decay:
            g = g + o.weight_decay * weight
        if velocity is not None:
            velocity *= o.momentum
            velocity += g
            g = g + o.momentum * velocity if o.nesterov else velocity
        weight -= float(rate) * g

    return as_they_lie(call, run, writes=(0, 3)[: len(call.ins) - 2])


@kernel("adam_")
def adam(call):
    """weight, mean, square, g, rate, step; geometry = Adam."""
    o = call.geometry
    b1, b2 = o.betas

    @QUIET
    def run(weight, mean, square, g, rate, step):
        rate, step = float(rate), int(step)
        if o.weight_decay and o.decoupled:
            weight *= 1 - rate * o.weight_decay
        elif o.weight_decay:
            g = g + o.weight_decay * weight
        mean += (1 - b1) * (g - mean)
        square *= b2
        square += (1 - b2) * (g * g)
        unbiased = np.sqrt(square) / math.sqrt(1 - b2**step)
        weight -= rate / (1 - b1**step) * (mean / (unbiased + o.eps))

    return as_they_lie(call, run, writes=(0, 1, 2))


@kernel("rmsprop_")
def rmsprop(call):
    """weight, square, g, rate[, mean][, velocity]; geometry = RmsProp says which are there."""
    o = call.geometry

    @QUIET
    def run(weight, square, g, rate, *rest):
        rest = list(rest)
        if o.weight_decay:
            g = g + o.weight_decay * weight
        square *= o.alpha
        square += (1 - o.alpha) * (g * g)
        variance = square
        if o.centered:
            mean = rest.pop(0)
            mean += (1 - o.alpha) * (g - mean)
            variance = square - mean * mean
        change = g / (np.sqrt(variance) + o.eps)
        if o.momentum:
            velocity = rest.pop(0)
            velocity *= o.momentum
            velocity += change
            change = velocity
        weight -= float(rate) * change

    return as_they_lie(call, run, writes=(0, 1, *range(4, len(call.ins))))


@kernel("count_")
def count(call):
    """geometry = the places that are counted on."""

    @QUIET
    def run(steps):
        steps[list(call.geometry)] += 1

    return as_they_lie(call, run, writes=(0,))


@kernel("global_norm")
def global_norm(call):
    """Euclidean norm of all elements of all operands; of 16-bit floats in float32."""
    dtype = call.ins[0].dtype

    @QUIET
    def run(norm, *xs):
        norm[...] = math.sqrt(sum(float(np.sum(x * x, dtype="float64")) for x in xs))

    return as_they_lie(call, run, Spec((), "float32" if dtype in HALF else dtype))


@kernel("clip_norm_")
def clip_norm(call):
    """g, norm; geometry = the largest norm left as it is."""

    @QUIET
    def run(g, norm):
        g *= float(np.minimum(1.0, call.geometry / (norm.astype(np.float64) + 1e-6)))  # keeps nan

    return as_they_lie(call, run, writes=(0,))


@kernel("clip_value_")
def clip_value(call):
    """geometry = the largest absolute value left as it is."""

    @QUIET
    def run(g):
        np.clip(g, -call.geometry, call.geometry, out=g)

    return as_they_lie(call, run, writes=(0,))


@kernel("unscale_")
def unscale(call):
    """g, overflow; geometry = the scale."""

    @QUIET
    def run(g, overflow):
        g *= 1 / call.geometry
        overflow |= not np.isfinite(g).all()

    return as_they_lie(call, run, writes=(0, 1))
