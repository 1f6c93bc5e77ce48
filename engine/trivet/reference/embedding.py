"""Values picked by ids and, the other way, values added up where ids say."""

from __future__ import annotations

import numpy as np

from ..errors import IdError
from ..spec import Spec
from .common import as_they_lie, kernel


def expect_ids(name, ids, count):
    """All ids inside [0, count); the first that is not goes into the message."""
    wrong = (ids < 0) | (ids >= count)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IdError(
            f"{name}: expected ids in [0, {count}); got {ids[place]} at position {place}.",
            "check how the ids were made; they count from 0.",
        )


@kernel("embedding")
def embedding(call):
    """ids (any), weight (V, E) -> (*ids, E)."""
    ids, weight = call.ins
    rows, columns = weight.shape

    def run(y, ids, weight):
        expect_ids("embedding", ids, rows)
        np.take(weight, ids, axis=0, out=y, mode="clip")  # a mode that takes `out` unbuffered

    return as_they_lie(call, run, Spec((*ids.shape, columns), weight.dtype))


@kernel("embedding_grad")
def embedding_grad(call):
    """gy (*ids, E), ids -> (V, E); geometry = V. Adds in the order of the ids."""
    gy, _ = call.ins
    columns = gy.shape[-1]

    def run(gw, gy, ids):
        gw[...] = 0
        np.add.at(gw, ids.reshape(-1), gy.reshape(ids.size, columns))

    return as_they_lie(call, run, Spec((call.geometry, columns), gy.dtype))


@kernel("take")
def take(call):
    """x (..., n, ...), ids (any) -> (..., *ids, ...); geometry = the axis."""
    x, ids = call.ins
    axis = call.geometry
    shape = x.shape[:axis] + ids.shape + x.shape[axis + 1 :]

    def run(y, x, ids):
        expect_ids("take", ids, x.shape[axis])
        np.take(x, ids, axis, out=y, mode="clip")

    return as_they_lie(call, run, Spec(shape, x.dtype))


@kernel("take_grad")
def take_grad(call):
    """gy (..., *ids, ...), ids -> (..., n, ...); geometry = (axis, n)."""
    gy, ids = call.ins
    axis, size = call.geometry
    before, after = gy.shape[:axis], gy.shape[axis + len(ids.shape) :]

    def run(gx, gy, ids):
        gx[...] = 0
        picked = gy.reshape(*before, ids.size, *after)
        np.add.at(np.moveaxis(gx, axis, 0), ids.reshape(-1), np.moveaxis(picked, axis, 0))

    return as_they_lie(call, run, Spec((*before, size, *after), gy.dtype))


@kernel("take_along")
def take_along(call):
    """x and ids of equal sizes but for the axis -> ids' shape; geometry = the axis."""
    x, ids = call.ins
    axis = call.geometry

    def run(y, x, ids):
        expect_ids("take_along", ids, x.shape[axis])
        y[...] = np.take_along_axis(x, ids, axis)

    return as_they_lie(call, run, Spec(ids.shape, x.dtype))


@kernel("take_along_grad")
def take_along_grad(call):
    """gy, ids (one shape) -> the shape with n along the axis; geometry = (axis, n)."""
    gy, _ = call.ins
    axis, size = call.geometry
    shape = (*gy.shape[:axis], size, *gy.shape[axis + 1 :])

    def run(gx, gy, ids):
        gx[...] = 0
        places = list(np.indices(ids.shape, sparse=True))
        places[axis] = ids
        np.add.at(gx, tuple(places), gy)

    return as_they_lie(call, run, Spec(shape, gy.dtype))


@kernel("one_hot")
def one_hot(call):
    """ids (any) -> (*ids, classes); geometry = (classes, dtype)."""
    classes, dtype = call.geometry
    (ids,) = call.ins

    def run(y, ids):
        expect_ids("one_hot", ids, classes)
        y[...] = ids[..., None] == np.arange(classes)

    return as_they_lie(call, run, Spec((*ids.shape, classes), dtype))
