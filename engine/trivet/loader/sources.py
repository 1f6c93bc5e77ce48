"""Where samples come from: anything with ``len`` and ``[i]`` is a dataset; this one is files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol


class Dataset(Protocol):
    """``dataset[i]`` fetches one sample as it is stored; readers call it from several threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Files:
    """Sample i is the bytes of the i-th file, or (bytes, label) where labels are given.

    >>> len(Files(["a.png", "b.png"], labels=[0, 1]))
    2
    """

    def __init__(self, paths: Sequence[str | Path], labels: Sequence | None = None):
        self.paths, self.labels = [Path(path) for path in paths], labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        data = self.paths[index].read_bytes()
        return data if self.labels is None else (data, self.labels[index])
