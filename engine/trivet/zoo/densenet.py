"""DenseNet: every layer of a block reads all layers before it.

Source: Huang et al., "Densely connected convolutional networks", 2017, table 1: bottlenecks of
    four times the growth, compression 0.5.
"""

from __future__ import annotations

from .. import nn, ops
from .initial import he, no_bias


class DenseLayer(nn.Module):
    """``growth`` new channels beside those that came in."""

    def __init__(self, channels: int, growth: int, dtype: str):
        narrow = 4 * growth
        self.norm1 = nn.BatchNorm2d(channels, dtype=dtype)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, narrow, 1, bias=False, dtype=dtype)
        self.norm2 = nn.BatchNorm2d(narrow, dtype=dtype)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(narrow, growth, 3, padding=1, bias=False, dtype=dtype)

    def forward(self, x):
        y = self.conv1(self.relu1(self.norm1(x)))  # (N, 4 * growth, H, W)
        y = self.conv2(self.relu2(self.norm2(y)))  # (N, growth, H, W)
        return ops.concat([x, y], axis=1)  # (N, C + growth, H, W)


class DenseNet(nn.Module):
    """Dense blocks, between them transitions to half the channels and half the size.

    Args:
        depths: Layers by block.
        growth: Channels that a layer adds.
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W), 32 at least -> (N, num_classes).
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        *,
        growth: int = 32,
        num_classes: int = 1000,
        in_channels: int = 3,
        dtype: str = "float32",
    ):
        channels = 64
        parts: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(
                in_channels, channels, 7, stride=2, padding=3, bias=False, dtype=dtype
            ),
            "norm0": nn.BatchNorm2d(channels, dtype=dtype),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        for i, depth in enumerate(depths, 1):
            parts[f"denseblock{i}"] = nn.Sequential(
                {
                    f"denselayer{j + 1}": DenseLayer(channels + growth * j, growth, dtype)
                    for j in range(depth)
                }
            )
            channels += growth * depth
            if i < len(depths):
                parts[f"transition{i}"] = _transition(channels, dtype)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels, dtype=dtype)
        parts["relu5"] = nn.ReLU()
        parts["pool5"] = nn.AdaptiveAvgPool2d(1)
        self.features = nn.Sequential(parts)
        he(self, mode="fan_in")
        self.classifier = nn.Linear(channels, num_classes, dtype=dtype)
        no_bias(self.classifier)

    def forward(self, x):
        return self.classifier(self.features(x).flatten())  # (N, num_classes)


def _transition(channels: int, dtype: str) -> nn.Sequential:
    """Half the channels, half the height and width."""
    return nn.Sequential(
        {
            "norm": nn.BatchNorm2d(channels, dtype=dtype),
            "relu": nn.ReLU(),
            "conv": nn.Conv2d(channels, channels // 2, 1, bias=False, dtype=dtype),
            "pool": nn.AvgPool2d(2),
        }
    )


def densenet121(**options) -> DenseNet:
    """7,978,856 parameters; options as DenseNet takes them."""
    return DenseNet((6, 12, 24, 16), **options)


def densenet169(**options) -> DenseNet:
    """14,149,480 parameters; options as DenseNet takes them."""
    return DenseNet((6, 12, 32, 32), **options)


def densenet201(**options) -> DenseNet:
    """20,013,928 parameters; options as DenseNet takes them."""
    return DenseNet((6, 12, 48, 32), **options)
