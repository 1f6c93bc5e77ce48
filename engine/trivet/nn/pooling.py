"""Layers that take windows or whole images together. Names and arguments are PyTorch's."""

from __future__ import annotations

from .. import ops
from ..tape import Tensor
from .layers import Sizes
from .module import Module


class _MaxPool(Module):
    """Largest value under each window; see ops.max_pool2d.

    Shapes: x (N, C, *size) -> (N, C, *out_size).
    """

    axes: int

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding=0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ):
        self.kernel_size = kernel_size
        self.options = dict(stride=stride, padding=padding, dilation=dilation, ceil=ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(ops, f"max_pool{self.axes}d")(x, self.kernel_size, **self.options)


class MaxPool1d(_MaxPool):
    __doc__, axes = _MaxPool.__doc__, 1


class MaxPool2d(_MaxPool):
    __doc__, axes = _MaxPool.__doc__, 2


class MaxPool3d(_MaxPool):
    __doc__, axes = _MaxPool.__doc__, 3


class _AvgPool(Module):
    """Mean of each window; see ops.avg_pool2d.

    Shapes: x (N, C, *size) -> (N, C, *out_size).
    """

    axes: int

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding=0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size = kernel_size
        self.options = dict(
            stride=stride, padding=padding, ceil=ceil_mode, count_padding=count_include_pad
        )

    def forward(self, x: Tensor) -> Tensor:
        return getattr(ops, f"avg_pool{self.axes}d")(x, self.kernel_size, **self.options)


class AvgPool1d(_AvgPool):
    __doc__, axes = _AvgPool.__doc__, 1


class AvgPool2d(_AvgPool):
    __doc__, axes = _AvgPool.__doc__, 2


class AvgPool3d(_AvgPool):
    __doc__, axes = _AvgPool.__doc__, 3


class AdaptiveAvgPool2d(Module):
    """Mean of each of as many parts as the result has pixels; see ops.adaptive_avg_pool2d.

    Shapes: x (N, C, H, W) -> (N, C, *output_size).
    """

    def __init__(self, output_size: Sizes):
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return ops.adaptive_avg_pool2d(x, self.output_size)


class GlobalAvgPool(Module):
    """Mean of each channel of each image; see ops.global_avg_pool.

    Shapes: x (N, C, *size) -> (N, C, 1, ...).
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.global_avg_pool(x)
