"""What a buffer holds: shape, dtype and layout, all known before there is any memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Order of the elements in memory: row-major here, a backend derives its own.

    A layout may pad. Padding lanes hold zeros at all times, so sums may run over them.
    """

    name: str = "plain"

    def physical(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


PLAIN = Layout()


@dataclass(frozen=True)
class Strided(Layout):
    """A view of somebody else's memory: one step per axis, counted in elements.

    A step of 0 repeats an element, a negative one walks backwards.
    """

    name: str = "strided"
    steps: tuple[int, ...] = ()


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps of a plain array, in elements."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: Layout = PLAIN

    @property
    def physical(self) -> tuple[int, ...]:
        return self.layout.physical(self.shape)

    @property
    def size(self) -> int:
        """Logical elements; padding lanes do not count."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a buffer that owns its memory (a view owns none)."""
        return math.prod(self.physical) * np.dtype(self.dtype).itemsize

    @property
    def steps(self) -> tuple[int, ...] | None:
        """Steps in elements, if this is a plain or a strided value; None for other layouts."""
        if isinstance(self.layout, Strided):
            return self.layout.steps
        return row_major(self.shape) if self.layout == PLAIN else None

    def at(self, layout: Layout) -> Spec:
        return replace(self, layout=layout)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape} {self.layout.name}"
