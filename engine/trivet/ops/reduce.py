"""Sums, means and extremes over axes."""

from __future__ import annotations

from ..tape import Tensor
from . import checks
from .op import Sample, op
from .shape import reshape, sum_to


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with size 1 along the reduced axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def dropped_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the reduced axes."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def sum_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for axis, keep in [(None, False), (1, False), ((0, -1), True)]:
        yield Sample((x,), dict(axis=axis, keepdims=keep), differentiable=(0,))


@op(sum_samples)
def sum(x: Tensor, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
    """Sum over one axis, several, or all.

    Shapes: x (any) -> without the axes, or with size 1 there.

    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([4., 6.], dtype=float32)
    """
    axes = checks.axes("sum", axis, x.ndim)
    y = sum_to(x, kept_shape(x.shape, axes))
    return y if keepdims else reshape(y, dropped_shape(x.shape, axes))


Tensor.sum = sum
