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
class ChannelsLast(Layout):
    """Images (N, C, *size) with the channels of a pixel side by side: (N, *size, C) in memory."""

    name: str = "channels_last"

    def physical(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[0], *shape[2:], shape[1]


CHANNELS_LAST = ChannelsLast()


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


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The steps of (N, C, *size) in channels-last order, in elements."""
    n, *size, c = row_major(CHANNELS_LAST.physical(shape))
    return n, c, *size


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
        """Steps in elements of a plain, channels-last or strided value; None for other layouts."""
        if isinstance(self.layout, Strided):
            return self.layout.steps
        if self.layout == CHANNELS_LAST:
            return channels_last(self.shape)
        return row_major(self.shape) if self.layout == PLAIN else None

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Rows of channels in memory, and the step from one to the next, in elements.

        A row holds axis 1: the channels of a pixel of (N, C, *size), the features of (N, C). What
        lies channels last has such rows, and so has a slice of its channels, whose rows are
        further apart than they are long. None: the channels of a pixel lie apart.
        """
        if self.steps is None or len(self.shape) < 2 or (self.steps[1] != 1 < self.shape[1]):
            return None
        others = [a for a in range(len(self.shape)) if a != 1 and self.shape[a] > 1]
        step = expected = self.steps[others[-1]] if others else self.shape[1]
        for axis in reversed(others):
            if self.steps[axis] != expected:
                return None
            expected *= self.shape[axis]
        return (self.size // max(self.shape[1], 1), step) if step >= self.shape[1] else None

    def at(self, layout: Layout) -> Spec:
        return replace(self, layout=layout)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape} {self.layout.name}"
