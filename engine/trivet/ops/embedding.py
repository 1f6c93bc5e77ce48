"""Values picked by ids: rows of a table, slices or elements along an axis, one-hot rows.

Every gradient adds what comes back up where the ids point, in the order of the ids. Both ways are
linear, so each is the other's gradient.
"""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..errors import DtypeError, IdError, OptionError, ShapeError
from ..tape import Tensor, compute, record
from . import checks
from .op import Sample, op


def embedding_samples(rng):
    weight = rng.standard_normal((5, 3))
    for shape in [(4,), (2, 3), (), (0,), (2, 0)]:
        yield Sample((np.asarray(rng.integers(0, 5, shape)), weight), differentiable=(1,))
    yield Sample((np.array([2, 2, 2], "int32"), weight[:, :1]), differentiable=(1,))
    yield Sample((np.array([[0, 5]]), weight), error=(IdError, "[0, 5); got 5 at position (0, 1)"))
    yield Sample((np.array([-1]), weight), error=(IdError, "got -1 at position (0,)"))
    yield Sample((weight, weight), error=(DtypeError, "ids of int32 or int64; got float64"))
    yield Sample((np.array([1]), weight[0]), error=(ShapeError, "weight (V, E); got (3,)"))


@op(embedding_samples)
def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Row ``ids[i]`` of a table for every i: ``y[i] = weight[ids[i]]``.

    The gradient is dense, of the table's shape; a row that several ids name gets the sum.

    Args:
        ids: int32 or int64 in [0, V).

    Shapes: ids (any), weight (V, E) -> (*ids.shape, E).

    Raises:
        IdError: An id outside [0, V), also a negative one.
        ShapeError: weight is not a matrix.
        DtypeError: ids are not integers, or weight is not a float tensor.

    >>> embedding(Tensor([1, 1, 0]), Tensor([[1.0, 2.0], [3.0, 4.0]])).numpy()
    array([[3., 4.],
           [3., 4.],
           [1., 2.]], dtype=float32)
    """
    checks.ids("embedding", ids)
    checks.floats("embedding", weight)
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding: expected weight (V, E); got {weight.shape}.",
            "give one row of E numbers per id; for other shapes use ops.take.",
        )
    (y,) = compute("embedding", ids, weight)  # (*ids, E)
    rows = weight.shape[0]

    def gradient(gy, needs, ids):
        return None, _embedding_grad(gy, ids, rows)

    return record(y, (ids, weight), saved=(ids,), gradient=gradient)


def _embedding_grad(gy: Tensor, ids: Tensor, rows: int) -> Tensor:
    (gw,) = compute("embedding_grad", gy, ids, geometry=rows)  # (V, E)
    return record(gw, (gy,), saved=(ids,), gradient=lambda v, needs, ids: (embedding(ids, v),))


def take_samples(rng):
    x = rng.standard_normal((3, 4, 2))
    for axis in (0, 1, -1):
        ids = rng.integers(0, x.shape[axis], (2, 3))
        yield Sample((x, ids), dict(axis=axis), differentiable=(0,))
    yield Sample((x, np.array(2)), dict(axis=1), differentiable=(0,))
    yield Sample((x, np.zeros(0, "int64")), differentiable=(0,))
    yield Sample((x[0, 0], np.array([1, 1, 0], "int32")), differentiable=(0,))
    yield Sample((rng.integers(0, 9, (3, 2)), np.array([2, 0])))
    yield Sample((x, np.array([0, 3])), error=(IdError, "[0, 3); got 3 at position (1,)"))
    yield Sample((x, np.array([-1])), dict(axis=2), error=(IdError, "[0, 2); got -1"))
    yield Sample((x, np.array([0])), dict(axis=3), error=(ShapeError, "an axis in [-3, 3); got 3"))
    yield Sample((x, np.array([0.0])), error=(DtypeError, "got float64"))


@op(take_samples)
def take(x: Tensor, ids: Tensor, *, axis: int = 0) -> Tensor:
    """Slices of x along one axis, as many as there are ids: ``y[i] = x[ids[i]]`` for axis 0.

    Args:
        ids: int32 or int64 of any shape, in [0, n) where n is the axis's size.
        axis: The axis that the ids count along, and that their axes replace.

    Shapes: x (..., n, ...), ids (any) -> (..., *ids.shape, ...).

    Raises:
        IdError: An id outside [0, n), also a negative one.
        ShapeError: No such axis.
        DtypeError: ids are not integers.

    Source: ``numpy.take``; for a vector of ids ``torch.index_select``.

    >>> take(Tensor([[1.0, 2.0, 3.0]]), Tensor([2, 0]), axis=1).numpy()
    array([[3., 1.]], dtype=float32)
    """
    checks.ids("take", ids)
    axis = checks.axis("take", axis, x.ndim)
    (y,) = compute("take", x, ids, geometry=axis)  # (..., *ids, ...)
    size = x.shape[axis]

    def gradient(gy, needs, ids):
        return _take_grad(gy, ids, axis, size), None

    return record(y, (x, ids), saved=(ids,), gradient=gradient)


def _take_grad(gy: Tensor, ids: Tensor, axis: int, size: int) -> Tensor:
    (gx,) = compute("take_grad", gy, ids, geometry=(axis, size))
    return record(
        gx, (gy,), saved=(ids,), gradient=lambda v, needs, ids: (take(v, ids, axis=axis),)
    )


def take_along_samples(rng):
    x = rng.standard_normal((3, 4))
    yield Sample((x, rng.integers(0, 4, (3, 6))), dict(axis=1), differentiable=(0,))
    yield Sample((x, rng.integers(0, 3, (1, 4))), dict(axis=0), differentiable=(0,))
    yield Sample((x, rng.integers(0, 4, (3, 0))), dict(axis=-1), differentiable=(0,))
    yield Sample((x[0], np.array([3, 3, 3], "int32")), dict(axis=0), differentiable=(0,))
    yield Sample((rng.integers(0, 9, (2, 2)), np.array([[1], [0]])), dict(axis=1))
    ids = np.array([[0], [1], [4]])
    yield Sample((x, ids), dict(axis=1), error=(IdError, "[0, 4); got 4 at position (2, 0)"))
    yield Sample((x, ids[:2]), dict(axis=1), error=(ShapeError, "got (3, 4) and (2, 1)"))
    yield Sample((x, ids[:, 0]), dict(axis=1), error=(ShapeError, "got (3, 4) and (3,)"))


@op(take_along_samples)
def take_along(x: Tensor, ids: Tensor, *, axis: int) -> Tensor:
    """Elements of x along one axis, each row by its own ids: ``y[i, j] = x[i, ids[i, j]]``.

    Args:
        ids: int32 or int64 in [0, n) where n is the axis's size.

    Shapes: x (..., n, ...), ids (..., m, ...) -> (..., m, ...); equal sizes but for the axis.

    Raises:
        IdError: An id outside [0, n), also a negative one.
        ShapeError: No such axis, or sizes that differ along another one.
        DtypeError: ids are not integers.

    Source: ``numpy.take_along_axis`` without broadcasting; ``torch.gather``.

    >>> take_along(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[1], [0]]), axis=1).numpy()
    array([[2.],
           [3.]], dtype=float32)
    """
    checks.ids("take_along", ids)
    axis = checks.axis("take_along", axis, x.ndim)
    if ids.ndim != x.ndim or ids.shape != (*x.shape[:axis], ids.shape[axis], *x.shape[axis + 1 :]):
        raise ShapeError(
            f"take_along: expected equal sizes but for axis {axis}; got {x.shape} and {ids.shape}.",
            "give ids for every row; ops.take picks the same slices for all of them.",
        )
    (y,) = compute("take_along", x, ids, geometry=axis)
    size = x.shape[axis]

    def gradient(gy, needs, ids):
        return _take_along_grad(gy, ids, axis, size), None

    return record(y, (x, ids), saved=(ids,), gradient=gradient)


def _take_along_grad(gy: Tensor, ids: Tensor, axis: int, size: int) -> Tensor:
    (gx,) = compute("take_along_grad", gy, ids, geometry=(axis, size))
    return record(
        gx, (gy,), saved=(ids,), gradient=lambda v, needs, ids: (take_along(v, ids, axis=axis),)
    )


def one_hot_samples(rng):
    ids = np.array([[0, 2], [1, 1]])
    yield Sample((ids, 3))
    yield Sample((ids, 3), dict(dtype="int64"))
    yield Sample((np.zeros((0, 2), "int32"), 1), dict(dtype="bool"))
    yield Sample((ids, 2), error=(IdError, "one_hot: expected ids in [0, 2); got 2 at position"))
    yield Sample((ids, -1), error=(OptionError, "a number of classes >= 0; got -1"))
    yield Sample((ids, 3), dict(dtype="int8"), error=(DtypeError, "got 'int8'"))
    yield Sample((ids / 1.0, 3), error=(DtypeError, "ids of int32 or int64; got float64"))


@op(one_hot_samples)
def one_hot(ids: Tensor, classes: int, dtype: str = "float32") -> Tensor:
    """A row per id with 1 at the id and 0 elsewhere. No gradient flows to ids.

    Shapes: ids (any) -> (*ids.shape, classes).

    Raises:
        IdError: An id outside [0, classes).
        DtypeError: ids are not integers, or an unknown dtype.

    >>> one_hot(Tensor([1, 0]), 3).numpy()
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    checks.ids("one_hot", ids)
    if not isinstance(classes, int) or classes < 0:
        raise OptionError(
            f"one_hot: expected a number of classes >= 0; got {classes!r}.", "pass an integer."
        )
    if dtype not in dtypes.ALL:
        raise DtypeError(f"one_hot: expected one of {dtypes.ALL}; got {dtype!r}.", "pick one.")
    return compute("one_hot", ids, geometry=(classes, dtype))[0]
