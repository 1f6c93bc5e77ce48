"""Functions of one tensor, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import DtypeError, OptionError, ShapeError
from ..tape import Tensor, compute, record
from .arithmetic import Number, div, mul, neg, operands, sub
from .checks import floats, full
from .comparison import equal, greater_equal, logical_and, where
from .op import Sample, op
from .shape import sum_to


def unary(
    name: str,
    x: Tensor,
    *,
    saves: str,
    curvature: Callable[[Tensor], Tensor] | None = None,
    options: tuple = (),
) -> Tensor:
    """``y = f(x)``: kernels ``name`` (geometry = options) and ``name_grad`` (gy, saved).

    Args:
        saves: "x" or "y": which of them the slope is a function of.
        curvature: The slope's derivative by what is saved, in recorded ops; None: it is flat.
    """
    floats(name, x)
    (y,) = compute(name, x, geometry=options)
    kept = x if saves == "x" else y

    def gradient(gy, needs, v):
        return (_unary_grad(name, gy, v, curvature, options),)

    return record(y, (x,), saved=(kept,), gradient=gradient, name=name)


def _unary_grad(name, gy, v, curvature, options):
    (gx,) = compute(f"{name}_grad", gy, v, geometry=options)

    def gradient(vv, needs, gy, v):
        ggy = _unary_grad(name, vv, v, curvature, options) if needs[0] else None
        gv = mul(mul(vv, gy), curvature(v)) if needs[1] and curvature else None
        return ggy, gv

    return record(gx, (gy, v), saved=(gy, v), gradient=gradient, name=f"{name}_grad")


def smooth_samples(rng):
    yield Sample((rng.standard_normal((3, 4)),), differentiable=(0,))
    yield Sample((rng.standard_normal((0, 2)),), differentiable=(0,))
    yield Sample((np.array(0.3),), differentiable=(0,))
    yield Sample((np.arange(3),), error=(DtypeError, "expected a float tensor; got int64"))


def _positive_samples(rng):
    yield Sample((rng.uniform(0.5, 2, (3, 4)),), differentiable=(0,))
    yield Sample((rng.uniform(0.5, 2, (0, 2)),), differentiable=(0,))


def kink_samples(rng):
    x = rng.standard_normal((3, 4))
    yield Sample((x + 0.1 * (x > 0) - 0.1 * (x <= 0),), differentiable=(0,))  # clear of 0
    yield Sample((x[:0],), differentiable=(0,))


def _step_samples(rng):
    x = rng.integers(-3, 3, (3, 4)) + rng.uniform(0.1, 0.4, (3, 4))  # clear of halves and integers
    yield Sample((x,), differentiable=(0,))
    yield Sample((x + 0.5,), differentiable=(0,))
    yield Sample((x[:0],), differentiable=(0,))


@op(smooth_samples)
def exp(x: Tensor) -> Tensor:
    """Exponential: ``y = e ** x``.

    Shapes: x (any) -> the same.

    >>> exp(Tensor([0.0])).numpy()
    array([1.], dtype=float32)
    """
    return unary("exp", x, saves="y", curvature=lambda y: full(y, 1.0))


@op(_positive_samples)
def log(x: Tensor) -> Tensor:
    """Natural logarithm; of 0 it is -inf, of what is below it nan.

    Shapes: x (any) -> the same.

    >>> log(Tensor([1.0])).numpy()
    array([0.], dtype=float32)
    """
    return unary("log", x, saves="x", curvature=lambda x: div(-1.0, mul(x, x)))


@op(_positive_samples)
def sqrt(x: Tensor) -> Tensor:
    """Square root; of what is below 0 it is nan. Its derivative at 0 is inf.

    Shapes: x (any) -> the same.

    >>> sqrt(Tensor([4.0])).numpy()
    array([2.], dtype=float32)
    """
    return unary("sqrt", x, saves="y", curvature=lambda y: div(-0.5, mul(y, y)))


@op(_positive_samples)
def reciprocal(x: Tensor) -> Tensor:
    """``y = 1 / x``; of 0 it is inf.

    Shapes: x (any) -> the same.

    >>> reciprocal(Tensor([4.0])).numpy()
    array([0.25], dtype=float32)
    """
    return unary("reciprocal", x, saves="y", curvature=lambda y: mul(y, -2.0))


@op(smooth_samples)
def sin(x: Tensor) -> Tensor:
    """Sine of an angle in radians.

    Shapes: x (any) -> the same.

    >>> sin(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """
    return unary("sin", x, saves="x", curvature=lambda x: neg(sin(x)))


@op(smooth_samples)
def cos(x: Tensor) -> Tensor:
    """Cosine of an angle in radians.

    Shapes: x (any) -> the same.

    >>> cos(Tensor([0.0])).numpy()
    array([1.], dtype=float32)
    """
    return unary("cos", x, saves="x", curvature=lambda x: neg(cos(x)))


@op(smooth_samples)
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent.

    Shapes: x (any) -> the same.

    >>> tanh(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """
    return unary("tanh", x, saves="y", curvature=lambda y: mul(y, -2.0))


@op(smooth_samples)
def erf(x: Tensor) -> Tensor:
    """Error function: ``y = 2/sqrt(pi) * integral of exp(-t**2) from 0 to x``.

    Shapes: x (any) -> the same.

    >>> erf(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """

    def curvature(x):
        return mul(mul(x, -4 / math.pi**0.5), exp(neg(mul(x, x))))

    return unary("erf", x, saves="x", curvature=curvature)


@op(kink_samples)
def abs(x: Tensor) -> Tensor:
    """Absolute value; its derivative at 0 counts as 0.

    Shapes: x (any) -> the same.

    >>> abs(Tensor([-1.0, 2.0])).numpy()
    array([1., 2.], dtype=float32)
    """
    return unary("abs", x, saves="x")


@op(_step_samples)
def floor(x: Tensor) -> Tensor:
    """The nearest integer not above x, still a float; its derivative counts as 0.

    Shapes: x (any) -> the same.

    >>> floor(Tensor([-1.5, 1.5])).numpy()
    array([-2.,  1.], dtype=float32)
    """
    return unary("floor", x, saves="y")


@op(_step_samples)
def ceil(x: Tensor) -> Tensor:
    """The nearest integer not below x, still a float; its derivative counts as 0.

    Shapes: x (any) -> the same.

    >>> ceil(Tensor([-1.5, 1.5])).numpy()
    array([-1.,  2.], dtype=float32)
    """
    return unary("ceil", x, saves="y")


@op(_step_samples)
def round(x: Tensor) -> Tensor:
    """The nearest integer, halves to the even one, still a float; its derivative counts as 0.

    Shapes: x (any) -> the same.

    >>> round(Tensor([0.5, 1.5, 2.4])).numpy()
    array([0., 2., 2.], dtype=float32)
    """
    return unary("round", x, saves="y")


@op(_step_samples)
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1 (of nan: nan); its derivative counts as 0.

    Shapes: x (any) -> the same.

    >>> sign(Tensor([-2.0, 0.0, 3.0])).numpy()
    array([-1.,  0.,  1.], dtype=float32)
    """
    return unary("sign", x, saves="y")


def _clip_samples(rng):
    x = rng.integers(-3, 3, (3, 4)) + rng.uniform(0.1, 0.4, (3, 4))
    for bounds in [(-1.0, 2), (None, 0.0), (0, None), (1.0, 1.0)]:
        yield Sample((x, *bounds), differentiable=(0,))
    yield Sample((x[:0], -1.0, 1.0), differentiable=(0,))
    yield Sample((x, 2.0, 1.0), error=(OptionError, "low <= high; got 2.0 and 1.0"))
    yield Sample((x,), error=(OptionError, "a bound; got none"))


@op(_clip_samples)
def clip(x: Tensor, low: Number | None = None, high: Number | None = None) -> Tensor:
    """x where it lies in [low, high], else the nearer bound; nan stays.

    The derivative is 1 inside and on the bounds, 0 outside.

    Args:
        low: None: no bound below.
        high: None: no bound above.

    Shapes: x (any) -> the same.

    Raises:
        OptionError: No bound at all, or low above high.

    >>> clip(Tensor([-2.0, 0.5, 3.0]), 0.0, 1.0).numpy()
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if low is None and high is None:
        raise OptionError("clip: expected at least a bound; got none.", "pass low=, high= or both.")
    if low is not None and high is not None and not low <= high:
        raise OptionError(f"clip: expected low <= high; got {low} and {high}.", "swap them.")
    return unary("clip", x, saves="x", options=(low, high))


def _pow_samples(rng):
    x, base = rng.standard_normal((3, 4)), rng.uniform(0.5, 2, (3, 4))
    for exponent in (0, 1, 2, 3):
        yield Sample((x, exponent), differentiable=(0,))
    yield Sample((base, -1.5), differentiable=(0,))
    yield Sample((base, x), differentiable=(0, 1))
    yield Sample((base[:, :1], x[0]), differentiable=(0, 1))
    yield Sample((2.0, x), differentiable=(1,))
    yield Sample((base[:0], x[:1]), differentiable=(0, 1))
    yield Sample((np.arange(3), 2), error=(DtypeError, "pow: expected a float tensor; got int64"))
    yield Sample((x, x[:, :2]), error=(ShapeError, "got (3, 4) and (3, 2)"))


@op(_pow_samples)
def pow(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Power of floats: ``y = a ** b``; nan where a < 0 and b is no integer. 0 ** 0 is 1.

    At a = 0 the derivative by a counts as 0 if b = 0, and the one by b as 0 if b >= 0.

    Shapes: a and b broadcast as in NumPy.

    Raises:
        ShapeError: The shapes do not broadcast.
        DtypeError: Not floats of one dtype.

    >>> (Tensor([1.0, 2.0]) ** 3).numpy()
    array([1., 8.], dtype=float32)
    """
    if isinstance(a, Tensor) and isinstance(b, Number):
        floats("pow", a)
        return _power(a, float(b))
    a, b = operands("pow", a, b)
    floats("pow", a, b)
    (y,) = compute("pow", a, b)

    def gradient(gy, needs, a, b, y):
        ga = sum_to(mul(gy, _slope_by_base(a, b)), a.shape) if needs[0] else None
        gb = sum_to(mul(gy, _slope_by_exponent(a, b, y)), b.shape) if needs[1] else None
        return ga, gb

    return record(y, (a, b), saved=(a, b, y), gradient=gradient)


def _slope_by_base(a, b):
    """b a^(b-1), its exponent replaced where 0 would meet inf."""
    flat = logical_and(equal(a, 0.0), equal(b, 0.0))
    return mul(b, pow(a, sub(where(flat, 1.0, b), 1.0)))


def _slope_by_exponent(a, b, y):
    """y log(a), the base replaced where 0 would meet -inf."""
    flat = logical_and(equal(a, 0.0), greater_equal(b, 0.0))
    return mul(y, log(where(flat, 1.0, a)))


def _power(x: Tensor, p: float) -> Tensor:
    """x to the power of a number: one kernel each way."""

    def curvature(x):
        return mul(_power(x, p - 2), p * (p - 1))

    bends = p not in (0, 1)
    return unary("power", x, saves="x", curvature=curvature if bends else None, options=(p,))


for function in (exp, log, sqrt, reciprocal, sin, cos, tanh, erf, abs, floor, ceil, round, sign):
    setattr(Tensor, function.__name__, function)
Tensor.clip, Tensor.pow, Tensor.__abs__ = clip, pow, abs
Tensor.__pow__, Tensor.__rpow__ = pow, lambda a, b: pow(b, a)
