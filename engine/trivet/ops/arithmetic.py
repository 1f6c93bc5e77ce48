"""Arithmetic with broadcasting, and the operators of Tensor."""

from __future__ import annotations

import numpy as np

from ..dtypes import holds
from ..errors import DtypeError, ShapeError
from ..geometry import broadcast
from ..tape import Tensor, compute, record
from .checks import floats, full, same_dtype
from .op import Sample, op
from .shape import sum_to

Number = int | float


def operands(name: str, a: Tensor | Number, b: Tensor | Number) -> tuple[Tensor, Tensor]:
    """Both as tensors that can meet; a Python number takes the other's dtype if that keeps it."""
    if isinstance(b, Tensor) and not isinstance(a, Tensor):
        b, a = operands(name, b, a)
        return a, b
    if not isinstance(a, Tensor) or not isinstance(b, Tensor | Number):
        raise DtypeError(
            f"{name}: expected a Tensor, and another or a Python number; "
            f"got {type(a).__name__} and {type(b).__name__}.",
            "wrap what is neither: Tensor(...).",
        )
    if isinstance(b, Number):
        if not holds(a.dtype, b):
            raise DtypeError(f"{name}: {a.dtype} would truncate {b}.", "use a float tensor.")
        return a, full(a, b)
    same_dtype(name, a, b)
    broadcast(name, a.shape, b.shape)
    return a, b


def numbers(name: str, *tensors: Tensor) -> None:
    """None of them truth values, whose sums NumPy would take as `or`."""
    if any(t.dtype == "bool" for t in tensors):
        raise DtypeError(
            f"{name}: expected numbers; got bool.", "convert them: x.to('int64'), x.to('float32')."
        )


def _binary_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for shape in [(2, 3, 4), (3, 1), ()]:
        y = np.asarray(rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape))
        yield Sample((x, y), differentiable=(0, 1))
    yield Sample((rng.standard_normal((3, 1)), x), differentiable=(0, 1))
    yield Sample((x, 2), differentiable=(0,))
    yield Sample((2.0, x + 3 * (x >= 0) - 3 * (x < 0)), differentiable=(1,))
    yield Sample((rng.standard_normal((0, 3)), x[0, :, :1].T), differentiable=(0, 1))
    yield Sample((x, x[:, :2]), error=(ShapeError, "got (2, 3, 4) and (2, 2, 4)"))
    yield Sample((x, x.astype("float32")), error=(DtypeError, "got float32 and float64"))
    yield Sample((x, "2"), error=(DtypeError, "or a Python number; got Tensor and str"))
    yield Sample((1, 2.0), error=(DtypeError, "or a Python number; got int and float"))


def _integer_samples(rng):
    ids = rng.integers(1, 5, (3, 4))
    yield from _binary_samples(rng)
    yield Sample((ids, 3))
    yield Sample((ids, ids / 1.0), error=(DtypeError, "one dtype; got float64 and int64"))
    yield Sample((ids, 0.5), error=(DtypeError, "int64 would truncate 0.5"))
    yield Sample((ids > 2, ids > 3), error=(DtypeError, "expected numbers; got bool"))


@op(_integer_samples)
def add(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Sum of two tensors, or of a tensor and a Python number: ``y = a + b``.

    Shapes: a and b broadcast as in NumPy.

    Raises:
        ShapeError: The shapes do not broadcast.
        DtypeError: The dtypes differ, or an integer tensor meets a float number.

    >>> (Tensor([1.0, 2.0]) + 1).numpy()
    array([2., 3.], dtype=float32)
    """
    a, b = operands("add", a, b)
    numbers("add", a)
    (y,) = compute("add", a, b)
    shapes = a.shape, b.shape

    def gradient(gy, needs):
        return [sum_to(gy, shape) if need else None for shape, need in zip(shapes, needs)]

    return record(y, (a, b), gradient=gradient)


@op(_integer_samples)
def sub(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Difference: ``y = a - b``.

    Shapes, Raises: as for add.

    >>> (1 - Tensor([1.0, 2.0])).numpy()
    array([ 0., -1.], dtype=float32)
    """
    a, b = operands("sub", a, b)
    numbers("sub", a)
    (y,) = compute("sub", a, b)
    shapes = a.shape, b.shape

    def gradient(gy, needs):
        ga = sum_to(gy, shapes[0]) if needs[0] else None
        gb = sum_to(neg(gy), shapes[1]) if needs[1] else None
        return ga, gb

    return record(y, (a, b), gradient=gradient)


@op(_integer_samples)
def mul(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Product: ``y = a * b``.

    Shapes, Raises: as for add.

    >>> (2 * Tensor([1.0, 2.0])).numpy()
    array([2., 4.], dtype=float32)
    """
    a, b = operands("mul", a, b)
    numbers("mul", a)
    (y,) = compute("mul", a, b)
    shapes = a.shape, b.shape

    def gradient(gy, needs, a, b):
        ga = sum_to(mul(gy, b), shapes[0]) if needs[0] else None
        gb = sum_to(mul(gy, a), shapes[1]) if needs[1] else None
        return ga, gb

    saved = a if b.requires_grad else None, b if a.requires_grad else None
    return record(y, (a, b), saved=saved, gradient=gradient)


@op(_binary_samples)
def div(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Quotient of floats: ``y = a / b``; 0/0 is nan, 1/0 is inf.

    Shapes, Raises: as for add.

    >>> (Tensor([1.0, 2.0]) / 2).numpy()
    array([0.5, 1. ], dtype=float32)
    """
    a, b = operands("div", a, b)
    floats("div", a, b)
    (y,) = compute("div", a, b)
    shapes = a.shape, b.shape

    def gradient(gy, needs, a, b):
        per_b = div(gy, b)
        ga = sum_to(per_b, shapes[0]) if needs[0] else None
        # not gy a / b**2: the square of 300 is more than float16 holds
        gb = sum_to(neg(mul(per_b, div(a, b))), shapes[1]) if needs[1] else None
        return ga, gb

    return record(y, (a, b), saved=(a if b.requires_grad else None, b), gradient=gradient)


def _neg_samples(rng):
    yield Sample((rng.standard_normal((2, 3)),), differentiable=(0,))
    yield Sample((rng.standard_normal((0, 3)),), differentiable=(0,))
    yield Sample((np.arange(3),))
    yield Sample((np.arange(3) > 1,), error=(DtypeError, "expected numbers; got bool"))


@op(_neg_samples)
def neg(x: Tensor) -> Tensor:
    """The number of opposite sign: ``y = -x``.

    Shapes: x (any) -> the same.

    >>> (-Tensor([1.0, -2.0])).numpy()
    array([-1.,  2.], dtype=float32)
    """
    numbers("neg", x)
    (y,) = compute("neg", x)
    return record(y, (x,), gradient=lambda gy, needs: (neg(gy),), name="neg")


def _extreme(name: str, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    a, b = operands(name, a, b)
    numbers(name, a)
    (y,) = compute(name, a, b)

    def gradient(gy, needs, a, b):
        (share,) = compute(f"{name}_share", a, b)  # 1 where a was taken, 1/2 at a tie, else 0
        to_a = mul(gy, share)
        ga = sum_to(to_a, a.shape) if needs[0] else None
        gb = sum_to(sub(gy, to_a), b.shape) if needs[1] else None
        return ga, gb

    return record(y, (a, b), saved=(a, b), gradient=gradient, name=name)


@op(_integer_samples)
def maximum(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """The larger of two, element by element; nan counts as the largest.

    At a tie each of them gets half of the gradient.

    Shapes, Raises: as for add.

    Source: the tie rule of PyTorch and JAX.

    >>> maximum(Tensor([1.0, 3.0]), 2.0).numpy()
    array([2., 3.], dtype=float32)
    """
    return _extreme("maximum", a, b)


@op(_integer_samples)
def minimum(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """The smaller of two, element by element; nan counts as the smallest.

    At a tie each of them gets half of the gradient.

    Shapes, Raises: as for add.

    Source: the tie rule of PyTorch and JAX.

    >>> minimum(Tensor([1.0, 3.0]), 2.0).numpy()
    array([1., 2.], dtype=float32)
    """
    return _extreme("minimum", a, b)


Tensor.__add__, Tensor.__radd__ = add, lambda a, b: add(b, a)
Tensor.__sub__, Tensor.__rsub__ = sub, lambda a, b: sub(b, a)
Tensor.__mul__, Tensor.__rmul__ = mul, lambda a, b: mul(b, a)
Tensor.__truediv__, Tensor.__rtruediv__ = div, lambda a, b: div(b, a)
Tensor.__neg__ = neg
Tensor.maximum, Tensor.minimum = maximum, minimum
