"""Dropout, and the step of a generator's counter."""

from __future__ import annotations

import numpy as np

from .. import rng
from ..spec import PLAIN
from .common import as_they_lie, kernel, plain


@kernel("advance")
def advance(call):
    """state (2,) = [seed, draws so far]: one more draw, in place."""

    def run(state):
        state[1] += 1

    return as_they_lie(call, run, writes=(0,))


@kernel("dropout")
def dropout(call):
    """x, key (2,) = [seed, draw]; geometry = p. The comparison is made in float32."""
    p = call.geometry
    scale = 1 / (1 - p) if p < 1 else 0.0

    def run(y, x, key):
        keep = rng.uniform(x.size, *map(int, key)).reshape(x.shape) >= np.float32(p)
        with np.errstate(all="ignore"):
            y[...] = np.where(keep, x * x.dtype.type(scale), 0)

    return plain(call, run, call.ins[0].at(PLAIN))
