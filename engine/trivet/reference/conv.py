"""Convolution and its two gradients, over the arithmetic that ``algo`` names."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..geometry import Convolution
from ..registry import Call, Plan
from ..spec import Spec
from .common import as_they_lie, kernel
from .conv_algos import FFT, Algorithm, Direct, Im2col, Winograd

ALGORITHMS: dict[str, type[Algorithm]] = {
    "auto": Im2col, "im2col": Im2col, "direct": Direct, "fft": FFT, "winograd": Winograd,
}  # fmt: skip
# Bytes of im2col's column matrix, and about those of the others' temporaries. What stays in a
# cache is read back from there: 1.5 times as fast as with 64 MiB, 50 channels of 32x32 pixels.
CHUNK = 8 * 2**20


@kernel("conv")
def conv(call: Call) -> Plan | str:
    """x (N, C, *size), w (O, C/groups, *kernel)[, bias (O,)] -> (N, O, *out_size)."""
    x, w, *_ = call.ins
    geometry: Convolution = call.geometry
    algo = ALGORITHMS[geometry.algo](geometry.window, geometry.groups)

    @np.errstate(all="ignore")
    def run(y, x, w, bias=None):
        for part in _parts(x, w.shape[0], geometry):
            algo.forward(y[part], x[part], _as_slid(w, geometry))
        if bias is not None:
            y += bias.reshape(-1, *(1 for _ in geometry.window.size))

    y = Spec((x.shape[0], w.shape[0], *geometry.window.out_size), x.dtype)
    return algo.refusal() or as_they_lie(call, run, y)


@kernel("conv_grad_input")
def conv_grad_input(call: Call) -> Plan | str:
    """gy (N, O, *out_size), w (O, C/groups, *kernel) -> (N, C, *size)."""
    gy, w = call.ins
    geometry: Convolution = call.geometry
    algo = ALGORITHMS[geometry.algo](geometry.window, geometry.groups)
    channels = w.shape[1] * geometry.groups

    @np.errstate(all="ignore")
    def run(gx, gy, w):
        for part in _parts(gy, channels, geometry):
            algo.grad_input(gx[part], gy[part], _as_slid(w, geometry))

    gx = Spec((gy.shape[0], channels, *geometry.window.size), gy.dtype)
    return algo.refusal() or as_they_lie(call, run, gx)


@kernel("conv_grad_weight")
def conv_grad_weight(call: Call) -> Plan | str:
    """x (N, C, *size), gy (N, O, *out_size) -> (O, C/groups, *kernel)[, a bias' gradient (O,)]."""
    x, gy = call.ins
    geometry: Convolution = call.geometry
    algo = ALGORITHMS[geometry.algo](geometry.window, geometry.groups)

    @np.errstate(all="ignore")
    def run(gw, *rest):
        *gb, x, gy = rest
        for sums in gb:
            sums[...] = gy.sum((0, *range(2, gy.ndim)), dtype=gy.dtype)
        gw[...] = 0
        for part in _parts(x, gy.shape[1], geometry):
            algo.grad_weight(_as_slid(gw, geometry), x[part], gy[part])

    gw = Spec((gy.shape[1], x.shape[1] // geometry.groups, *geometry.window.kernel), x.dtype)
    gb = [Spec(gw.shape[:1], x.dtype)] * geometry.bias
    return algo.refusal() or as_they_lie(call, run, gw, *gb)


def _as_slid(w: np.ndarray, geometry: Convolution) -> np.ndarray:
    """The filters in the order in which they meet the pixels; a view."""
    return np.flip(w, tuple(range(2, w.ndim))) if geometry.flip else w


def _parts(x: np.ndarray, other_channels: int, geometry: Convolution) -> Iterator[slice]:
    """Slices of the batch small enough for its columns to stay below CHUNK; one image at least."""
    window, channels = geometry.window, max(x.shape[1], other_channels, 1)
    columns = window.cells * math.prod(window.out_size)
    image = channels * max(columns, math.prod(window.padded)) * x.itemsize  # bytes
    step = max(1, CHUNK // image)
    return (slice(i, i + step) for i in range(0, x.shape[0], step))
