"""Sums, means and extremes over axes."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import HALF
from ..errors import DtypeError, ShapeError
from ..tape import Tensor, compute, record
from . import checks
from .arithmetic import div, mul, numbers, sub
from .assemble import cast, pad
from .elementwise import exp
from .op import Sample, op
from .shape import broadcast_to, permute, reshape, sum_to


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with size 1 along the reduced axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def dropped_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the reduced axes."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _dropped(y: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return y if keepdims else reshape(y, dropped_shape(y.shape, axes))


def _rows(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The reduced axes merged into one at the end, in their order: (..., M)."""
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    count = math.prod(x.shape[a] for a in axes)
    return reshape(permute(x, rest + axes), (*dropped_shape(x.shape, axes), count))


def _axes_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for axis, keep in [(None, False), (1, False), ((0, -1), True), ((), False)]:
        yield Sample((x,), dict(axis=axis, keepdims=keep), differentiable=(0,))
    yield Sample((x[:, :1],), dict(axis=1), differentiable=(0,))
    yield Sample((x[:0],), dict(axis=1), differentiable=(0,))
    yield Sample((np.array(2.0),), differentiable=(0,))
    yield Sample((x,), dict(axis=3), error=(ShapeError, "expected an axis in [-3, 3); got 3"))
    yield Sample((x > 0,), error=(DtypeError, "got bool"))


def _sum_samples(rng):
    yield from _axes_samples(rng)
    yield Sample((rng.standard_normal((0, 3)),), dict(axis=0), differentiable=(0,))
    yield Sample((rng.integers(0, 9, (2, 3)),), dict(axis=0))


@op(_sum_samples)
def sum(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Sum over one axis, several, or all; of nothing it is 0.

    Shapes: x (any) -> without the axes, or with size 1 there.

    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([4., 6.], dtype=float32)
    """
    numbers("sum", x)
    axes = checks.axes("sum", axis, x.ndim)
    return _dropped(sum_to(x, kept_shape(x.shape, axes)), axes, keepdims)


@op(_axes_samples)
def mean(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over one axis, several, or all; of nothing it is nan.

    Shapes: x (any) -> without the axes, or with size 1 there.

    >>> mean(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([2., 3.], dtype=float32)
    """
    checks.floats("mean", x)
    axes, shape = checks.axes("mean", axis, x.ndim), x.shape
    count = math.prod(shape[a] for a in axes)
    (y,) = compute("mean", x, geometry=(axes,))

    def gradient(gy, needs):
        return (broadcast_to(div(gy, count), shape),)

    return _dropped(record(y, (x,), gradient=gradient), axes, keepdims)


def _var_samples(rng):
    yield from _axes_samples(rng)
    x = rng.standard_normal((2, 3, 4))
    yield Sample((x,), dict(axis=(0, 2), correction=1), differentiable=(0,))


@op(_var_samples)
def var(
    x: Tensor,
    *,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
    correction: int = 0,
) -> Tensor:
    """Variance: ``y = sum((x - mean(x))**2) / (n - correction)`` over n elements.

    Args:
        correction: 0 for the variance of these numbers, 1 for the unbiased estimate from a
            sample of them.

    Shapes: x (any) -> without the axes, or with size 1 there. nan if n <= correction.

    >>> var(Tensor([1.0, 3.0])).item(), var(Tensor([1.0, 3.0]), correction=1).item()
    (1.0, 2.0)
    """
    checks.floats("var", x)
    axes = checks.axes("var", axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    divisor = count - correction if count > correction else 0
    (y,) = compute("var", x, geometry=(axes, correction))

    def gradient(gy, needs, x):
        centred = sub(x, mean(x, axis=axes, keepdims=True))
        return (mul(div(mul(gy, 2.0), divisor), centred),)

    return _dropped(record(y, (x,), saved=(x,), gradient=gradient), axes, keepdims)


@op(_axes_samples)
def logsumexp(
    x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> Tensor:
    """``y = log(sum(exp(x)))`` without overflow; of nothing it is -inf.

    Shapes: x (any) -> without the axes, or with size 1 there.

    >>> logsumexp(Tensor([1000.0, 1000.0], "float64")).numpy().round(4)
    np.float64(1000.6931)
    """
    checks.floats("logsumexp", x)
    axes = checks.axes("logsumexp", axis, x.ndim)
    (y,) = compute("logsumexp", x, geometry=(axes,))

    def gradient(gy, needs, x, y):
        return (mul(gy, exp(sub(x, y))),)

    return _dropped(record(y, (x,), saved=(x, y), gradient=gradient), axes, keepdims)


def _prod_samples(rng):
    yield from _axes_samples(rng)
    x = rng.uniform(0.5, 1.5, (2, 5))
    x[0, 1] = x[1, 2] = x[1, 3] = 0.0
    yield Sample((x,), dict(axis=1), differentiable=(0,))
    yield Sample((x[:, :0],), dict(axis=1), differentiable=(0,))
    yield Sample((rng.integers(1, 4, (2, 3)),), dict(axis=0))


@op(_prod_samples)
def prod(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Product over one axis, several, or all; of nothing it is 1.

    Taken in pairs, and pairs of pairs: its gradient divides by nothing, so zeros are no special
    case. 16-bit floats are multiplied in float32.

    Shapes: x (any) -> without the axes, or with size 1 there.

    >>> prod(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([3., 8.], dtype=float32)
    """
    numbers("prod", x)
    axes = checks.axes("prod", axis, x.ndim)
    rows = _rows(cast(x, "float32") if x.dtype in HALF else x, axes)  # (..., M)
    count = rows.shape[-1]
    ones = (1 << (count - 1).bit_length()) - count  # up to a power of two
    rows = pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, ones)], value=1)
    while rows.shape[-1] > 1:
        half = rows.shape[-1] // 2
        rows = mul(rows[..., :half], rows[..., half:])
    return cast(reshape(rows, (kept_shape if keepdims else dropped_shape)(x.shape, axes)), x.dtype)


def _spread(rng, shape):
    """Distinct numbers, exact in 16 bits."""
    return rng.permutation(math.prod(shape)).reshape(shape) / 4 - 2


def _arg_samples(rng):
    x = _spread(rng, (2, 3, 4))
    for options in [{}, dict(axis=1), dict(axis=-1, keepdims=True)]:
        yield Sample((x,), options)
    yield Sample((x[:0],), dict(axis=1))
    yield Sample((rng.integers(0, 3, (2, 9)),), dict(axis=1))
    yield Sample((x[:0],), error=(ShapeError, "at least one element; got (0, 3, 4)"))
    yield Sample((x,), dict(axis=3), error=(ShapeError, "expected an axis in [-3, 3); got 3"))


def _position(name: str, x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """x in rows (..., M) of what is reduced, and where in each the extreme stands (...)."""
    rows = _rows(x, axes)
    if rows.shape[-1] == 0:
        raise ShapeError(
            f"{name}: expected at least one element; got {x.shape} along {axes}.",
            "leave out empty axes.",
        )
    return rows, compute(f"arg{name[-3:]}", rows)[0]


@op(_arg_samples)
def argmax(x: Tensor, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where along an axis the largest stands, the first of them if several do; int64.

    nan counts as the largest.

    Args:
        axis: None: among all elements, counted in row-major order.

    Shapes: x (any) -> without the axis, or with size 1 there.

    Raises:
        ShapeError: There is nothing along the axis.

    >>> argmax(Tensor([[1.0, 5.0], [3.0, 3.0]]), axis=1).numpy()
    array([1, 0])
    """
    axes = checks.axes("argmax", axis, x.ndim)
    position = _position("argmax", x, axes)[1]
    return reshape(position, kept_shape(x.shape, axes)) if keepdims else position


@op(_arg_samples)
def argmin(x: Tensor, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where along an axis the smallest stands, the first of them if several do; int64.

    nan counts as the smallest.

    Args:
        axis: None: among all elements, counted in row-major order.

    Shapes: x (any) -> without the axis, or with size 1 there.

    Raises:
        ShapeError: There is nothing along the axis.

    >>> argmin(Tensor([[1.0, 5.0], [3.0, 3.0]]), axis=1).numpy()
    array([0, 0])
    """
    axes = checks.axes("argmin", axis, x.ndim)
    position = _position("argmin", x, axes)[1]
    return reshape(position, kept_shape(x.shape, axes)) if keepdims else position


def _pick(rows: Tensor, position: Tensor) -> Tensor:
    """From each row (..., M) the element at its position (...)."""
    (y,) = compute("pick", rows, position)
    count = rows.shape[-1]

    def gradient(gy, needs, position):
        return _place(gy, position, count), None

    return record(y, (rows, position), saved=(position,), gradient=gradient)


def _place(y: Tensor, position: Tensor, count: int) -> Tensor:
    """Rows of zeros (..., M) with y (...) at the positions: the gradient of _pick."""
    (rows,) = compute("place", y, position, geometry=count)

    def gradient(v, needs, position):
        return _pick(v, position), None

    return record(rows, (y, position), saved=(position,), gradient=gradient)


def _extreme_samples(rng):
    x = _spread(rng, (2, 3, 4))
    for axis, keep in [(None, False), (1, False), ((0, -1), True)]:
        yield Sample((x,), dict(axis=axis, keepdims=keep), differentiable=(0,))
    yield Sample((x[:, :1],), dict(axis=1), differentiable=(0,))
    yield Sample((x[:0],), dict(axis=1), differentiable=(0,))
    yield Sample((rng.integers(0, 9, (2, 3)),), dict(axis=0))
    yield Sample((x[:0],), dict(axis=0), error=(ShapeError, "got (0, 3, 4) along (0,)"))


@op(_extreme_samples)
def max(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """The largest over one axis, several, or all; nan counts as the largest.

    If several are the largest, the first in row-major order gets the whole gradient.

    Shapes: x (any) -> without the axes, or with size 1 there.

    Raises:
        ShapeError: There is nothing to take it of.

    >>> max(Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=0).numpy()
    array([3., 5.], dtype=float32)
    """
    axes = checks.axes("max", axis, x.ndim)
    y = _pick(*_position("max", x, axes))
    return reshape(y, kept_shape(x.shape, axes)) if keepdims else y


@op(_extreme_samples)
def min(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """The smallest over one axis, several, or all; nan counts as the smallest.

    If several are the smallest, the first in row-major order gets the whole gradient.

    Shapes: x (any) -> without the axes, or with size 1 there.

    Raises:
        ShapeError: There is nothing to take it of.

    >>> min(Tensor([[1.0, 5.0], [3.0, 4.0]]), axis=0).numpy()
    array([1., 4.], dtype=float32)
    """
    axes = checks.axes("min", axis, x.ndim)
    y = _pick(*_position("min", x, axes))
    return reshape(y, kept_shape(x.shape, axes)) if keepdims else y


def _cumsum_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for axis in (0, 1, -1):
        yield Sample((x,), dict(axis=axis), differentiable=(0,))
    yield Sample((x[:, :0],), dict(axis=1), differentiable=(0,))
    yield Sample((rng.integers(0, 9, (2, 3)),), dict(axis=1))
    yield Sample((x,), dict(axis=3), error=(ShapeError, "expected an axis in [-3, 3); got 3"))
    yield Sample((x > 0,), dict(axis=0), error=(DtypeError, "expected numbers; got bool"))


@op(_cumsum_samples)
def cumsum(x: Tensor, *, axis: int) -> Tensor:
    """Running sum along an axis: ``y[i] = x[0] + ... + x[i]``.

    Shapes: x (any) -> the same.

    >>> cumsum(Tensor([1.0, 2.0, 3.0]), axis=0).numpy()
    array([1., 3., 6.], dtype=float32)
    """
    numbers("cumsum", x)
    return _cumsum(x, checks.axis("cumsum", axis, x.ndim), False)


def _cumsum(x: Tensor, axis: int, reverse: bool) -> Tensor:
    (y,) = compute("cumsum", x, geometry=(axis, reverse))

    def gradient(gy, needs):
        return (_cumsum(gy, axis, not reverse),)

    return record(y, (x,), gradient=gradient)


for function in (sum, mean, var, logsumexp, prod, max, min, argmax, argmin, cumsum):
    setattr(Tensor, function.__name__, function)
