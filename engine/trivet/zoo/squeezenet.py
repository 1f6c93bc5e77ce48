"""SqueezeNet: few channels on the way in, convolutions all the way to the classes.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016; 1.1
    is the authors' later version, which pools sooner.
"""

from __future__ import annotations

from .. import nn, ops
from .initial import he, small


class Fire(nn.Module):
    """1x1 to squeeze; 1x1 and 3x3 side by side to expand."""

    def __init__(self, channels: int, squeeze: int, expand: int, dtype: str):
        self.squeeze = nn.Conv2d(channels, squeeze, 1, dtype=dtype)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, dtype=dtype)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, dtype=dtype)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x):
        x = self.squeeze_activation(self.squeeze(x))
        one = self.expand1x1_activation(self.expand1x1(x))
        three = self.expand3x3_activation(self.expand3x3(x))
        return ops.concat([one, three], axis=1)  # (N, 2 * expand, H, W)


class SqueezeNet(nn.Module):
    """A convolution, eight Fires with pools between, a 1x1 convolution to the classes.

    Args:
        stem: Channels and kernel size of the first convolution.
        fires: (squeeze, expand) for each Fire, None for a pool.
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W) -> (N, num_classes).
    """

    def __init__(
        self,
        stem: tuple[int, int],
        fires: list[tuple[int, int] | None],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dtype: str = "float32",
    ):
        channels, kernel_size = stem
        layers = [nn.Conv2d(in_channels, channels, kernel_size, stride=2, dtype=dtype), nn.ReLU()]
        for sizes in (None, *fires):
            if sizes is None:
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            else:
                layers.append(Fire(channels, *sizes, dtype))
                channels = 2 * sizes[1]
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, num_classes, 1, dtype=dtype)
        self.classifier = nn.Sequential(nn.Dropout(0.5), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        he(self.features, mode="fan_in")
        small(last)

    def forward(self, x):
        x = self.features(x)  # (N, 512, H/16, W/16)
        return self.classifier(x).flatten()  # (N, num_classes)


def squeezenet1_0(**options) -> SqueezeNet:
    """1,248,424 parameters; options as SqueezeNet takes them."""
    fires = [(16, 64), (16, 64), (32, 128), None,
             (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256)]  # fmt: skip
    return SqueezeNet((96, 7), fires, **options)


def squeezenet1_1(**options) -> SqueezeNet:
    """1,235,496 parameters, 2.4 times less work than 1.0; options as SqueezeNet takes them."""
    fires = [(16, 64), (16, 64), None, (32, 128), (32, 128), None,
             (48, 192), (48, 192), (64, 256), (64, 256)]  # fmt: skip
    return SqueezeNet((64, 3), fires, **options)
