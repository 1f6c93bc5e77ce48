"""Networks twice, in trivet and in PyTorch under the same names, and one way to train both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import trivet
from torch import nn
from trivet import Tensor, ops, optim, zoo
from trivet.zoo.densenet import DenseNet
from trivet.zoo.resnet import Bottleneck, ResNet


def conv_bn(channels, width, kernel, stride=1, padding=0):
    conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
    return [conv, nn.BatchNorm2d(width)]


class TorchCnn(nn.Module):
    """The suite's network for CIFAR-10 without its dropout."""

    def __init__(self, activation=F.relu, pool=F.max_pool2d):
        super().__init__()
        self.activation, self.pool = activation, pool
        self.conv1, self.conv2 = nn.Conv2d(3, 50, 3, padding=1), nn.Conv2d(50, 50, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(50, 100, 3, padding=1), nn.Conv2d(100, 100, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(6400, 512), nn.Linear(512, 10)

    def forward(self, x):
        f, pool = self.activation, self.pool
        x = f(pool(self.conv2(f(self.conv1(x))), 2))  # (N, 50, 16, 16)
        x = f(pool(self.conv4(f(self.conv3(x))), 2))  # (N, 100, 8, 8)
        return self.fc2(f(self.fc1(x.flatten(1))))  # (N, 10)


class TorchReviews(nn.Module):
    """The suite's network for IMDB."""

    def __init__(self, words):
        super().__init__()
        self.embedding = nn.Embedding(words, 125)
        self.gru = nn.GRU(125, 100, batch_first=True)
        self.fc = nn.Linear(100, 2)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])  # (N, 2)


class TorchBottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride, 1)
        self.conv3, self.bn3 = conv_bn(width, 4 * width, 1)
        same = stride == 1 and channels == 4 * width
        self.downsample = None if same else nn.Sequential(*conv_bn(channels, 4 * width, 1, stride))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x))


class TorchResNet(nn.Module):
    """Stages of bottlenecks; ``layer1`` and so on, as in the zoo."""

    def __init__(self, depths, classes):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 7, 2, 3)
        channels, self.stages = 64, []
        for i, depth in enumerate(depths):
            blocks, width = [], 64 * 2**i
            for j in range(depth):
                blocks.append(TorchBottleneck(channels, width, 2 if i and not j else 1))
                channels = 4 * width
            self.stages.append(f"layer{i + 1}")
            setattr(self, self.stages[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


class TorchDenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1, self.norm2 = conv_bn(channels, 4 * growth, 1)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class TorchTransition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class TorchDenseNet(nn.Module):
    def __init__(self, depths, growth, classes):
        super().__init__()
        channels, parts = 64, nn.Sequential()
        parts.conv0, parts.norm0 = conv_bn(3, channels, 7, 2, 3)
        parts.relu0, parts.pool0 = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        for i, depth in enumerate(depths, 1):
            block = nn.Sequential()
            for j in range(depth):
                layer = TorchDenseLayer(channels + growth * j, growth)
                block.add_module(f"denselayer{j + 1}", layer)
            parts.add_module(f"denseblock{i}", block)
            channels += growth * depth
            if i < len(depths):
                parts.add_module(f"transition{i}", TorchTransition(channels))
                channels //= 2
        parts.norm5 = nn.BatchNorm2d(channels)
        self.features, self.classifier = parts, nn.Linear(channels, classes)

    def forward(self, x):
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


class TorchFire(nn.Module):
    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class TorchSqueezeNet(nn.Module):
    """SqueezeNet 1.0 without its dropout."""

    def __init__(self):
        super().__init__()
        pool, fire = nn.MaxPool2d(3, 2, ceil_mode=True), TorchFire
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool,
            fire(96, 16, 64), fire(128, 16, 64), fire(128, 32, 128), pool,
            fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), pool,
            fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Identity(), nn.Conv2d(512, 1000, 1))

    def forward(self, x):
        return F.relu(self.classifier(self.features(x))).mean((2, 3))


@dataclass(frozen=True)
class Twins:
    """A network in both libraries, and what trains it."""

    ours: Callable[..., trivet.nn.Module]  # takes dtype
    theirs: Callable[[], nn.Module]
    rate: float
    adam: bool = False  # else SGD with momentum 0.9
    findings: bool = False  # targets are bits, judged by binary cross-entropy; else class ids


def without_dropout(net):
    for module in net.named_modules().values():
        if isinstance(module, trivet.nn.Dropout):
            module.p = 0.0
    return net


def smooth(net):
    """Without kinks: SiLU for ReLU, means for maxima."""
    for name, module in vars(net).items():
        if isinstance(module, trivet.nn.ReLU):
            setattr(net, name, trivet.nn.SiLU())
        elif isinstance(module, trivet.nn.MaxPool2d):
            setattr(net, name, trivet.nn.AvgPool2d(2))
    return net


def cnn(dtype):
    return without_dropout(zoo.cnn_cifar10(dtype=dtype))


def small_resnet(dtype):
    """Four bottlenecks: the third and the fourth stage are empty."""
    return ResNet(Bottleneck, (2, 2, 0, 0), num_classes=10, dtype=dtype)


def small_densenet(dtype):
    return DenseNet((3, 3, 3), growth=12, num_classes=14, dtype=dtype)


TWINS = {
    "gru": Twins(
        lambda dtype: zoo.gru_imdb(words=1000, dtype=dtype),
        lambda: TorchReviews(1000),
        rate=1e-3,
        adam=True,
    ),
    "cnn": Twins(cnn, TorchCnn, rate=0.01),
    "smooth cnn": Twins(
        lambda dtype: smooth(cnn(dtype)), lambda: TorchCnn(F.silu, F.avg_pool2d), rate=0.01
    ),
    "resnet": Twins(small_resnet, lambda: TorchResNet((2, 2), 10), rate=1e-4),
    "densenet": Twins(
        small_densenet,
        lambda: TorchDenseNet((3, 3, 3), 12, 14),
        rate=1e-3,
        adam=True,
        findings=True,
    ),
}


def start(twins: Twins, seed: int = 0) -> dict[str, np.ndarray]:
    """First values, float32; vectors are not all zeros and ones, so that a mix-up of two shows."""
    rng = np.random.default_rng(seed)
    trivet.nn.init.seed(seed)
    net = twins.ours(dtype="float32")
    state, parameters = net.state_dict(), net.named_parameters()
    for name, array in state.items():
        if array.ndim == 1 and name in parameters:
            array += rng.normal(0, 0.1, array.shape).astype(np.float32)
    return state


def as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """Floats in the dtype of the network; word and class ids as they are."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


class Ours:
    """trivet's network while it trains."""

    def __init__(self, twins: Twins, state, dtype: str, captured: bool = False):
        self.net, self.dtype = twins.ours(dtype=dtype), dtype
        self.net.load_state_dict(state)
        parameters, loss_of = self.net.parameters(), ops.cross_entropy
        rule = optim.Adam(parameters, twins.rate) if twins.adam else None
        rule = rule or optim.SGD(parameters, twins.rate, momentum=0.9)
        if twins.findings:
            loss_of = ops.binary_cross_entropy_with_logits

        def step(x, y):
            rule.zero_grad()
            loss = loss_of(self.net(x), y)
            loss.backward()
            rule.step()
            return loss

        self._step = trivet.capture(step) if captured else step

    def step(self, x, y) -> float:
        return self._step(*(Tensor(as_dtype(a, self.dtype)) for a in (x, y))).item()

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: p.grad.numpy() for name, p in self.net.named_parameters().items()}

    def state(self) -> dict[str, np.ndarray]:
        return self.net.state_dict()

    def logits(self, x) -> np.ndarray:
        with trivet.no_grad():
            return self.net.eval()(Tensor(as_dtype(x, self.dtype))).numpy()


class Theirs:
    """PyTorch's, with the same methods."""

    def __init__(self, twins: Twins, state, dtype: str):
        self.net, self.dtype = twins.theirs().to(getattr(torch, dtype)), dtype
        tensors = {name: torch.tensor(array) for name, array in state.items()}
        found = self.net.load_state_dict(tensors, strict=False)
        assert not found.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in found.missing_keys)
        parameters = self.net.parameters()
        self.rule = torch.optim.Adam(parameters, twins.rate) if twins.adam else None
        self.rule = self.rule or torch.optim.SGD(parameters, twins.rate, momentum=0.9)
        self.loss_of = F.cross_entropy
        if twins.findings:
            self.loss_of = F.binary_cross_entropy_with_logits

    def step(self, x, y) -> float:
        x, y = (torch.tensor(as_dtype(a, self.dtype)) for a in (x, y))
        self.rule.zero_grad()
        loss = self.loss_of(self.net(x), y)
        loss.backward()
        self.rule.step()
        return loss.item()

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: p.grad.numpy() for name, p in self.net.named_parameters()}

    def state(self) -> dict[str, np.ndarray]:
        tensors = self.net.state_dict().items()
        return {k: v.numpy() for k, v in tensors if not k.endswith("num_batches_tracked")}

    def logits(self, x) -> np.ndarray:
        with torch.no_grad():
            return self.net.eval()(torch.tensor(as_dtype(x, self.dtype))).numpy()
