"""VGG: 3x3 convolutions all the way, halved in size five times.

Source: Simonyan and Zisserman, "Very deep convolutional networks", 2015, table 1, columns A, B, D
    and E; the variants with batch normalisation are torchvision's.
"""

from __future__ import annotations

from .. import nn
from .initial import he, small

CHANNELS = 64, 128, 256, 512, 512  # by stage


class VGG(nn.Module):
    """Stages of convolutions, a pool behind each, then three dense layers.

    Args:
        depths: Convolutions by stage, five numbers.
        batch_norm: Behind every convolution.
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W), 32 at least -> (N, num_classes).
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        *,
        batch_norm: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        dtype: str = "float32",
    ):
        self.features = _features(depths, batch_norm, in_channels, dtype)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(CHANNELS[-1] * 7 * 7, 4096, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes, dtype=dtype),
        )
        he(self.features)
        small(self.classifier)

    def forward(self, x):
        x = self.features(x)  # (N, 512, H/32, W/32)
        x = self.avgpool(x).flatten()  # (N, 25088)
        return self.classifier(x)  # (N, num_classes)


def _features(depths, batch_norm, channels, dtype) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, convolutions in zip(CHANNELS, depths, strict=True):
        for _ in range(convolutions):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, dtype=dtype))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width, dtype=dtype))
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg11(**options) -> VGG:
    """132,863,336 parameters; options as VGG takes them."""
    return VGG((1, 1, 2, 2, 2), **options)


def vgg11_bn(**options) -> VGG:
    """132,868,840 parameters; options as VGG takes them."""
    return VGG((1, 1, 2, 2, 2), batch_norm=True, **options)


def vgg13(**options) -> VGG:
    """133,047,848 parameters; options as VGG takes them."""
    return VGG((2, 2, 2, 2, 2), **options)


def vgg13_bn(**options) -> VGG:
    """133,053,736 parameters; options as VGG takes them."""
    return VGG((2, 2, 2, 2, 2), batch_norm=True, **options)


def vgg16(**options) -> VGG:
    """138,357,544 parameters; options as VGG takes them."""
    return VGG((2, 2, 3, 3, 3), **options)


def vgg16_bn(**options) -> VGG:
    """138,365,992 parameters; options as VGG takes them."""
    return VGG((2, 2, 3, 3, 3), batch_norm=True, **options)


def vgg19(**options) -> VGG:
    """143,667,240 parameters; options as VGG takes them."""
    return VGG((2, 2, 4, 4, 4), **options)


def vgg19_bn(**options) -> VGG:
    """143,678,248 parameters; options as VGG takes them."""
    return VGG((2, 2, 4, 4, 4), batch_norm=True, **options)
