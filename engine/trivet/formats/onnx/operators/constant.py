"""Values that do not depend on what is in a tensor: constants, shapes, casts."""

from __future__ import annotations

import numpy as np

from .... import ops
from ..operator import from_host, operator


@operator("Constant")
def constant(*, value=None, value_float=None, value_floats=None, value_int=None,
             value_ints=None):  # fmt: skip
    if value is not None:
        return value
    number = value_float if value_floats is None else value_floats
    if number is not None:
        return np.asarray(number, "float32")
    return np.asarray(value_int if value_ints is None else value_ints, "int64")


@operator("ConstantOfShape", host=("shape",))
def constant_of_shape(shape, *, value=None):
    value = np.zeros(1, "float32") if value is None else value
    return np.full(shape, value.item(), value.dtype)


@operator("Shape")
def shape(x, *, start=0, end=None):
    return np.array(x.shape[start:end], "int64")


@operator("Size")
def size(x):
    return np.array(x.size)


@operator("Range", host=("start", "limit", "delta"))
def numbers(start, limit, delta):
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return (start + np.arange(count) * delta).astype(start.dtype)


@operator("EyeLike")
def eye_like(x, *, dtype=None, k=0):
    return np.eye(*x.shape, k=k, dtype=dtype or x.dtype)


@operator("Cast")
def cast(x, *, to, saturate=1, round_mode="up"):
    return ops.cast(x, to)


@operator("CastLike")
def cast_like(x, like, *, saturate=1, round_mode="up"):
    return ops.cast(x, like.dtype)


@operator("OneHot", host=("depth",))
def one_hot(ids, depth, values, *, axis=-1):
    classes = int(depth.item())
    ids = ops.cast(ids, "int64")
    inside = ops.logical_and(ops.less(ids, classes), ops.greater_equal(ids, -classes))
    ids = ops.where(inside, ids, 0)
    ids = ops.where(ops.less(ids, 0), ops.add(ids, classes), ids)
    hot = ops.one_hot(ids, classes, "bool")  # (..., classes)
    hot = ops.logical_and(hot, ops.unsqueeze(inside, -1))
    order = list(range(hot.ndim - 1))
    order.insert(axis % hot.ndim, hot.ndim - 1)
    return ops.where(ops.permute(hot, tuple(order)), values[1], values[0])


@operator("Trilu", host=("k",))
def triangle(x, k=None, *, upper=1):
    offset = 0 if k is None else int(k.item())
    rows, columns = np.indices(x.shape[-2:])
    kept = columns - rows >= offset if upper else columns - rows <= offset
    zero = ops.cast(from_host(np.zeros((), "uint8"), x.device), x.dtype)
    return ops.where(from_host(kept, x.device), x, zero)
