"""The dtypes of a Tensor and their rules: nothing is promoted, nothing is truncated."""

from __future__ import annotations

import ml_dtypes  # teaches NumPy the name bfloat16
import numpy as np

from .errors import DtypeError, ShapeError

HALF = ("float16", "bfloat16")  # two bytes each; kernels sum them in float32
FLOATS = (*HALF, "float32", "float64")
INTEGERS = ("uint8", "int32", "int64")
ALL = (*FLOATS, *INTEGERS, "bool")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def from_host(data, dtype: str | None = None) -> np.ndarray:
    """``data`` as an array of a supported dtype: a float never becomes an integer.

    NumPy arrays keep their dtype; Python's floats become float32, its integers int64.
    """
    try:
        array = np.asarray(data)
    except ValueError as why:
        raise ShapeError(f"Expected rows of equal length; got {data!r:.60}.", "pad them.") from why
    if dtype is None and not hasattr(data, "dtype") and array.dtype == np.float64:
        dtype = "float32"
    name = _name(dtype or array.dtype)
    if name not in ALL:
        raise DtypeError(
            f"A Tensor holds one of {', '.join(ALL)}; got {name}.", "pass dtype='float32'."
        )
    if array.dtype.kind not in "biufV":  # bfloat16 is a V
        raise DtypeError(
            f"Expected real numbers; got {array.dtype.name} from {type(data).__name__}.",
            "convert them yourself; x.numpy() gives those of a Tensor.",
        )
    target = np.dtype(name)
    if is_float(array.dtype.name) and not is_float(target.name):
        raise DtypeError(
            f"Expected {target.name}; got {array.dtype.name}, which would be truncated.",
            f"round it yourself: data.round().astype({target.name!r}).",
        )
    if name in INTEGERS and array.dtype != target and array.size:
        _expect_range(name, array.min(), array.max())
    return array.astype(target)


def _name(dtype) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def _expect_range(name: str, low, high) -> None:
    limits = np.iinfo(name)
    if low < limits.min or high > limits.max:
        raise DtypeError(
            f"Expected {name}, [{limits.min}, {limits.max}]; got numbers in [{low}, {high}].",
            "choose a wider dtype.",
        )


def holds(dtype: str, number) -> bool:
    """Whether a Python number becomes one of this dtype without losing more than digits."""
    if is_float(dtype):
        return True
    if dtype == "bool":
        return number in (0, 1)
    limits = np.iinfo(dtype)
    return isinstance(number, int) and limits.min <= number <= limits.max


def is_float(dtype: str) -> bool:
    return dtype in FLOATS


def expect_float(dtype: str) -> None:
    if not is_float(dtype):
        raise DtypeError(
            f"Expected a float dtype where a gradient is required; got {dtype}.",
            "pass dtype='float32'.",
        )


def expect_one_float(name: str, dtypes) -> None:
    floats = sorted({d for d in dtypes if is_float(d)})
    if len(floats) > 1:
        raise DtypeError(
            f"{name}: expected one float dtype; got {' and '.join(floats)}.",
            "convert one of them with .to(dtype).",
        )
