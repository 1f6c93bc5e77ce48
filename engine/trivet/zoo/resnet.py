"""ResNet and ResNeXt: a block adds to what it was given.

Source: He et al., "Deep residual learning for image recognition", 2016, table 1, with the stride
    of a bottleneck in its 3x3 convolution ("v1.5"), as torchvision has it; Xie et al.,
    "Aggregated residual transformations for deep neural networks", 2017.
"""

from __future__ import annotations

from .. import nn
from .initial import he


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them."""

    expansion = 1

    def __init__(self, channels, width, stride, groups, group_width, dtype):
        self.conv1 = nn.Conv2d(
            channels, width, 3, stride=stride, padding=1, bias=False, dtype=dtype
        )
        self.bn1 = nn.BatchNorm2d(width, dtype=dtype)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False, dtype=dtype)
        self.bn2 = nn.BatchNorm2d(width, dtype=dtype)
        self.downsample = _shortcut(channels, width, stride, dtype)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1 to narrow, 3x3, 1x1 to widen four times; in groups, the 3x3 is a ResNeXt's."""

    expansion = 4

    def __init__(self, channels, width, stride, groups, group_width, dtype):
        inner, outer = width * group_width // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(inner, dtype=dtype)
        self.conv2 = nn.Conv2d(
            inner, inner, 3, stride=stride, padding=1, groups=groups, bias=False, dtype=dtype
        )
        self.bn2 = nn.BatchNorm2d(inner, dtype=dtype)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False, dtype=dtype)
        self.bn3 = nn.BatchNorm2d(outer, dtype=dtype)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(channels, outer, stride, dtype)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(channels, outer, stride, dtype) -> nn.Sequential | None:
    """None where the input can be added as it is."""
    if stride == 1 and channels == outer:
        return None
    return nn.Sequential(
        nn.Conv2d(channels, outer, 1, stride=stride, bias=False, dtype=dtype),
        nn.BatchNorm2d(outer, dtype=dtype),
    )


class ResNet(nn.Module):
    """Four stages of blocks, a mean over the image, one dense layer.

    Args:
        block: BasicBlock or Bottleneck.
        depths: Blocks by stage.
        groups: Of a bottleneck's 3x3 convolution.
        group_width: Channels of such a group in the first stage; 64 with one group.
        num_classes: Outputs; None leaves the classifier out and gives the pooled features.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W) -> (N, num_classes), or (N, 512 * block.expansion).
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, ...],
        *,
        groups: int = 1,
        group_width: int = 64,
        num_classes: int | None = 1000,
        in_channels: int = 3,
        dtype: str = "float32",
    ):
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False, dtype=dtype)
        self.bn1 = nn.BatchNorm2d(64, dtype=dtype)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for i, depth in enumerate(depths):
            width, blocks = 64 * 2**i, []
            for j in range(depth):
                stride = 2 if i and not j else 1
                blocks.append(block(channels, width, stride, groups, group_width, dtype))
                channels = width * block.expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he(self)
        self.fc: nn.Module = nn.Identity()
        if num_classes is not None:
            self.fc = nn.Linear(channels, num_classes, dtype=dtype)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 64, H/2, W/2)
        x = self.layer1(self.maxpool(x))  # (N, 64 * expansion, H/4, W/4)
        x = self.layer4(self.layer3(self.layer2(x)))  # (N, 512 * expansion, H/32, W/32)
        return self.fc(self.avgpool(x).flatten())  # (N, num_classes)


def resnet18(**options) -> ResNet:
    """11,689,512 parameters; options as ResNet takes them."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet34(**options) -> ResNet:
    """21,797,672 parameters; options as ResNet takes them."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


def resnet50(**options) -> ResNet:
    """25,557,032 parameters; options as ResNet takes them."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


def resnet101(**options) -> ResNet:
    """44,549,160 parameters; options as ResNet takes them."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **options)


def resnet152(**options) -> ResNet:
    """60,192,808 parameters; options as ResNet takes them."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **options)


def resnext50_32x4d(**options) -> ResNet:
    """25,028,904 parameters; options as ResNet takes them."""
    return ResNet(Bottleneck, (3, 4, 6, 3), groups=32, group_width=4, **options)
