"""Functions of one tensor, element by element."""

from __future__ import annotations

from collections.abc import Callable

from ..tape import Tensor, compute, record
from .arithmetic import mul
from .checks import floats
from .op import Sample, op


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


def _kink_samples(rng):
    x = rng.standard_normal((3, 4))
    yield Sample((x + 0.1 * (x > 0) - 0.1 * (x <= 0),), differentiable=(0,))  # clear of 0


@op(_kink_samples)
def relu(x: Tensor) -> Tensor:
    """Rectifier: ``y = max(x, 0)``; its derivative at 0 counts as 0.

    Shapes: x (any) -> the same.

    >>> relu(Tensor([-1.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
    """
    return unary("relu", x, saves="y")


def _smooth_samples(rng):
    yield Sample((rng.standard_normal((3, 4)),), differentiable=(0,))


@op(_smooth_samples)
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent.

    Shapes: x (any) -> the same.

    >>> tanh(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """
    return unary("tanh", x, saves="y", curvature=lambda y: mul(y, -2.0))


Tensor.relu, Tensor.tanh = relu, tanh
