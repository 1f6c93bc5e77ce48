"""Comparisons, logic on their results, and choices made by them."""

from __future__ import annotations

import numpy as np

from ..errors import DtypeError, ShapeError
from ..geometry import broadcast
from ..tape import Tensor, compute, record
from .arithmetic import Number, operands
from .op import Sample, op
from .shape import sum_to


def _compare(name: str, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """A comparison is constant wherever it is smooth, so nothing is recorded."""
    return compute(name, *operands(name, a, b))[0]


def _comparison_samples(rng):
    x = rng.integers(-2, 3, (2, 3, 4))  # small integers: ties, and exact in every dtype
    for y in (x[:, :1], x[0, 0], 1):
        yield Sample((x, y))
    yield Sample((x / 1.0, x[::-1] / 1.0))
    yield Sample((0.5, x / 1.0))
    yield Sample((x[:0] / 1.0, x[0] / 1.0))
    yield Sample((x > 0, x > 1))
    yield Sample((x, x / 1.0), error=(DtypeError, "one dtype; got float64 and int64"))
    yield Sample((x, 0.5), error=(DtypeError, "int64 would truncate 0.5"))
    yield Sample((x > 0, 2), error=(DtypeError, "bool would truncate 2"))
    yield Sample((x, x[:, :2]), error=(ShapeError, "got (2, 3, 4) and (2, 2, 4)"))


@op(_comparison_samples)
def equal(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a = b`` element by element; nan equals nothing. The operator ``==`` compares identity.

    Shapes: a and b broadcast as in NumPy -> bool.

    >>> equal(Tensor([1.0, 2.0]), 2).numpy()
    array([False,  True])
    """
    return _compare("equal", a, b)


@op(_comparison_samples)
def not_equal(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a != b`` element by element; nan differs from everything, itself too.

    Shapes: as for equal.

    >>> not_equal(Tensor([1.0, 2.0]), 2).numpy()
    array([ True, False])
    """
    return _compare("not_equal", a, b)


@op(_comparison_samples)
def less(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a < b`` element by element; false where one is nan.

    Shapes: as for equal.

    >>> (Tensor([1.0, 2.0]) < 2).numpy()
    array([ True, False])
    """
    return _compare("less", a, b)


@op(_comparison_samples)
def less_equal(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a <= b`` element by element; false where one is nan.

    Shapes: as for equal.

    >>> (Tensor([1.0, 2.0]) <= 1).numpy()
    array([ True, False])
    """
    return _compare("less_equal", a, b)


@op(_comparison_samples)
def greater(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a > b`` element by element; false where one is nan.

    Shapes: as for equal.

    >>> (Tensor([1.0, 2.0]) > 1).numpy()
    array([False,  True])
    """
    return _compare("greater", a, b)


@op(_comparison_samples)
def greater_equal(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """``a >= b`` element by element; false where one is nan.

    Shapes: as for equal.

    >>> (Tensor([1.0, 2.0]) >= 2).numpy()
    array([False,  True])
    """
    return _compare("greater_equal", a, b)


def truths(name: str, *tensors: Tensor) -> None:
    """All of them tensors of truth values."""
    for t in tensors:
        if not isinstance(t, Tensor) or t.dtype != "bool":
            got = t.dtype if isinstance(t, Tensor) else type(t).__name__
            raise DtypeError(
                f"{name}: expected a bool tensor; got {got}.", "compare first: not_equal(x, 0)."
            )


def _logic_samples(rng):
    x = rng.standard_normal((2, 3, 4)) > 0
    yield Sample((x, ~x[:, :1]))
    yield Sample((x[:0], x[0]))
    yield Sample((x, x[:, :2]), error=(ShapeError, "got (2, 3, 4) and (2, 2, 4)"))
    yield Sample((x, x / 1.0), error=(DtypeError, "expected a bool tensor; got float64"))
    yield Sample((x, True), error=(DtypeError, "expected a bool tensor; got bool"))


@op(_logic_samples)
def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """Both true, element by element.

    Shapes: bool a and b broadcast as in NumPy -> bool.

    >>> logical_and(Tensor([True, True]), Tensor([True, False])).numpy()
    array([ True, False])
    """
    truths("logical_and", a, b)
    return _compare("logical_and", a, b)


@op(_logic_samples)
def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """At least one of them true, element by element.

    Shapes: bool a and b broadcast as in NumPy -> bool.

    >>> logical_or(Tensor([True, False]), Tensor([False, False])).numpy()
    array([ True, False])
    """
    truths("logical_or", a, b)
    return _compare("logical_or", a, b)


def _not_samples(rng):
    yield Sample((rng.standard_normal((2, 3)) > 0,))
    yield Sample((np.zeros((0, 3), bool),))
    yield Sample((np.arange(3),), error=(DtypeError, "expected a bool tensor; got int64"))


@op(_not_samples)
def logical_not(x: Tensor) -> Tensor:
    """True where x is false.

    Shapes: bool x (any) -> the same.

    >>> logical_not(Tensor([True, False])).numpy()
    array([False,  True])
    """
    truths("logical_not", x)
    return compute("logical_not", x)[0]


def _where_samples(rng):
    a, b = rng.standard_normal((2, 2, 3, 4))
    yield Sample((a > b, a, b), differentiable=(1, 2))
    yield Sample((a[:, :1] > 0, a, b[0, 0]), differentiable=(1, 2))
    yield Sample((a > b, a[0, :, :1], 2.0), differentiable=(1,))
    yield Sample((a > b, -1, b[1, 0]), differentiable=(2,))
    yield Sample((a[:0] > 0, a[:1], b[0]), differentiable=(1, 2))
    yield Sample((a > b, np.arange(4), 7))
    yield Sample((a, a, b), error=(DtypeError, "expected a bool tensor; got float64"))
    yield Sample((a > b, 1.0, 0.0), error=(DtypeError, "got float and float"))
    yield Sample((a[:, :2] > 0, a, b), error=(ShapeError, "got (2, 2, 4) and (2, 3, 4)"))


@op(_where_samples)
def where(condition: Tensor, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """a where the condition holds, elsewhere b; what was not taken gets no gradient.

    Args:
        condition: Truth values.

    Shapes: condition, a and b broadcast as in NumPy.

    Raises:
        ShapeError: The shapes do not broadcast.
        DtypeError: The condition is not bool, the dtypes of a and b differ, or both are numbers.

    >>> x = Tensor([1.0, -2.0])
    >>> where(x > 0, x, 0.0).numpy()
    array([1., 0.], dtype=float32)
    """
    truths("where", condition)
    a, b = operands("where", a, b)
    broadcast("where", condition.shape, broadcast("where", a.shape, b.shape))
    (y,) = compute("where", condition, a, b)
    shapes = a.shape, b.shape

    def gradient(gy, needs, condition):
        ga = sum_to(where(condition, gy, 0.0), shapes[0]) if needs[1] else None
        gb = sum_to(where(condition, 0.0, gy), shapes[1]) if needs[2] else None
        return None, ga, gb

    return record(y, (condition, a, b), saved=(condition,), gradient=gradient)


Tensor.__lt__, Tensor.__le__, Tensor.__gt__, Tensor.__ge__ = (
    less,
    less_equal,
    greater,
    greater_equal,
)
