"""Pooling of images with 1, 2 or 3 axes: the largest or the mean value under a window.

Conventions: padding is -inf to a maximum. Of equal maxima the first in row-major order gets the
gradient, and NaN counts as larger than any number (the last NaN wins). Windows that lie wholly
in the padding are refused.
"""

from __future__ import annotations

import math

from ..errors import DtypeError, OptionError, ShapeError
from ..geometry import Adaptive, Average, Window, pooled
from ..launch import launch
from ..tape import Tensor, compute, record, records
from .checks import floats
from .op import Sample, op


def images(name: str, x: Tensor, axes: int | None = None) -> None:
    """x must be a batch of images with that many axes, or with 1 to 3."""
    floats(name, x)
    if not (x.ndim - 2 == axes if axes else 1 <= x.ndim - 2 <= 3):
        wanted = f"{axes} of them" if axes else "1 to 3 of them"
        raise ShapeError(
            f"{name}: expected images (N, C, *size), size with {wanted}; got {x.shape}.",
            "reshape: batch and channels come first.",
        )


def linear_map(forward: str, backward: str, x: Tensor, geometry) -> Tensor:
    """A kernel that is linear in x; the gradient is its transpose, and that one's is itself."""
    (y,) = compute(forward, x, geometry=geometry)

    def gradient(gy, needs):
        return (linear_map(backward, forward, gy, geometry),)

    return record(y, (x,), gradient=gradient, name=forward)


def _max(name: str, x: Tensor, geometry: Window | Adaptive) -> Tensor:
    """Kernels ``name``, ``name_grad`` and ``name_gather``; the index is the backend's own."""
    y, *index = compute(name, x, geometry=geometry, auxiliaries=records(x))

    def gradient(gy, needs, index):
        return (_moved(f"{name}_grad", f"{name}_gather", gy, index, geometry),)

    return record(y, (x,), saved=index, gradient=gradient, name=name)


def _moved(forward: str, backward: str, v: Tensor, index: Tensor, geometry) -> Tensor:
    """v from the windows to their winners or back: as linear_map, along an index."""
    there = index.buffer  # only the backend that made it can read it
    (made,) = launch(forward, v.buffer, there, geometry=geometry, partner=there)

    def gradient(gy, needs, index):
        return (_moved(backward, forward, gy, index, geometry),)

    return record(Tensor(made), (v,), saved=(index,), gradient=gradient, name=forward)


def _max_pool(axes, x, kernel, stride, padding, dilation, ceil):
    name = f"max_pool{axes}d"
    images(name, x, axes)
    window = pooled(name, x.shape[2:], kernel, stride, padding, dilation, ceil=ceil)
    return _max("max_pool", x, window)  # (N, C, *out)


def _avg_pool(axes, x, kernel, stride, padding, ceil, count_padding):
    name = f"avg_pool{axes}d"
    images(name, x, axes)
    geometry = Average.of(
        name, x.shape[2:], kernel, stride, padding, ceil=ceil, count_padding=count_padding
    )
    return linear_map("avg_pool", "avg_pool_grad", x, geometry)  # (N, C, *out)


def _adaptive(kind, axes, x, out_size):
    """Through the kernels of sliding windows where the sizes divide evenly."""
    name = f"adaptive_{kind}_pool{axes}d" if axes else f"global_{kind}_pool"
    images(name, x, axes)
    geometry = Adaptive.of(name, x.shape[2:], out_size)
    window = geometry.window()
    if kind == "max":
        return _max("max_pool" if window else "adaptive_max_pool", x, window or geometry)
    if window:
        average = Average(window, window.padding)
        return linear_map("avg_pool", "avg_pool_grad", x, average)
    return linear_map("adaptive_avg_pool", "adaptive_avg_pool_grad", x, geometry)


def _distinct(rng, *shape):
    """Numbers without ties or near ones: central differences stay on one side of the kink."""
    return rng.permutation(math.prod(shape)).reshape(shape) / math.prod(shape) - 0.5


def _max_samples(axes, size):
    def samples(rng):
        x = _distinct(rng, 2, 2, *size)
        yield Sample((x, 2), differentiable=(0,))
        yield Sample((x, 3), dict(stride=2, padding=1, ceil=True), differentiable=(0,))
        uneven = dict(stride=1, padding=((1, 0),) * axes, dilation=2)
        yield Sample((x, 2), uneven, differentiable=(0,))
        yield Sample((x[:0], 2), differentiable=(0,))
        yield Sample((x[0], 2), error=(ShapeError, f"with {axes} of them; got"))
        yield Sample((x, 9), error=(ShapeError, "a window inside the padded image"))
        yield Sample((x, 2), dict(padding=2), error=(ShapeError, "wholly in the padding"))
        yield Sample((x, 2), dict(stride=0), error=(OptionError, "stride, dilation >= 1"))
        yield Sample((x > 0, 2), error=(DtypeError, "expected a float tensor; got bool"))

    return samples


@op(_max_samples(1, (7,)))
def max_pool1d(
    x: Tensor, kernel, *, stride=None, padding=0, dilation=1, ceil: bool = False
) -> Tensor:
    """Largest value under each window of a sequence; options as for max_pool2d.

    Shapes: x (N, C, W) -> (N, C, oW).

    >>> max_pool1d(Tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2).numpy()
    array([[[3., 2.]]], dtype=float32)
    """
    return _max_pool(1, x, kernel, stride, padding, dilation, ceil)


@op(_max_samples(2, (5, 6)))
def max_pool2d(
    x: Tensor, kernel, *, stride=None, padding=0, dilation=1, ceil: bool = False
) -> Tensor:
    """Largest value under each window.

    ``y[n, c, p, q] = max_ij  x[n, c, sH p + dH i - padding, sW q + dW j - padding]``

    Padding is -inf. The first of equal maxima, row by row, gets the gradient; NaN is the largest.

    Args:
        kernel: Size of the window; like all sizes one number, or one per axis  [pixels].
        stride: Step of the window; its own size if None  [pixels].
        padding: Around the image; also one (before, after) per axis  [pixels].
        dilation: From one cell of the window to the next  [pixels].
        ceil: True: also windows that start inside but stick out at the end.

    Shapes: x (N, C, H, W) -> (N, C, oH, oW), with
        ``oH = (H + padding - dilation (kernel - 1) - 1) // stride + 1``.

    Raises:
        ShapeError: The window does not fit, or lies wholly in the padding somewhere.

    Source: PyTorch's max_pool2d.

    >>> max_pool2d(Tensor([[[[1.0, 3.0, 2.0, 0.0]]]]), (1, 2)).numpy()
    array([[[[3., 2.]]]], dtype=float32)
    """
    return _max_pool(2, x, kernel, stride, padding, dilation, ceil)


@op(_max_samples(3, (3, 4, 4)))
def max_pool3d(
    x: Tensor, kernel, *, stride=None, padding=0, dilation=1, ceil: bool = False
) -> Tensor:
    """Largest value under each window of a volume; options as for max_pool2d.

    Shapes: x (N, C, D, H, W) -> (N, C, oD, oH, oW).

    >>> max_pool3d(Tensor([[[[[1.0, 3.0, 2.0, 0.0]]]]]), (1, 1, 2)).numpy()
    array([[[[[3., 2.]]]]], dtype=float32)
    """
    return _max_pool(3, x, kernel, stride, padding, dilation, ceil)


def _avg_samples(axes, size):
    def samples(rng):
        x = rng.standard_normal((2, 2, *size))
        yield Sample((x, 2), differentiable=(0,))
        for count in (True, False):
            options = dict(stride=2, padding=1, ceil=True, count_padding=count)
            yield Sample((x, 3), options, differentiable=(0,))
        uneven = dict(stride=1, padding=((1, 0),) * axes)
        yield Sample((x, 2), uneven, differentiable=(0,))
        yield Sample((x[:0], 2), differentiable=(0,))
        yield Sample((x[0], 2), error=(ShapeError, f"with {axes} of them; got"))
        yield Sample((x, 2), dict(padding=2), error=(ShapeError, "wholly in the padding"))

    return samples


@op(_avg_samples(1, (7,)))
def avg_pool1d(
    x: Tensor, kernel, *, stride=None, padding=0, ceil: bool = False, count_padding: bool = True
) -> Tensor:
    """Mean of each window of a sequence; options as for avg_pool2d.

    Shapes: x (N, C, W) -> (N, C, oW).

    >>> avg_pool1d(Tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2).numpy()
    array([[[2., 1.]]], dtype=float32)
    """
    return _avg_pool(1, x, kernel, stride, padding, ceil, count_padding)


@op(_avg_samples(2, (5, 6)))
def avg_pool2d(
    x: Tensor, kernel, *, stride=None, padding=0, ceil: bool = False, count_padding: bool = True
) -> Tensor:
    """Mean of each window.

    ``y[n, c, p, q] = sum_ij  x[n, c, sH p + i - padding, sW q + j - padding] / cells``

    Args:
        kernel, stride, padding, ceil: As for max_pool2d.
        count_padding: True: the cells in the padding count as zeros; False: they do not count.
            What sticks out beyond the padding (``ceil``) counts in neither case.

    Shapes: x (N, C, H, W) -> (N, C, oH, oW), as for max_pool2d.

    Raises:
        ShapeError: The window does not fit, or lies wholly in the padding somewhere.

    Source: PyTorch's avg_pool2d, where count_padding is called count_include_pad.

    >>> avg_pool2d(Tensor([[[[1.0, 3.0, 2.0, 0.0]]]]), (1, 2)).numpy()
    array([[[[2., 1.]]]], dtype=float32)
    """
    return _avg_pool(2, x, kernel, stride, padding, ceil, count_padding)


@op(_avg_samples(3, (3, 4, 4)))
def avg_pool3d(
    x: Tensor, kernel, *, stride=None, padding=0, ceil: bool = False, count_padding: bool = True
) -> Tensor:
    """Mean of each window of a volume; options as for avg_pool2d.

    Shapes: x (N, C, D, H, W) -> (N, C, oD, oH, oW).

    >>> avg_pool3d(Tensor([[[[[1.0, 3.0, 2.0, 0.0]]]]]), (1, 1, 2)).numpy()
    array([[[[[2., 1.]]]]], dtype=float32)
    """
    return _avg_pool(3, x, kernel, stride, padding, ceil, count_padding)


def _adaptive_samples(axes, size):
    def samples(rng):
        x = _distinct(rng, 2, 2, *size)
        for out in (1, 2, 3, (2 * size[0], *size[1:])):
            yield Sample((x, out), differentiable=(0,))
        yield Sample((x[:0], 3), differentiable=(0,))
        yield Sample((x[0], 2), error=(ShapeError, f"with {axes} of them; got"))
        yield Sample((x, 0), error=(ShapeError, "at least one pixel per axis"))
        yield Sample((x, (1,) * 4), error=(OptionError, "expected out_size as an integer"))

    return samples


@op(_adaptive_samples(1, (5,)))
def adaptive_max_pool1d(x: Tensor, out_size) -> Tensor:
    """Largest value of each of ``out_size`` parts of a sequence, as in adaptive_avg_pool2d.

    Shapes: x (N, C, W) -> (N, C, out_size).

    >>> adaptive_max_pool1d(Tensor([[[1.0, 3.0, 2.0]]]), 2).numpy()
    array([[[3., 3.]]], dtype=float32)
    """
    return _adaptive("max", 1, x, out_size)


@op(_adaptive_samples(2, (5, 4)))
def adaptive_max_pool2d(x: Tensor, out_size) -> Tensor:
    """Largest value of each of ``out_size`` parts, as in adaptive_avg_pool2d.

    Shapes: x (N, C, H, W) -> (N, C, *out_size).

    >>> adaptive_max_pool2d(Tensor([[[[1.0, 3.0, 2.0]]]]), (1, 2)).numpy()
    array([[[[3., 3.]]]], dtype=float32)
    """
    return _adaptive("max", 2, x, out_size)


@op(_adaptive_samples(3, (2, 3, 4)))
def adaptive_max_pool3d(x: Tensor, out_size) -> Tensor:
    """Largest value of each of ``out_size`` parts of a volume, as in adaptive_avg_pool2d.

    Shapes: x (N, C, D, H, W) -> (N, C, *out_size).

    >>> adaptive_max_pool3d(Tensor([[[[[1.0, 3.0, 2.0]]]]]), (1, 1, 2)).numpy()
    array([[[[[3., 3.]]]]], dtype=float32)
    """
    return _adaptive("max", 3, x, out_size)


@op(_adaptive_samples(1, (5,)))
def adaptive_avg_pool1d(x: Tensor, out_size) -> Tensor:
    """Mean of each of ``out_size`` parts of a sequence, as in adaptive_avg_pool2d.

    Shapes: x (N, C, W) -> (N, C, out_size).

    >>> adaptive_avg_pool1d(Tensor([[[1.0, 3.0, 2.0]]]), 2).numpy()
    array([[[2. , 2.5]]], dtype=float32)
    """
    return _adaptive("avg", 1, x, out_size)


@op(_adaptive_samples(2, (5, 4)))
def adaptive_avg_pool2d(x: Tensor, out_size) -> Tensor:
    """Mean of each of ``out_size`` parts, which overlap if they do not divide the image.

    Part i of an axis with n pixels is ``x[floor(i n / out) : ceil((i + 1) n / out)]``.

    Args:
        out_size: Pixels of the result, one number or one per axis.

    Shapes: x (N, C, H, W) -> (N, C, *out_size).

    Raises:
        ShapeError: An axis without pixels.

    Source: PyTorch's adaptive_avg_pool2d.

    >>> adaptive_avg_pool2d(Tensor([[[[1.0, 3.0, 2.0]]]]), (1, 2)).numpy()
    array([[[[2. , 2.5]]]], dtype=float32)
    """
    return _adaptive("avg", 2, x, out_size)


@op(_adaptive_samples(3, (2, 3, 4)))
def adaptive_avg_pool3d(x: Tensor, out_size) -> Tensor:
    """Mean of each of ``out_size`` parts of a volume, as in adaptive_avg_pool2d.

    Shapes: x (N, C, D, H, W) -> (N, C, *out_size).

    >>> adaptive_avg_pool3d(Tensor([[[[[1.0, 3.0, 2.0]]]]]), (1, 1, 2)).numpy()
    array([[[[[2. , 2.5]]]]], dtype=float32)
    """
    return _adaptive("avg", 3, x, out_size)


def _global_samples(rng):
    for size in [(5,), (3, 4), (2, 3, 2)]:
        x = _distinct(rng, 2, 3, *size)
        yield Sample((x,), differentiable=(0,))
        yield Sample((x[:0],), differentiable=(0,))
    yield Sample((x[0, 0, 0],), error=(ShapeError, "with 1 to 3 of them; got (3, 2)"))
    yield Sample((x[:, :, :0],), error=(ShapeError, "at least one pixel per axis"))


@op(_global_samples)
def global_avg_pool(x: Tensor) -> Tensor:
    """Mean of each channel of each image.

    Shapes: x (N, C, *size) -> (N, C, 1, ...), an axis of 1 for each of size.

    Raises:
        ShapeError: No images of 1 to 3 axes, or without pixels.

    >>> global_avg_pool(Tensor([[[1.0, 3.0, 2.0]]])).numpy()
    array([[[2.]]], dtype=float32)
    """
    return _adaptive("avg", None, x, 1)


@op(_global_samples)
def global_max_pool(x: Tensor) -> Tensor:
    """Largest value of each channel of each image; ties as for max_pool2d.

    Shapes: x (N, C, *size) -> (N, C, 1, ...), an axis of 1 for each of size.

    Raises:
        ShapeError: No images of 1 to 3 axes, or without pixels.

    >>> global_max_pool(Tensor([[[1.0, 3.0, 2.0]]])).numpy()
    array([[[3.]]], dtype=float32)
    """
    return _adaptive("max", None, x, 1)
