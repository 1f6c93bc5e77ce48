"""Pooling, one image axis after the other: a window's maximum is the maximum of its rows' maxima.

The auxiliary of max pooling is the winner's place in the image, counted row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..geometry import Adaptive, Ints, Window, within
from ..registry import Call
from ..spec import Spec
from .common import kernel, plain

IMAGE = 2  # the first image axis of (N, C, *size)


def along(axis: int, values: np.ndarray, ndim: int) -> np.ndarray:
    """One number per element of an axis, shaped to broadcast along it."""
    return values.reshape([-1 if i == axis else 1 for i in range(ndim)])


@dataclass(frozen=True)
class Taps:
    """A linear map of one axis: ``y[p] = sum_j weights[p, j] * x[pixels[p, j]]``.

    A tap whose weight is 0 is not read, so NaN and inf stay where they count.
    """

    pixels: np.ndarray  # (outputs, taps)
    weights: np.ndarray  # (outputs, taps)
    size: int  # pixels of the axis

    def __call__(self, x: np.ndarray, axis: int) -> np.ndarray:
        y = np.zeros((*x.shape[:axis], len(self.pixels), *x.shape[axis + 1 :]), x.dtype)
        for pixels, weights in zip(self.pixels.T, self.weights.T):
            read = along(axis, weights != 0, x.ndim)
            values = x.take(np.where(weights != 0, pixels, 0), axis)
            values *= along(axis, weights.astype(x.dtype), x.ndim)
            np.add(y, values, out=y, where=read)
        return y

    def transposed(self) -> Taps:
        """The map of the gradient: every pixel reads the outputs that read it."""
        outputs, tap = np.nonzero(self.weights)
        pixels = self.pixels[outputs, tap]
        order = np.argsort(pixels, kind="stable")
        outputs, tap, pixels = outputs[order], tap[order], pixels[order]
        place = np.arange(len(pixels)) - np.searchsorted(pixels, pixels)  # among the readers
        back = Taps(
            np.zeros((self.size, place.max(initial=-1) + 1), int),
            np.zeros((self.size, place.max(initial=-1) + 1)),
            len(self.pixels),
        )
        back.pixels[pixels, place] = outputs
        back.weights[pixels, place] = self.weights[outputs, tap]
        return back


def separable(maps: list[Taps], x: np.ndarray) -> np.ndarray:
    """One map after the other, each along its image axis."""
    for axis, taps in reversed(list(enumerate(maps, IMAGE))):
        x = taps(x, axis)
    return x


def images(call: Call, size: Ints) -> Spec:
    """What a call makes: images of another size."""
    x = call.ins[0]
    return Spec((*x.shape[:IMAGE], *size), x.dtype)


def _sums(over: Window | Adaptive) -> list[Taps]:
    tables = [(over.pixels(axis), n) for axis, n in enumerate(over.size)]
    return [Taps(pixels, within(pixels, 0, n).astype(float), n) for pixels, n in tables]


def _average(call, over, counts):
    maps = _sums(over)

    def run(y, x):
        with np.errstate(all="ignore"):  # inf - inf is nan, as in every framework
            y[...] = separable(maps, x) / _cells(counts, x)

    return plain(call, run, images(call, over.out_size))


def _average_grad(call, over, counts):
    maps = [taps.transposed() for taps in _sums(over)]

    def run(gx, gy):
        with np.errstate(all="ignore"):
            gx[...] = separable(maps, gy / _cells(counts, gy))

    return plain(call, run, images(call, over.size))


def _cells(counts, x):
    """Cells of each window, (1, 1, *out), in x's dtype."""
    axes = enumerate(counts, IMAGE)
    return prod(along(axis, c, x.ndim) for axis, c in axes).astype(x.dtype)


def _counts(geometry):
    return [geometry.counts(axis) for axis in range(len(geometry.window.size))]


def _adaptive_counts(geometry):
    return [taps.weights.sum(1) for taps in _sums(geometry)]


@kernel("avg_pool")
def avg_pool(call):
    """geometry = Average."""
    return _average(call, call.geometry.window, _counts(call.geometry))


@kernel("avg_pool_grad")
def avg_pool_grad(call):
    return _average_grad(call, call.geometry.window, _counts(call.geometry))


@kernel("adaptive_avg_pool")
def adaptive_avg_pool(call):
    """geometry = Adaptive."""
    return _average(call, call.geometry, _adaptive_counts(call.geometry))


@kernel("adaptive_avg_pool_grad")
def adaptive_avg_pool_grad(call):
    return _average_grad(call, call.geometry, _adaptive_counts(call.geometry))


def _largest(value: np.ndarray, place: np.ndarray, pixels: np.ndarray, axis: int):
    """Along one axis: the largest value under each position, and its place in the image."""
    inside = within(pixels, 0, value.shape[axis])
    first = pixels[np.arange(len(pixels)), inside.argmax(1)]  # the first pixel of each position
    best, winner = value.take(first, axis), place.take(first, axis)
    for cell, there in zip(pixels.T, inside.T):
        cell = np.where(there, cell, first)  # may be read, but does not count
        v, p = value.take(cell, axis), place.take(cell, axis)
        better = ((v > best) | np.isnan(v)) & along(axis, there, v.ndim)
        np.copyto(best, v, where=better)
        np.copyto(winner, p, where=better)
    return best, winner


def _max_pool(call):
    """geometry = Window or Adaptive. Where a window holds several NaN, the last one wins."""
    over = call.geometry
    tables = [over.pixels(axis) for axis in range(len(over.size))]
    y = images(call, over.out_size)

    def run(y, *rest):
        *index, value = rest
        place = np.broadcast_to(np.arange(prod(over.size)).reshape(over.size), value.shape)
        for axis, pixels in reversed(list(enumerate(tables, IMAGE))):
            value, place = _largest(value, place, pixels, axis)
        y[...] = value
        for i in index:
            i[...] = place

    return plain(call, run, y, *([Spec(y.shape, "int64")] if call.auxiliaries else []))


def _max_pool_grad(call):
    """gy to the winners: (gy, index) -> gx."""
    gx = images(call, call.geometry.size)
    pixels = prod(call.geometry.size)

    def run(gx, gy, index):
        planes = np.arange(prod(gx.shape[:IMAGE])).reshape(*gx.shape[:IMAGE], *[1] * (gx.ndim - 2))
        flat = (index + planes * pixels).reshape(-1)
        gx[...] = np.bincount(flat, gy.reshape(-1), gx.size).reshape(gx.shape)

    return plain(call, run, gx)


def _max_pool_gather(call):
    """v from the winners' places: (v, index) -> y. The transpose of the gradient."""
    y = images(call, call.geometry.out_size)
    pixels = prod(call.geometry.size)

    def run(y, v, index):
        planes = (*y.shape[:IMAGE], pixels)
        flat = index.reshape(*y.shape[:IMAGE], prod(y.shape[IMAGE:]))
        y[...] = np.take_along_axis(v.reshape(planes), flat, IMAGE).reshape(y.shape)

    return plain(call, run, y)


for name in ("max_pool", "adaptive_max_pool"):
    kernel(name)(_max_pool)
    kernel(f"{name}_grad")(_max_pool_grad)
    kernel(f"{name}_gather")(_max_pool_gather)
