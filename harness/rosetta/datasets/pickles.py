"""Unpickling restricted to arrays, for CIFAR's batches and Keras' ``imdb.npz``.

A pickle is a program; these two were written before anyone minded. Nothing a stranger's file names
is ever imported: the three globals that an array needs are replaced by functions of our own, which
take no other argument than an array's.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DataError


def _array_kind(*_: object) -> None:
    raise pickle.UnpicklingError("numpy.ndarray may be named, not called")


def _reconstruct(kind: object, shape: tuple, typecode: object) -> np.ndarray:
    if kind is not _array_kind or shape != (0,):
        raise pickle.UnpicklingError(f"expected an empty array to fill, got {kind} {shape}")
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _dtype_among(allowed: frozenset[str]) -> Callable[..., np.dtype]:
    def dtype(name: object, align: object = False, copy: object = False) -> np.dtype:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if text not in allowed:
            raise pickle.UnpicklingError(f"dtype {text!r} is not one of {sorted(allowed)}")
        return np.dtype(text, copy=True)  # a copy: BUILD sets the state of what we return

    return dtype


class _Restricted(pickle.Unpickler):
    def __init__(self, content: bytes, dtypes: frozenset[str]) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): _array_kind,
            ("numpy", "dtype"): _dtype_among(dtypes),
        }

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data") from None


def loads(content: bytes, what: object, dtypes: frozenset[str] = frozenset({"u1"})) -> object:
    """The object in a pickle of containers, numbers, strings and arrays.

    Args:
        content: the pickle; strings of Python 2 come out as bytes.
        what: the file, for the text of a refusal.
        dtypes: the dtypes its arrays may have.

    Raises:
        DataError: cut off, damaged, or it names anything but an array.
    """
    try:
        return _Restricted(content, dtypes).load()
    except Exception as error:  # a damaged pickle raises whatever its damaged opcodes do
        raise DataError(
            f"{what}: not a pickle of plain arrays: {error or type(error).__name__}",
            "do not use this file; take the publisher's",
        ) from None


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Named arrays of an ``.npz``, object arrays of lists among them.

    Raises:
        DataError: cut off, damaged, a name is missing, or a pickle that holds more than lists.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                found[name] = _array(archive.read(f"{name}.npy"), f"{path}: {name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise DataError(
            f"{path}: expected an .npz with {', '.join(names)}, got: {error}",
            "delete it and fetch it again from its publisher",
        ) from None
    return found


def _array(content: bytes, what: str) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    _, _, dtype = read[version](file)
    if not dtype.hasobject:
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    array = loads(content[file.tell() :], what, frozenset({"O", "O8"}))
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} holds a {type(array).__name__}")
    return array
