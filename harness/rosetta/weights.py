"""Pretrained weights, where the person has them: read without running anything they contain.

Nothing is downloaded. ``weights/<pattern>`` under ROSETTA_DATA is looked for, with the patterns of
the workload's ``[weights]`` table; the tensors keep the names that state dicts give them.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .errors import DataError
from .spec.workload import Tensor, Workload

DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
}


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights."""

    path: Path
    sha256: str

    @property
    def label(self) -> str:
        """What a table says of them."""
        return f"{self.path.name} ({self.sha256[:8]})"


def find(workload: Workload) -> Weights | None:
    """The pretrained weights of a workload under ROSETTA_DATA, or None."""
    root = os.environ.get("ROSETTA_DATA")
    patterns = workload.weights if root else ()
    found = [path for p in patterns for path in sorted(Path(root, "weights").rglob(p))]
    if not found:
        return None
    return Weights(found[0], hashlib.sha256(found[0].read_bytes()).hexdigest())


def take(weights: Weights, tensors: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """The tensors of a network by name, float32; what the file has besides is left out.

    Raises:
        DataError: A tensor is missing or has another shape.
    """
    read = load_file if weights.path.suffix == ".safetensors" else read_pth
    state, taken = read(weights.path), {}
    for tensor in tensors:
        shape = state[tensor.name].shape if tensor.name in state else "nothing of that name"
        if shape != tensor.shape:
            raise DataError(
                f"{weights.path.name}: {tensor.name} should be {tensor.shape}, found {shape}",
                "weights of this very network, or take the file out of ROSETTA_DATA/weights",
            )
        taken[tensor.name] = np.ascontiguousarray(state[tensor.name], np.float32)
    return taken


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """A state dict saved by torch.save since 1.6 (a zip with one pickle), read without torch.

    The pickle may rebuild tensors and ordered dicts, nothing else.

    Raises:
        DataError: Another format, or a pickle that asks for anything else.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path.name} is not a zip: torch.save wrote it before 1.6, or it was cut off",
            "load it in PyTorch and save it again, or use safetensors",
        )
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(root) as file:
            state = _Unpickler(file, archive, root[: -len("data.pkl")]).load()
    return state.get("state_dict", state)


class _Unpickler(pickle.Unpickler):
    """Knows the five names that a state dict consists of; refuses every other."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        raise DataError(f"the weights ask for {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: tuple) -> np.ndarray:
        _, dtype, key, _, _ = pid
        return np.frombuffer(self._archive.read(f"{self._root}data/{key}"), dtype)


def _rebuild(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
    bytes_each = storage.itemsize
    steps = tuple(s * bytes_each for s in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
