"""Networks under the names that torchvision gives them, and the four of the benchmark suite.

Parameters and buffers have torchvision's names in torchvision's order, so the state dict of a
PyTorch network loads by name.

>>> from trivet import zoo
>>> sum(p.size for p in zoo.squeezenet1_1().parameters())
1235496
"""

from .densenet import DenseNet, densenet121, densenet169, densenet201
from .googlenet import GoogLeNet, googlenet
from .mobilenet import MobileNetV1, MobileNetV2, mobilenet_v1, mobilenet_v2
from .resnet import (
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
)
from .squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from .suite import cnn_cifar10, densenet_chexnet, gru_imdb, resnet50_features
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "VGG", "DenseNet", "GoogLeNet", "MobileNetV1", "MobileNetV2", "ResNet", "SqueezeNet",
    "cnn_cifar10", "densenet121", "densenet169", "densenet201", "densenet_chexnet", "googlenet",
    "gru_imdb", "mobilenet_v1", "mobilenet_v2", "resnet18", "resnet34", "resnet50",
    "resnet50_features", "resnet101", "resnet152", "resnext50_32x4d", "squeezenet1_0",
    "squeezenet1_1", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
    "vgg19_bn",
]  # fmt: skip
