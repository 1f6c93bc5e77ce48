"""Resampling: along each axis a map with one or two taps."""

from __future__ import annotations

import numpy as np

from .common import kernel, plain
from .pool import Taps, images, separable


def _maps(geometry):
    """One map per axis; at equal sizes both modes copy."""
    return [Taps(*geometry.weights(axis), n) for axis, n in enumerate(geometry.size)]


@kernel("resample")
def resample(call):
    """geometry = Resampling."""
    return _mapped(call, _maps(call.geometry), call.geometry.out_size)


@kernel("resample_grad")
def resample_grad(call):
    maps = [taps.transposed() for taps in _maps(call.geometry)]
    return _mapped(call, maps, call.geometry.size)


def _mapped(call, maps, size):
    def run(y, x):
        with np.errstate(all="ignore"):  # inf - inf is nan, as in every framework
            y[...] = separable(maps, x)

    return plain(call, run, images(call, size))
