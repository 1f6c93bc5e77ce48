"""Geometry of an op, checked once and hashable: part of the key under which plans are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import OptionError, ShapeError

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window sliding over an image of 1, 2 or 3 axes: convolution and pooling, both ways."""

    size: Ints  # of the image, without batch and channels  [pixels]
    kernel: Ints  # cells of the window per axis
    stride: Ints  # [pixels]
    padding: tuple[tuple[int, int], ...]  # before and after, per axis  [pixels]
    dilation: Ints  # pixels from one cell of the window to the next

    @classmethod
    def of(
        cls, op: str, size, kernel, stride=1, padding=0, dilation=1, *, ceil: bool = False
    ) -> Window:
        """Checked geometry; single numbers hold for all axes.

        Args:
            padding: A number, one per axis, or one (before, after) per axis.
            ceil: Count windows that stick out at the end, as long as they start inside; they are
                given more padding there.

        Raises:
            ShapeError: The window does not fit.
            OptionError: A number of axes or a value that makes no sense.
        """
        n = len(size)
        kernel, stride = per_axis(op, "kernel", kernel, n), per_axis(op, "stride", stride, n)
        dilation = per_axis(op, "dilation", dilation, n)
        padding = _padding(op, padding, n)
        if min((*kernel, *stride, *dilation)) < 1 or min(map(min, padding), default=0) < 0:
            raise OptionError(
                f"{op}: expected kernel, stride, dilation >= 1 and padding >= 0; "
                f"got {kernel}, {stride}, {dilation} and {padding}.",
                "count all of them in pixels.",
            )
        w = cls(tuple(size), kernel, stride, padding, dilation)
        if ceil:
            w = cls(w.size, kernel, stride, w._ceiled(), dilation)
        if min(w.out_size, default=1) < 1:
            raise ShapeError(
                f"{op}: expected a window inside the padded image of {w.padded} pixels; "
                f"got one of {w.extent}.",
                "use a smaller kernel, more padding or a larger image.",
            )
        return w

    @property
    def padded(self) -> Ints:
        """The image with its padding."""
        return tuple(n + before + after for n, (before, after) in zip(self.size, self.padding))

    @property
    def extent(self) -> Ints:
        """Pixels from the window's first cell to its last."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation))

    @property
    def out_size(self) -> Ints:
        """Positions of the window: ``(padded - extent) // stride + 1``."""
        return tuple((n - e) // s + 1 for n, e, s in zip(self.padded, self.extent, self.stride))

    @property
    def cells(self) -> int:
        return math.prod(self.kernel)

    def _ceiled(self):
        padding = []
        axes = zip(self.size, self.padded, self.extent, self.stride, self.padding)
        for size, padded, extent, stride, (before, after) in axes:
            windows = -(-(padded - extent) // stride) + 1
            if (windows - 1) * stride >= size + before:  # it would start in the padding
                windows -= 1
            padding.append((before, max(after, (windows - 1) * stride + extent - size - before)))
        return tuple(padding)


@dataclass(frozen=True)
class Convolution:
    """Shapes and options of a convolution: x (N, C, *size), weight (O, C/groups, *kernel)."""

    window: Window
    groups: int = 1
    flip: bool = False  # True: the mathematical convolution, the filter turned round
    algo: str = "auto"  # "auto", "direct", "im2col", "fft", "winograd": by which arithmetic

    def flops(self, batch: int, in_channels: int, out_channels: int) -> int:
        """Floating-point operations of the direct sum; an addition and a product are two."""
        per_pixel = 2 * (in_channels // self.groups) * self.window.cells
        return batch * out_channels * math.prod(self.window.out_size) * per_pixel


def per_axis(op: str, what: str, value: int | Sequence[int], n: int) -> Ints:
    """One number per axis."""
    values = (value,) * n if isinstance(value, int) else tuple(value)
    if len(values) != n or not all(isinstance(v, int | np.integer) for v in values):
        raise OptionError(
            f"{op}: expected {what} as an integer or as {n} of them; got {value!r}.",
            f"give one per image axis: {n}.",
        )
    return tuple(int(v) for v in values)


def _padding(op, value, n) -> tuple[tuple[int, int], ...]:
    pairs = not isinstance(value, int) and any(isinstance(v, tuple | list) for v in value)
    if not pairs:
        return tuple((p, p) for p in per_axis(op, "padding", value, n))
    if len(value) != n or any(len(pair) != 2 for pair in value):
        raise OptionError(
            f"{op}: expected padding as a number, {n} numbers or {n} (before, after); "
            f"got {value!r}.",
            f"give one (before, after) per image axis: {n}.",
        )
    return tuple((int(before), int(after)) for before, after in value)


def broadcast(op: str, a: Ints, b: Ints) -> Ints:
    """NumPy's rule, with the sizes in the message."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(
            f"{op}: expected equal sizes, or 1, counted from the last axis; got {a} and {b}.",
            "reshape one of them so that its axes line up.",
        ) from None
