"""The four networks of the benchmark suite, with its names for layers and tensors.

They start as the suite's do: weights Glorot uniform, biases zero. Its exported tensors load by
name with ``net.load_state_dict``.
"""

from __future__ import annotations

from .. import nn
from .densenet import DenseNet, densenet121
from .initial import glorot
from .resnet import ResNet, resnet50


def cnn_cifar10(
    *, num_classes: int = 10, in_channels: int = 3, dtype: str = "float32"
) -> nn.Sequential:
    """Four convolutions and two dense layers for CIFAR-10; 3,441,592 parameters.

    Shapes: x (N, in_channels, 32, 32) -> (N, num_classes).
    """
    net = nn.Sequential(
        {
            "conv1": nn.Conv2d(in_channels, 50, 3, padding=1, dtype=dtype),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(50, 50, 3, padding=1, dtype=dtype),
            "pool1": nn.MaxPool2d(2),  # (N, 50, 16, 16)
            "relu2": nn.ReLU(),
            "drop1": nn.Dropout(0.25),
            "conv3": nn.Conv2d(50, 100, 3, padding=1, dtype=dtype),
            "relu3": nn.ReLU(),
            "conv4": nn.Conv2d(100, 100, 3, padding=1, dtype=dtype),
            "pool2": nn.MaxPool2d(2),  # (N, 100, 8, 8)
            "relu4": nn.ReLU(),
            "drop2": nn.Dropout(0.25),
            "flatten": nn.Flatten(),  # (N, 6400)
            "fc1": nn.Linear(6400, 512, dtype=dtype),
            "relu5": nn.ReLU(),
            "drop3": nn.Dropout(0.5),
            "fc2": nn.Linear(512, num_classes, dtype=dtype),
        }
    )
    return glorot(net)


def resnet50_features(**options) -> ResNet:
    """ResNet-50 up to its pooled features; 23,508,032 parameters; options as ResNet takes them.

    Shapes: x (N, in_channels, H, W) -> (N, 2048).
    """
    return glorot(resnet50(num_classes=None, **options))


class ReviewClassifier(nn.Module):
    """Word numbers to classes: embedding, one GRU, a dense layer on its last output.

    Args:
        num_classes: Outputs.
        words: Size of the vocabulary.
        dtype: Of the parameters.

    Shapes: x (N, T) word numbers -> (N, num_classes).
    """

    def __init__(self, *, num_classes: int = 2, words: int = 30_000, dtype: str = "float32"):
        self.embedding = nn.Embedding(words, 125, dtype=dtype)
        self.gru = nn.GRU(125, 100, batch_first=True, dtype=dtype)
        self.fc = nn.Linear(100, num_classes, dtype=dtype)

    def forward(self, x):
        outputs, _ = self.gru(self.embedding(x))  # (N, T, 100)
        return self.fc(outputs[:, -1])  # (N, num_classes)


def gru_imdb(**options) -> ReviewClassifier:
    """For IMDB's reviews; 3,818,302 parameters; options as ReviewClassifier takes them."""
    return glorot(ReviewClassifier(**options))


def densenet_chexnet(*, num_classes: int = 14, **options) -> DenseNet:
    """DenseNet-121 for the 14 findings of chest X-rays; 6,968,206 parameters.

    Shapes: x (N, in_channels, H, W) -> (N, num_classes) log-odds, one per finding.
    """
    return glorot(densenet121(num_classes=num_classes, **options))
