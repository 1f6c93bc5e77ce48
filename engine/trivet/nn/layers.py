"""Layers that multiply by learnt weights. Names, arguments and initial values are PyTorch's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import ops
from ..errors import OptionError
from ..geometry import per_axis
from ..tape import Tensor
from . import init
from .module import Module, Parameter

Sizes = int | Sequence[int]


def fresh(shape: tuple[int, ...], dtype: str) -> Parameter:
    """A parameter that an initialiser is about to fill."""
    return Parameter(np.empty(shape, dtype))


def weight_and_bias(shape, out: int, bias: bool, dtype) -> tuple[Parameter, Parameter | None]:
    """Both uniform in +-1/sqrt(fan_in)."""
    weight = init.kaiming_uniform_(fresh(shape, dtype), math.sqrt(5))
    if not bias:
        return weight, None
    bound = 1 / math.sqrt(max(init.fans(weight)[0], 1))
    return weight, init.uniform_(fresh((out,), dtype), -bound, bound)


class Linear(Module):
    """Affine map of the last axis; see ops.linear.

    Shapes: x (..., I) -> (..., O); weight (O, I), bias (O,).

    >>> Linear(4, 3)(Tensor(np.zeros((2, 4)), "float32")).shape
    (2, 3)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: str = "float32"
    ):
        shape = out_features, in_features
        self.weight, self.bias = weight_and_bias(shape, out_features, bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)

    def flops(self, inputs, y) -> int:
        return 2 * y.size * self.weight.shape[1]


class Embedding(Module):
    """A row of numbers per id; see ops.embedding.

    Shapes: ids (any) -> (*ids.shape, E); weight (V, E).

    >>> Embedding(10, 4)(Tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: str = "float32"):
        self.weight = init.normal_(fresh((num_embeddings, embedding_dim), dtype))

    def forward(self, ids: Tensor) -> Tensor:
        return ops.embedding(ids, self.weight)


class _Windowed(Module):
    """What convolutions and their transposes share: options and the number of image axes."""

    axes: int
    op: str

    def _prepare(self, in_channels, out_channels, kernel_size, groups) -> tuple[int, ...]:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise OptionError(
                f"{type(self).__name__}: expected groups that divide the channels; got "
                f"{in_channels} in, {out_channels} out and {groups} groups.",
                "choose a common divisor of both.",
            )
        return per_axis(type(self).__name__, "kernel_size", kernel_size, self.axes)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(ops, f"{self.op}{self.axes}d")(x, self.weight, self.bias, **self.options)


class _Conv(_Windowed):
    """Convolution with a learnt bank of filters; see ops.conv2d.

    Args:
        padding: A number, one per axis, or one (before, after) per axis.
        flip: True for the mathematical convolution.
        algo: By which arithmetic; see ops.conv2d.

    Shapes: x (N, C, *size) -> (N, O, *out_size); weight (O, C/groups, *kernel), bias (O,).
    """

    op = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding=0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        flip: bool = False,
        algo: str = "auto",
        dtype: str = "float32",
    ):
        kernel = self._prepare(in_channels, out_channels, kernel_size, groups)
        shape = out_channels, in_channels // groups, *kernel
        self.weight, self.bias = weight_and_bias(shape, out_channels, bias, dtype)
        self.options = dict(
            stride=stride, padding=padding, dilation=dilation, groups=groups, flip=flip, algo=algo
        )

    def flops(self, inputs, y) -> int:
        return 2 * y.size * math.prod(self.weight.shape[1:])


class Conv1d(_Conv):
    __doc__, axes = _Conv.__doc__, 1


class Conv2d(_Conv):
    __doc__, axes = _Conv.__doc__, 2


class Conv3d(_Conv):
    __doc__, axes = _Conv.__doc__, 3


class _ConvTranspose(_Windowed):
    """Transposed convolution, which enlarges; see ops.conv_transpose2d.

    Shapes: x (N, C, *size) -> (N, O, *out_size); weight (C, O/groups, *kernel), bias (O,).
    """

    op = "conv_transpose"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding=0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        dtype: str = "float32",
    ):
        kernel = self._prepare(in_channels, out_channels, kernel_size, groups)
        shape = in_channels, out_channels // groups, *kernel
        self.weight, self.bias = weight_and_bias(shape, out_channels, bias, dtype)
        self.options = dict(
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )

    def flops(self, inputs, y) -> int:
        return 2 * inputs[0].size * math.prod(self.weight.shape[1:])


class ConvTranspose1d(_ConvTranspose):
    __doc__, axes = _ConvTranspose.__doc__, 1


class ConvTranspose2d(_ConvTranspose):
    __doc__, axes = _ConvTranspose.__doc__, 2


class ConvTranspose3d(_ConvTranspose):
    __doc__, axes = _ConvTranspose.__doc__, 3
