"""GoogLeNet: four branches of different reach side by side.

Source: Szegedy et al., "Going deeper with convolutions", 2015, table 1; as torchvision has it:
    with batch normalisation, and 3x3 where the paper has 5x5.
"""

from __future__ import annotations

from .. import nn, ops

INCEPTIONS = {  # input; 1x1; 1x1, 3x3; 1x1, "5x5"; 1x1 behind the pool
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels, width, kernel_size, *, stride=1, padding=0, dtype):
        self.conv = nn.Conv2d(
            channels, width, kernel_size, stride=stride, padding=padding, bias=False, dtype=dtype
        )
        self.bn = nn.BatchNorm2d(width, eps=0.001, dtype=dtype)

    def forward(self, x):
        return ops.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Shapes: x (N, C, H, W) -> (N, one + three + five + pool, H, W)."""

    def __init__(self, channels, one, narrow3, three, narrow5, five, pool, *, dtype):
        self.branch1 = BasicConv2d(channels, one, 1, dtype=dtype)
        self.branch2 = nn.Sequential(
            BasicConv2d(channels, narrow3, 1, dtype=dtype),
            BasicConv2d(narrow3, three, 3, padding=1, dtype=dtype),
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(channels, narrow5, 1, dtype=dtype),
            BasicConv2d(narrow5, five, 3, padding=1, dtype=dtype),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            BasicConv2d(channels, pool, 1, dtype=dtype),
        )

    def forward(self, x):
        branches = self.branch1, self.branch2, self.branch3, self.branch4
        return ops.concat([branch(x) for branch in branches], axis=1)


class InceptionAux(nn.Module):
    """A classifier halfway up, whose gradient reaches the lower layers sooner."""

    def __init__(self, channels: int, num_classes: int, *, dtype: str):
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = BasicConv2d(channels, 128, 1, dtype=dtype)
        self.fc1 = nn.Linear(2048, 1024, dtype=dtype)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes, dtype=dtype)

    def forward(self, x):
        x = self.conv(self.avgpool(x)).flatten()  # (N, 2048)
        return self.fc2(self.dropout(ops.relu(self.fc1(x))))  # (N, num_classes)


class GoogLeNet(nn.Module):
    """Nine inceptions, a mean over the image, one dense layer.

    Args:
        aux_logits: Two more classifiers; in training, forward gives (logits, upper, lower).
        num_classes: Outputs.
        in_channels: Colours of the image.
        dtype: Of parameters and buffers.

    Shapes: x (N, in_channels, H, W), 32 at least -> (N, num_classes).
    """

    def __init__(
        self,
        *,
        aux_logits: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        dtype: str = "float32",
    ):
        self.conv1 = BasicConv2d(in_channels, 64, 7, stride=2, padding=3, dtype=dtype)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1, dtype=dtype)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1, dtype=dtype)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        for name, widths in INCEPTIONS.items():
            setattr(self, f"inception{name}", Inception(*widths, dtype=dtype))
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.aux1 = InceptionAux(512, num_classes, dtype=dtype) if aux_logits else None
        self.aux2 = InceptionAux(528, num_classes, dtype=dtype) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, num_classes, dtype=dtype)

    def forward(self, x):
        x = self.maxpool1(self.conv1(x))  # (N, 64, H/4, W/4)
        x = self.maxpool2(self.conv3(self.conv2(x)))  # (N, 192, H/8, W/8)
        x = self.inception3b(self.inception3a(x))  # (N, 480, H/8, W/8)
        low = self.inception4a(self.maxpool3(x))  # (N, 512, H/16, W/16)
        high = self.inception4d(self.inception4c(self.inception4b(low)))  # (N, 528, H/16, W/16)
        x = self.maxpool4(self.inception4e(high))  # (N, 832, H/32, W/32)
        x = self.inception5b(self.inception5a(x))  # (N, 1024, H/32, W/32)
        logits = self.fc(self.dropout(self.avgpool(x).flatten()))  # (N, num_classes)
        if self.training and self.aux1 is not None:
            return logits, self.aux2(high), self.aux1(low)
        return logits


def googlenet(**options) -> GoogLeNet:
    """6,624,904 parameters, 13,004,888 with aux_logits; options as GoogLeNet takes them."""
    return GoogLeNet(**options)
