"""Softmax and its logarithm along one axis."""

from __future__ import annotations

from ..config import is_recording
from ..errors import DtypeError, ShapeError
from ..tape import Tensor, compute, record
from . import checks, reduce
from .arithmetic import mul, sub
from .op import Sample, op


def _samples(rng):
    for shape, axis in [((3, 4), -1), ((2, 3, 4), 1), ((5,), 0), ((3, 1), 1), ((0, 4), -1)]:
        yield Sample((rng.standard_normal(shape),), dict(axis=axis), differentiable=(0,))
    yield Sample((rng.standard_normal((3, 0)),), dict(axis=1), differentiable=(0,))
    yield Sample((rng.standard_normal((2, 3)),), dict(axis=2), error=(ShapeError, "got 2"))
    yield Sample((rng.integers(0, 3, (2, 3)),), error=(DtypeError, "float tensor; got int64"))


@op(_samples)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Positive weights that add up to 1: ``y_i = exp(x_i) / sum_k exp(x_k)``.

    The largest entry is subtracted first, so exp never overflows. A row that is -inf throughout
    or holds inf becomes nan, as in PyTorch.

    Args:
        axis: Along which the weights add up to 1.

    Shapes: x (any) -> the same.

    Raises:
        ShapeError: No such axis.
        DtypeError: x is not a float tensor; 16-bit floats are summed in float32.

    >>> softmax(Tensor([0.0, 0.0])).numpy()
    array([0.5, 0.5], dtype=float32)
    """
    return _softmax("softmax", x, axis)


def safe_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax with 0 instead of nan where all of a row is -inf: no key to attend to."""
    return _softmax("safe_softmax", x, axis)


def _softmax(kernel, x, axis):
    checks.floats("softmax", x)
    axis = checks.axis("softmax", axis, x.ndim)
    (y,) = compute(kernel, x, geometry=axis)

    def gradient(gy, needs, y):
        if is_recording():
            inner = reduce.sum(mul(gy, y), axis=axis, keepdims=True)
            return (mul(y, sub(gy, inner)),)
        return compute("softmax_grad", gy, y, geometry=axis)

    return record(y, (x,), saved=(y,), gradient=gradient, name="softmax")


@op(_samples)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Logarithm of softmax: ``y_i = x_i - log sum_k exp(x_k)``; finite where softmax is 0.

    Args, Raises: as for softmax.

    Shapes: x (any) -> the same.

    >>> log_softmax(Tensor([0.0, 0.0])).numpy()
    array([-0.6931472, -0.6931472], dtype=float32)
    """
    checks.floats("log_softmax", x)
    axis = checks.axis("log_softmax", axis, x.ndim)
    (y,) = compute("log_softmax", x, geometry=axis)

    def gradient(gy, needs, y):
        if is_recording():
            # exp(y), written as softmax(y): exp(y) adds up to 1 along the axis
            total = reduce.sum(gy, axis=axis, keepdims=True)
            return (sub(gy, mul(softmax(y, axis=axis), total)),)
        return compute("log_softmax_grad", gy, y, geometry=axis)

    return record(y, (x,), saved=(y,), gradient=gradient)
