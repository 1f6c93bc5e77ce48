"""Layers that normalise. Names and arguments are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import ops
from ..errors import OptionError, ShapeError
from ..tape import Tensor
from .init import ones_, zeros_
from .layers import fresh
from .module import Module


def scale_and_shift(shape: tuple[int, ...], affine: bool, bias: bool, dtype: str):
    """Ones and zeros, or None where there is none."""
    weight = ones_(fresh(shape, dtype)) if affine else None
    return weight, zeros_(fresh(shape, dtype)) if affine and bias else None


class BatchNorm(Module):
    """Normalises each channel over batch and image, 1-D to 3-D alike; see ops.batch_norm.

    Buffers running_mean and running_var move by ``momentum`` towards each batch in training and
    stand in for its statistics in evaluation.

    Shapes: x (N, C, *size) -> the same.

    >>> net = BatchNorm(3)
    >>> net(Tensor(np.ones((2, 3, 4)), "float32")).shape, list(net.named_buffers())
    ((2, 3, 4), ['running_mean', 'running_var'])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ):
        self.weight, self.bias = scale_and_shift((num_features,), affine, True, dtype)
        self.running_mean = Tensor(np.zeros(num_features, dtype))
        self.running_var = Tensor(np.ones(num_features, dtype))
        self.options = dict(momentum=momentum, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return ops.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training=self.training,
            **self.options,
        )


BatchNorm1d = BatchNorm2d = BatchNorm3d = BatchNorm


class LayerNorm(Module):
    """Normalises each sample over its last axes; see ops.layer_norm.

    Shapes: x (..., *normalized_shape) -> the same.

    Raises:
        ShapeError: x ends in another shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: str = "float32",
    ):
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)
        self.weight, self.bias = scale_and_shift(
            self.normalized_shape, elementwise_affine, bias, dtype
        )
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        axes = len(self.normalized_shape)
        if x.shape[x.ndim - axes :] != self.normalized_shape:
            raise ShapeError(
                f"LayerNorm: expected x (..., *{self.normalized_shape}); got {x.shape}.",
                "build the layer for the last axes of x.",
            )
        return ops.layer_norm(x, self.weight, self.bias, axes=axes, eps=self.eps)


class GroupNorm(Module):
    """Normalises groups of channels of each sample; see ops.group_norm.

    Shapes: x (N, C, *size) -> the same.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: str = "float32",
    ):
        if num_channels % num_groups:
            raise OptionError(
                f"GroupNorm: expected groups that divide {num_channels} channels; got "
                f"{num_groups}.",
                "choose a divisor.",
            )
        self.weight, self.bias = scale_and_shift((num_channels,), affine, True, dtype)
        self.num_groups, self.eps = num_groups, eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


class LocalResponseNorm(Module):
    """Divides each pixel by a power of its neighbours' energy; see ops.local_response_norm.

    Shapes: x (N, C, *size) -> the same.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size, self.options = size, dict(alpha=alpha, beta=beta, k=k)

    def forward(self, x: Tensor) -> Tensor:
        return ops.local_response_norm(x, self.size, **self.options)
