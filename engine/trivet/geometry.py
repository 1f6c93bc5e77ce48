"""Geometry of an op, checked once and hashable: part of the key under which plans are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

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

    def pixels(self, axis: int) -> np.ndarray:
        """The pixel under each cell at each position (positions, cells); padding is outside."""
        position, cell = np.arange(self.out_size[axis]), np.arange(self.kernel[axis])
        first = position * self.stride[axis] - self.padding[axis][0]
        return first[:, None] + cell * self.dilation[axis]

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
    algo: str = "auto"  # by which arithmetic, one of ALGOS
    bias: bool = False  # True: with the filters' gradient comes that of a bias

    ALGOS: ClassVar = ("auto", "direct", "im2col", "fft", "winograd")

    @classmethod
    def transposed(
        cls, op: str, size, kernel, stride=1, padding=0, output_padding=0, dilation=1, groups=1
    ) -> Convolution:
        """The convolution whose gradient with respect to its input is a transposed convolution.

        Args:
            size: Of the transposed convolution's input. ``window.out_size`` exceeds it where an
                output padding is a whole stride or more: zeros belong behind the input there.

        Raises:
            ShapeError: The padding leaves no output.
            OptionError: A number of axes or a value that makes no sense.
        """
        n = len(size)
        strides, pads = per_axis(op, "stride", stride, n), _padding(op, padding, n)
        dilations = per_axis(op, "dilation", dilation, n)
        extra = per_axis(op, "output_padding", output_padding, n)
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, strides, dilations)):
            raise OptionError(
                f"{op}: expected 0 <= output_padding < the larger of stride and dilation; "
                f"got {extra}, {strides} and {dilations}.",
                "it only picks one of the sizes that the stride maps to the same input.",
            )
        axes = zip(size, strides, pads, kernel, dilations, extra)
        out = tuple((m - 1) * s - sum(p) + (k - 1) * d + 1 + e for m, s, p, k, d, e in axes)
        if min((*size, *out)) < 1:
            raise ShapeError(
                f"{op}: expected at least one pixel in and out; got {tuple(size)} and {out}.",
                "use less padding or a larger image.",
            )
        return cls(Window.of(op, out, kernel, strides, pads, dilations), groups)

    def flops(self, batch: int, in_channels: int, out_channels: int) -> int:
        """Floating-point operations of the direct sum; an addition and a product are two.

        Each of the two gradients takes as many.
        """
        per_pixel = 2 * (in_channels // self.groups) * self.window.cells
        return batch * out_channels * math.prod(self.window.out_size) * per_pixel


def per_axis(op: str, what: str, value: int | Sequence[int], n: int) -> Ints:
    """One number per axis."""
    values = tuple(value) if np.iterable(value) else (value,) * n
    if len(values) != n or not all(isinstance(v, int | np.integer) for v in values):
        raise OptionError(
            f"{op}: expected {what} as an integer or as {n} of them; got {value!r}.",
            f"give one per image axis: {n}.",
        )
    return tuple(int(v) for v in values)


def _padding(op, value, n) -> tuple[tuple[int, int], ...]:
    if not (np.iterable(value) and any(isinstance(v, tuple | list) for v in value)):
        return tuple((p, p) for p in per_axis(op, "padding", value, n))
    if len(value) != n or not all(map(_is_pair, value)):
        raise OptionError(
            f"{op}: expected padding as a number, {n} numbers or {n} (before, after); "
            f"got {value!r}.",
            f"give one (before, after) per image axis: {n}.",
        )
    return tuple((int(before), int(after)) for before, after in value)


def _is_pair(value) -> bool:
    several = isinstance(value, tuple | list) and len(value) == 2
    return several and all(isinstance(v, int | np.integer) for v in value)


def broadcast(op: str, a: Ints, b: Ints) -> Ints:
    """NumPy's rule, with the sizes in the message."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(
            f"{op}: expected equal sizes, or 1, counted from the last axis; got {a} and {b}.",
            "reshape one of them so that its axes line up.",
        ) from None


@dataclass(frozen=True)
class Average:
    """Average pooling: what is summed, and how many cells that counts as."""

    window: Window
    counted: tuple[tuple[int, int], ...]  # padding that counts as zeros, per axis  [pixels]

    @classmethod
    def of(cls, op: str, size, kernel, stride, padding, *, ceil, count_padding) -> Average:
        """Args as for ``pooled``; what ceil adds to the padding never counts."""
        window = pooled(op, size, kernel, stride, padding, ceil=ceil)
        n = len(window.size)
        return cls(window, _padding(op, padding, n) if count_padding else ((0, 0),) * n)

    def counts(self, axis: int) -> np.ndarray:
        """Cells that count at each position; the product over the axes divides the sum."""
        pixels, (before, after) = self.window.pixels(axis), self.counted[axis]
        return within(pixels, -before, self.window.size[axis] + after).sum(1)


@dataclass(frozen=True)
class Adaptive:
    """Pooling to a given size: ``start = floor(i n / out)``, ``end = ceil((i + 1) n / out)``."""

    size: Ints  # of the image  [pixels]
    out_size: Ints

    @classmethod
    def of(cls, op: str, size, out_size) -> Adaptive:
        out_size = per_axis(op, "out_size", out_size, len(size))
        if min((*size, *out_size)) < 1:
            raise ShapeError(
                f"{op}: expected at least one pixel per axis; got {tuple(size)} to {out_size}.",
                "check the sizes of the layers before.",
            )
        return cls(tuple(size), out_size)

    def window(self) -> Window | None:
        """The sliding window that does the same: there is one if the sizes divide evenly."""
        if any(n % out for n, out in zip(self.size, self.out_size)):
            return None
        kernel = tuple(n // out for n, out in zip(self.size, self.out_size))
        return Window(self.size, kernel, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))

    def pixels(self, axis: int) -> np.ndarray:
        """The pixels under each position (positions, cells); n where it has fewer cells."""
        n, out = self.size[axis], self.out_size[axis]
        start, end = np.arange(out) * n // out, -(-np.arange(1, out + 1) * n // out)
        pixels = start[:, None] + np.arange((end - start).max())
        return np.where(pixels < end[:, None], pixels, n)


@dataclass(frozen=True)
class Resampling:
    """An image at another size; the sizes alone decide which pixels meet with which weights."""

    size: Ints  # [pixels]
    out_size: Ints
    mode: str = "nearest"  # "nearest", "linear"
    align_corners: bool = False  # True: the outer pixels' centres stay where they are

    @classmethod
    def of(cls, op: str, size, out_size, mode, align_corners) -> Resampling:
        if mode not in ("nearest", "linear"):
            raise OptionError(
                f"{op}: expected mode 'nearest' or 'linear'; got {mode!r}.",
                "linear stands for bilinear and trilinear too.",
            )
        if align_corners and mode == "nearest":
            raise OptionError(
                f"{op}: expected align_corners=False with mode 'nearest'; got True.",
                "pass mode='linear', or leave align_corners.",
            )
        sizes = Adaptive.of(op, size, out_size)
        return cls(sizes.size, sizes.out_size, mode, bool(align_corners))

    def weights(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels that meet in each output, and their weights; both (outputs, one or two)."""
        n, out = self.size[axis], self.out_size[axis]
        place = np.arange(out)[:, None]
        if self.mode == "nearest":
            return place * n // out, np.ones((out, 1))
        if self.align_corners:
            source = place * (n - 1) / max(out - 1, 1)
        else:
            source = np.maximum((2 * place + 1) * n / (2 * out) - 0.5, 0.0)
        left = np.minimum(source.astype(int), n - 1)
        share = np.minimum(source - left, 1.0)  # of the right neighbour
        pixels = np.hstack([left, np.minimum(left + 1, n - 1)])
        return pixels, np.hstack([1 - share, share])


def within(pixels: np.ndarray, start: int, end: int) -> np.ndarray:
    return (start <= pixels) & (pixels < end)


def pooled(
    op: str, size, kernel, stride=None, padding=0, dilation=1, *, ceil: bool = False
) -> Window:
    """A window for pooling: steps by its own size unless told, and always sees the image.

    Raises:
        ShapeError: It does not fit, or lies wholly in the padding somewhere.
    """
    w = Window.of(op, size, kernel, kernel if stride is None else stride, padding, dilation,
                  ceil=ceil)  # fmt: skip
    for axis, n in enumerate(w.size):
        if not within(w.pixels(axis), 0, n).any(1).all():
            raise ShapeError(
                f"{op}: expected every window to cover a pixel; got padding {w.padding[axis]} "
                f"around {n} pixels and a window of {w.extent[axis]}, some wholly in the padding.",
                "use less padding (at most half the window), or less dilation.",
            )
    return w


@dataclass(frozen=True)
class Packing:
    """Sequences of unequal lengths, step after step without padding, the longest first."""

    lengths: Ints  # of each sequence, in the caller's order  [steps]
    steps: int  # of the padded batch

    @classmethod
    def of(cls, op: str, lengths: Sequence[int], steps: int, sequences: int) -> Packing:
        """Checked geometry.

        Raises:
            OptionError: Lengths that are not integers on the host.
            ShapeError: Not one length per sequence, or one outside [1, steps].
        """
        if not isinstance(lengths, Sequence | np.ndarray) or not all(
            isinstance(n, int | np.integer) for n in lengths
        ):
            raise OptionError(
                f"{op}: expected lengths as a list of integers; got {lengths!r}.",
                "lengths decide shapes, so they live on the host: lengths.numpy().tolist().",
            )
        lengths = tuple(int(n) for n in lengths)
        if len(lengths) != sequences or not lengths:
            raise ShapeError(
                f"{op}: expected a length for each of at least one sequence; "
                f"got {len(lengths)} for {sequences}.",
                "give one per sequence, in the order of the batch; see batch_first.",
            )
        if wrong := [n for n in lengths if not 1 <= n <= steps]:
            raise ShapeError(
                f"{op}: expected lengths in [1, {steps}]; got {wrong}.",
                "drop empty sequences, and cut lengths to the steps that are there.",
            )
        return cls(lengths, steps)

    @property
    def order(self) -> Ints:
        """Which sequence lies at each place of a step: longest first, ties as they came."""
        return tuple(np.argsort([-n for n in self.lengths], kind="stable").tolist())

    @property
    def batch_sizes(self) -> Ints:
        """Rows of each step: the sequences that are that long."""
        longer = np.array(self.lengths)[:, None] > np.arange(max(self.lengths))
        return tuple(longer.sum(0).tolist())

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(step, sequence) in the padded batch of every row."""
        sizes, order = self.batch_sizes, np.array(self.order)
        sequences = np.concatenate([order[:n] for n in sizes])
        return np.repeat(np.arange(len(sizes)), sizes), sequences


@dataclass(frozen=True)
class Recurrence:
    """One recurrent layer in one direction over packed rows (equal lengths: equal batch sizes)."""

    mode: str  # a key of GATES
    batch_sizes: Ints  # rows of each step, never growing: the longest sequences come first
    reverse: bool = False  # True: each sequence is read from its own last step to its first
    bias: bool = True

    GATES: ClassVar = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_original": 3}

    @property
    def gates(self) -> int:
        """Blocks of H rows in a weight."""
        return self.GATES[self.mode]

    @property
    def states(self) -> int:
        """What a step hands to the next: h, and the cell c of an LSTM."""
        return 2 if self.mode == "lstm" else 1

    @property
    def walk(self) -> tuple[slice, ...]:
        """The rows of each step, in the order in which the steps are computed."""
        ends = np.cumsum((0, *self.batch_sizes)).tolist()
        steps = tuple(slice(a, b) for a, b in pairwise(ends))
        return steps[::-1] if self.reverse else steps

    def flops(self, inputs: int, hidden: int) -> int:
        """Floating-point operations of the matrix products; an addition and a product are two."""
        return 2 * sum(self.batch_sizes) * self.gates * hidden * (inputs + hidden)
