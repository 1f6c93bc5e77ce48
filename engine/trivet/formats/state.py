"""Reads weights that others saved: safetensors, npz, and PyTorch's files without PyTorch.

A pickle can name any function and have it called. Here only the few names that a state dict
consists of are known, and none of them does anything but describe where numbers lie.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from ..dtypes import BFLOAT16
from ..errors import FormatError

STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which training scripts keep it


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays in a file by name, whatever its suffix says.

    Known are safetensors, npz, and what ``torch.save`` writes, in its zip form (since 1.6) and
    the older one. A dict around the state dict is opened; a prefix ``module.`` that all names
    share, which DataParallel adds, is taken off.

    Raises:
        FormatError: Damaged, of another format, or a pickle that names what no state dict needs.
    """
    path = Path(path)
    try:
        state = _reader(path)(path)
    except FormatError as e:
        complaint, fix = e.args
        raise FormatError(f"{path}: {complaint}", fix) from e
    except FileNotFoundError:
        raise FormatError(f"{path}: expected a file; none is there.", "check the path.") from None
    except Exception as e:  # whatever a damaged file provokes in the readers
        raise FormatError(
            f"{path}: expected a complete file of weights; got a damaged one "
            f"({type(e).__name__}: {e}).",
            "fetch it again and compare its checksum.",
        ) from e
    if state and all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): array for name, array in state.items()}
    return state


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]]:
    """By content: suffixes are used freely."""
    with open(path, "rb") as file:
        start = file.read(9)
    if start[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return _read_zip if any(n.endswith("/data.pkl") for n in names) else _read_npz
    if start[8:] == b"{":  # eight bytes of length, then JSON
        return load_file
    if start[:1] == b"\x80":  # PROTO, how pickles begin
        return _read_legacy
    raise FormatError(
        f"expected safetensors, npz or a PyTorch file; it starts with {start[:8]!r}.",
        "convert the weights to safetensors.",
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    """``<root>/data.pkl`` describes tensors, ``<root>/data/<key>`` holds the storages."""
    with zipfile.ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix(
            "data.pkl"
        )
        if f"{root}byteorder" in archive.namelist():
            _expect_little(archive.read(f"{root}byteorder") == b"little")
        with archive.open(f"{root}data.pkl") as file:
            tree = _Unpickler(file).load()
        return _state(tree, lambda key: archive.read(f"{root}data/{key}"))


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Five pickles (magic, protocol, system, tensors, keys), then count and bytes per storage."""
    with open(path, "rb") as file:
        magic, protocol, system = (_Unpickler(file).load() for _ in range(3))
        found = magic, protocol
        if found != (LEGACY_MAGIC, LEGACY_PROTOCOL):
            raise FormatError(
                f"expected the magic number and protocol of torch.save; got {found!r:.80}.",
                "save it with torch.save, or convert it to safetensors.",
            )
        _expect_little(system["little_endian"])
        unpickler = _Unpickler(file)
        tree, keys = unpickler.load(), _Unpickler(file).load()
        dtypes = {s.key: s.dtype for s in unpickler.storages}
        storages = {key: _storage(file, dtypes[key]) for key in keys}
    return _state(tree, storages.__getitem__)


def _storage(file: BinaryIO, dtype: str) -> bytes:
    count = int.from_bytes(file.read(8), "little")
    size = count * _itemsize(dtype)
    data = file.read(size)
    if len(data) < size:
        raise EOFError(f"a storage of {size} bytes ends after {len(data)}")
    return data


def _expect_little(little: bool) -> None:
    if not little:
        raise FormatError(
            "expected little-endian numbers; got big-endian ones.", "save it on another machine."
        )


class _Storage(NamedTuple):
    key: str
    dtype: str
    start: int  # in elements, where a storage was a part of another one


class _View(NamedTuple):
    """A tensor as the pickle describes it: everything in elements of the storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self, data: bytes) -> np.ndarray:
        """A copy of the numbers, once it is certain that all of them lie in the storage."""
        dtype = BFLOAT16 if self.storage.dtype == "bfloat16" else np.dtype(self.storage.dtype)
        first = self.storage.start + self.offset
        numbers = (first, *self.size, *self.stride)
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"a tensor at {numbers}")
        last = first + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if 0 in self.size:
            return np.empty(self.size, dtype)
        if (last + 1) * dtype.itemsize > len(data):
            raise EOFError(f"a tensor reaches element {last} of {len(data) // dtype.itemsize}")
        flat = np.frombuffer(data, dtype)
        steps = tuple(step * dtype.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(flat[first:], self.size, steps).copy()


def _view(storage, offset, size, stride, _requires_grad=False, _hooks=None, metadata=None) -> _View:
    """What stands in for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    if metadata:  # such as {"neg": True}: numbers that are to be negated when read
        raise FormatError(
            f"expected plain tensors; got one with {metadata!r:.80}.",
            "save tensor.resolve_neg() or tensor.clone().",
        )
    return _View(storage, offset, size, stride)


class _Unpickler(pickle.Unpickler):
    """Knows what a state dict consists of, and refuses every other name."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: list[_Storage] = []

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in STORAGES:
            return STORAGES[name]  # a string: nothing to call
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda *described: _view(*described)  # a pickle can write to what it gets
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda view, *rest: view
        raise FormatError(
            f"expected a state dict of plain tensors; its pickle asks for {module}.{name}, which "
            "was not called.",
            "load it with PyTorch if you trust its source, and save net.state_dict().",
        )

    def persistent_load(self, pid):
        kind, dtype, key, _location, _count, *view = pid
        if kind != "storage" or dtype not in STORAGES.values() or not isinstance(key, str):
            raise FormatError(
                f"expected storages of tensors; its pickle refers to {pid!r:.80}.",
                "save net.state_dict() instead of the network.",
            )
        start = view[0][1] if view and view[0] else 0
        self.storages.append(_Storage(key, dtype, start))
        return self.storages[-1]


def _itemsize(dtype: str) -> int:
    return BFLOAT16.itemsize if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _state(tree, read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """The arrays of a state dict, or of one inside a dict."""
    for key in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    if not isinstance(tree, dict) or not all(
        isinstance(k, str) and isinstance(v, _View | int | float) for k, v in tree.items()
    ):
        found = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
        raise FormatError(
            f"expected a dict of tensors by name; got {found!s:.200}.", "save net.state_dict()."
        )
    data: dict[str, bytes] = {}
    for value in tree.values():
        if isinstance(value, _View) and value.storage.key not in data:
            data[value.storage.key] = read(value.storage.key)
    return {
        name: v.array(data[v.storage.key]) if isinstance(v, _View) else np.asarray(v)
        for name, v in tree.items()
    }
