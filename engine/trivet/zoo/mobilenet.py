"""MobileNet: a convolution over each channel for itself, then 1x1 across channels.

Source: Howard et al., "MobileNets", 2017, table 1; Sandler et al., "MobileNetV2: inverted residuals
    and linear bottlenecks", 2018, table 2. The second has torchvision's names; torchvision lacks
    the first.
"""

from __future__ import annotations

from .. import nn, ops
from .initial import he, small


class ReLU6(nn.Module):
    """min(max(x, 0), 6): what fixed-point arithmetic of 8 bits resolves well."""

    def forward(self, x):
        return ops.clip(x, 0.0, 6.0)


def _conv(channels, width, kernel_size, *, stride=1, groups=1, activation, dtype) -> list:
    """Convolution that keeps the size or halves it, batch normalisation, activation."""
    return [
        nn.Conv2d(
            channels,
            width,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
            dtype=dtype,
        ),
        nn.BatchNorm2d(width, dtype=dtype),
        activation(),
    ]


class MobileNetV1(nn.Module):
    """Thirteen pairs of a 3x3 convolution by channel and a 1x1 across channels.

    Args:
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W) -> (N, num_classes).
    """

    WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, dtype: str = "float32"):
        means = dict(activation=nn.ReLU, dtype=dtype)
        channels = 32
        blocks: list[nn.Module] = [
            nn.Sequential(*_conv(in_channels, channels, 3, stride=2, **means))
        ]
        for width, stride in zip(self.WIDTHS, self.STRIDES):
            depthwise = _conv(channels, channels, 3, stride=stride, groups=channels, **means)
            blocks.append(nn.Sequential(*depthwise, *_conv(channels, width, 1, **means)))
            channels = width
        self.features = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes, dtype=dtype)
        he(self.features)
        small(self.classifier)

    def forward(self, x):
        x = self.features(x)  # (N, 1024, H/32, W/32)
        return self.classifier(self.avgpool(x).flatten())  # (N, num_classes)


class InvertedResidual(nn.Module):
    """1x1 to widen, 3x3 by channel, 1x1 to narrow without an activation."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int, dtype: str):
        means, inner = dict(activation=ReLU6, dtype=dtype), channels * expansion
        widen = [] if expansion == 1 else [nn.Sequential(*_conv(channels, inner, 1, **means))]
        self.conv = nn.Sequential(
            *widen,
            nn.Sequential(*_conv(inner, inner, 3, stride=stride, groups=inner, **means)),
            nn.Conv2d(inner, width, 1, bias=False, dtype=dtype),
            nn.BatchNorm2d(width, dtype=dtype),
        )
        self.adds = stride == 1 and channels == width

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Seventeen inverted residuals between a 3x3 and a 1x1 convolution.

    Args:
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W) -> (N, num_classes).
    """

    STAGES = (  # expansion, width, blocks, stride of the first
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, dtype: str = "float32"):
        means = dict(activation=ReLU6, dtype=dtype)
        channels = 32
        blocks: list[nn.Module] = [
            nn.Sequential(*_conv(in_channels, channels, 3, stride=2, **means))
        ]
        for expansion, width, depth, first in self.STAGES:
            for stride in (first, *(1,) * (depth - 1)):
                blocks.append(InvertedResidual(channels, width, stride, expansion, dtype))
                channels = width
        blocks.append(nn.Sequential(*_conv(channels, 1280, 1, **means)))
        self.features = nn.Sequential(*blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes, dtype=dtype))
        he(self.features)
        small(self.classifier)

    def forward(self, x):
        x = self.features(x)  # (N, 1280, H/32, W/32)
        return self.classifier(self.avgpool(x).flatten())  # (N, num_classes)


def mobilenet_v1(**options) -> MobileNetV1:
    """4,231,976 parameters; options as MobileNetV1 takes them."""
    return MobileNetV1(**options)


def mobilenet_v2(**options) -> MobileNetV2:
    """3,504,872 parameters; options as MobileNetV2 takes them."""
    return MobileNetV2(**options)
