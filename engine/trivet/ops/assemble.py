"""Ops that put tensors together, or into another dtype or place."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..device import expect
from ..errors import DtypeError, ShapeError
from ..tape import Tensor, compute, record
from . import checks
from .op import Sample, op
from .shape import index, unsqueeze


def concat_samples(rng):
    a, b, c = (rng.standard_normal((2, n, 3)) for n in (4, 0, 1))
    yield Sample(([a, b, c],), dict(axis=1), differentiable=(0,))
    yield Sample(([a, a],), dict(axis=-1), differentiable=(0,))
    yield Sample(([a, b],), dict(axis=0), error=(ShapeError, "equal sizes but for axis 0"))
    yield Sample(([],), error=(ShapeError, "at least one tensor"))


@op(concat_samples)
def concat(xs: list[Tensor], *, axis: int = 0) -> Tensor:
    """Tensors one after the other along an axis. Its gradient is a view per tensor.

    Shapes: xs (..., N_i, ...) -> (..., sum of N_i, ...).

    Raises:
        ShapeError: Sizes differ along another axis.

    >>> concat([Tensor([1.0]), Tensor([2.0, 3.0])]).numpy()
    array([1., 2., 3.], dtype=float32)
    """
    if not xs:
        raise ShapeError("concat: expected at least one tensor; got none.", "pass a list.")
    checks.same_dtype("concat", *xs)
    axis = checks.axis("concat", axis, xs[0].ndim)
    rests = {(t.ndim, t.shape[:axis], t.shape[axis + 1 :]) for t in xs}
    if len(rests) > 1:
        raise ShapeError(
            f"concat: expected equal sizes but for axis {axis}; got {[t.shape for t in xs]}.",
            "choose another axis, or reshape.",
        )
    (y,) = compute("concat", *xs, geometry=axis)
    ends = np.cumsum([0, *(t.shape[axis] for t in xs)]).tolist()
    lead = (slice(None),) * axis

    def gradient(gy, needs):
        parts = zip(ends, ends[1:], needs)
        return [index(gy, (*lead, slice(a, b))) if need else None for a, b, need in parts]

    return record(y, xs, gradient=gradient)


def stack_samples(rng):
    yield Sample(
        ([rng.standard_normal((2, 3)) for _ in range(3)],), dict(axis=1), differentiable=(0,)
    )


@op(stack_samples)
def stack(xs: list[Tensor], *, axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis.

    Shapes: xs (...) each -> (..., number of xs, ...).

    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1).numpy()
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    return concat([unsqueeze(t, axis) for t in xs], axis=axis)


def pad_samples(rng):
    x = rng.standard_normal((2, 3))
    yield Sample((x, [(1, 0), (0, 2)]), differentiable=(0,))
    yield Sample((x, [(0, 0), (1, 1)]), dict(value=-2.0), differentiable=(0,))
    yield Sample((x, [(1, 1)]), error=(ShapeError, "one (before, after) per axis"))


@op(pad_samples)
def pad(x: Tensor, widths, *, value: float = 0.0) -> Tensor:
    """x with a frame of one value around it.

    Args:
        widths: One (before, after) per axis, in elements.

    Shapes: x (n, ...) -> (before + n + after, ...).

    >>> pad(Tensor([1.0]), [(1, 2)]).numpy()
    array([0., 1., 0., 0.], dtype=float32)
    """
    widths = tuple(map(tuple, widths))
    numbers = [w for pair in widths for w in pair]
    fit = len(widths) == x.ndim and all(len(pair) == 2 for pair in widths)
    if not fit or not all(isinstance(w, int | np.integer) and w >= 0 for w in numbers):
        raise ShapeError(
            f"pad: expected one (before, after) per axis, integers and none negative; got {widths} "
            f"for {x.shape}.",
            "give (0, 0) for an axis that stays.",
        )
    if not dtypes.holds(x.dtype, value):
        raise DtypeError(f"pad: {x.dtype} would truncate {value}.", "use a float tensor.")
    (y,) = compute("pad", x, geometry=(widths, value))
    inner = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))
    return record(y, (x,), gradient=lambda gy, needs: (index(gy, inner),), name="pad")


def cast_samples(rng):
    x = rng.standard_normal((2, 3))
    yield Sample((x, "float32"), narrow=False)
    yield Sample((x, "bool"))
    yield Sample((np.arange(3), "float64"), narrow=False)
    yield Sample((x, "complex64"), error=(DtypeError, "got 'complex64'"))


@op(cast_samples)
def cast(x: Tensor, dtype: str) -> Tensor:
    """x in another dtype; floats lose their fraction on the way to integers.

    Shapes: x (any) -> the same.

    >>> cast(Tensor([1.5]), "int64").numpy()
    array([1])
    """
    if dtype not in dtypes.ALL:
        raise DtypeError(f"cast: expected one of {dtypes.ALL}; got {dtype!r}.", "pick one.")
    if dtype == x.dtype:
        return x
    (y,) = compute("cast", x, geometry=dtype)
    if not (dtypes.is_float(dtype) and dtypes.is_float(x.dtype)):
        return y
    old = x.dtype
    return record(y, (x,), gradient=lambda gy, needs: (cast(gy, old),), name="cast")


def _to(x: Tensor, target: str | None = None, *, dtype=None, device=None) -> Tensor:
    """x with another dtype, x.to("float64"), or on another device, x.to(device="cpu")."""
    if device is not None and expect(device) != x.device:
        there, home = Tensor(x.numpy(), device=device), x.device
        x = record(there, (x,), gradient=lambda gy, needs: (_to(gy, device=home),), name="to")
    return cast(x, target or dtype or x.dtype)


Tensor.to = _to
