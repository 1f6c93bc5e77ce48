"""The dtypes of a Tensor and their rules: nothing is promoted, nothing is truncated."""

from __future__ import annotations

import ml_dtypes  # teaches NumPy the name bfloat16
import numpy as np

from .errors import DtypeError

HALF = ("float16", "bfloat16")  # two bytes each; kernels sum them in float32
FLOATS = (*HALF, "float32", "float64")
INTEGERS = ("uint8", "int32", "int64")
ALL = (*FLOATS, *INTEGERS, "bool")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def from_host(data, dtype: str | None = None) -> np.ndarray:
    """``data`` as an array of a supported dtype: a float never becomes an integer.

    NumPy arrays keep their dtype; Python's floats become float32, its integers int64.
    """
    array = np.asarray(data)
    if dtype is None and not hasattr(data, "dtype") and array.dtype == np.float64:
        dtype = "float32"
    target = np.dtype(dtype or array.dtype)
    if target.name not in ALL:
        raise DtypeError(
            f"A Tensor holds one of {', '.join(ALL)}; got {target.name}.", "pass dtype='float32'."
        )
    if is_float(array.dtype.name) and not is_float(target.name):
        raise DtypeError(
            f"Expected {target.name}; got {array.dtype.name}, which would be truncated.",
            f"round it yourself: data.round().astype({target.name!r}).",
        )
    return array.astype(target)


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
