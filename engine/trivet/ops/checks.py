"""What ops ask of their operands, and the sentences they refuse with."""

from __future__ import annotations

import math

from ..dtypes import INTEGERS, is_float
from ..errors import DtypeError, ShapeError
from ..tape import Tensor, compute


def floats(name: str, *tensors: Tensor) -> None:
    """All of them tensors of one float dtype."""
    for t in tensors:
        if not isinstance(t, Tensor):
            raise DtypeError(
                f"{name}: expected a Tensor; got {type(t).__name__}.", "wrap it: Tensor(...)."
            )
        if not is_float(t.dtype):
            raise DtypeError(
                f"{name}: expected a float tensor; got {t.dtype}.", "convert it: x.to('float32')."
            )
    same_dtype(name, *tensors)


def same_dtype(name: str, *tensors: Tensor) -> None:
    dtypes = {t.dtype for t in tensors}
    if len(dtypes) > 1:
        raise DtypeError(
            f"{name}: expected one dtype; got {' and '.join(sorted(dtypes))}.",
            "convert one of them with .to(dtype).",
        )


def ids(name: str, t: Tensor) -> None:
    """A tensor of int32 or int64."""
    if not isinstance(t, Tensor) or t.dtype not in INTEGERS[1:]:
        got = t.dtype if isinstance(t, Tensor) else type(t).__name__
        raise DtypeError(
            f"{name}: expected ids of int32 or int64; got {got}.",
            "pass ids, not one-hot rows: Tensor(ids, 'int64').",
        )


def axis(name: str, given: int, ndim: int) -> int:
    """The axis counted from the front."""
    if not isinstance(given, int) or not -ndim <= given < ndim:
        raise ShapeError(
            f"{name}: expected an axis in [{-ndim}, {ndim}); got {given!r}.",
            "count from 0, or from -1 backwards.",
        )
    return given % ndim


def axes(name: str, given: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Distinct axes in ascending order; None stands for all."""
    if given is None:
        return tuple(range(ndim))
    found = [axis(name, a, ndim) for a in ((given,) if isinstance(given, int) else given)]
    if len(set(found)) < len(found):
        raise ShapeError(f"{name}: expected distinct axes; got {given}.", "name each axis once.")
    return tuple(sorted(found))


def full(like: Tensor, value: float, shape: tuple[int, ...] = (), dtype: str | None = None):
    """A constant made by a kernel: host data would not be repeated by a replay."""
    if value == 0 and math.copysign(1, value) < 0:  # as part of a call, -0.0 equals 0.0
        return compute("neg", full(like, 0.0, shape, dtype))[0]
    return compute("fill", like, geometry=(shape, value) + ((dtype,) if dtype else ()))[0]
