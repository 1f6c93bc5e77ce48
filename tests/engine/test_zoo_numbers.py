"""The zoo's numbers beside PyTorch's: block by block, the suite's networks, real weights."""

import csv
import io
import json
import os
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from trivet import Tensor, grad, no_grad, zoo
from trivet.formats.state import read_state
from trivet.zoo import vgg
from trivet.zoo.densenet import DenseLayer
from trivet.zoo.googlenet import Inception
from trivet.zoo.mobilenet import InvertedResidual
from trivet.zoo.resnet import BasicBlock, Bottleneck
from trivet.zoo.squeezenet import Fire

ROOT = Path(__file__).parents[2]
SUITE = ["cnn_cifar10", "resnet50_features", "gru_imdb", "densenet_chexnet"]


def conv_bn(channels, width, kernel, stride=1, padding=0, groups=1):
    return [
        torch.nn.Conv2d(channels, width, kernel, stride, padding, groups=groups, bias=False),
        torch.nn.BatchNorm2d(width),
    ]


class TorchBottleneck(torch.nn.Module):
    def __init__(self, channels, inner, outer, stride, groups):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, inner, 1)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride, 1, groups)
        self.conv3, self.bn3 = conv_bn(inner, outer, 1)
        self.downsample = torch.nn.Sequential(*conv_bn(channels, outer, 1, stride))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class TorchBasicBlock(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(width, width, 3, 1, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, 1, 1)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)


class TorchDenseLayer(torch.nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1 = torch.nn.BatchNorm2d(channels)
        self.conv1, self.norm2 = conv_bn(channels, 4 * growth, 1)
        self.conv2 = torch.nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class TorchBasicConv2d(torch.nn.Module):
    def __init__(self, channels, width, kernel, **options):
        super().__init__()
        self.conv, self.bn = conv_bn(channels, width, kernel, **options)
        self.bn.eps = 0.001

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class TorchInception(torch.nn.Module):
    def __init__(self, channels, one, narrow3, three, narrow5, five, pool):
        super().__init__()
        conv, chain = TorchBasicConv2d, torch.nn.Sequential
        self.branch1 = conv(channels, one, 1)
        self.branch2 = chain(conv(channels, narrow3, 1), conv(narrow3, three, 3, padding=1))
        self.branch3 = chain(conv(channels, narrow5, 1), conv(narrow5, five, 3, padding=1))
        self.branch4 = chain(torch.nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(channels, pool, 1))

    def forward(self, x):
        return torch.cat([f(x) for f in self.children()], 1)


class TorchFire(torch.nn.Module):
    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = torch.nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = torch.nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = torch.nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class TorchInvertedResidual(torch.nn.Module):
    def __init__(self, channels, expansion):
        super().__init__()
        inner, relu6, chain = channels * expansion, torch.nn.ReLU6(), torch.nn.Sequential
        self.conv = chain(
            chain(*conv_bn(channels, inner, 1), relu6),
            chain(*conv_bn(inner, inner, 3, 1, 1, inner), relu6),
            *conv_bn(inner, channels, 1),
        )

    def forward(self, x):
        return x + self.conv(x)


BLOCKS = {
    "bottleneck": (
        lambda: Bottleneck(8, 4, 2, 1, 64, "float64"),
        lambda: TorchBottleneck(8, 4, 16, 2, 1),
    ),
    "grouped bottleneck": (
        lambda: Bottleneck(8, 16, 1, 4, 8, "float64"),
        lambda: TorchBottleneck(8, 8, 64, 1, 4),
    ),
    "basic block": (
        lambda: BasicBlock(8, 8, 1, 1, 64, "float64"),
        lambda: TorchBasicBlock(8),
    ),
    "dense layer": (lambda: DenseLayer(8, 3, "float64"), lambda: TorchDenseLayer(8, 3)),
    "inception": (
        lambda: Inception(8, 2, 3, 4, 2, 5, 3, dtype="float64"),
        lambda: TorchInception(8, 2, 3, 4, 2, 5, 3),
    ),
    "fire": (lambda: Fire(8, 3, 4, "float64"), lambda: TorchFire(8, 3, 4)),
    "inverted residual": (
        lambda: InvertedResidual(8, 8, 1, 6, "float64"),
        lambda: TorchInvertedResidual(8, 6),
    ),
}


def load(net, twin):
    """PyTorch's tensors by name, nothing missing and nothing left over."""
    net.load_state_dict({name: value.numpy() for name, value in twin.state_dict().items()})


def close(a, b, what=""):
    a, b = a.numpy(), b.detach().numpy()
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * max(abs(b).max(), 1), err_msg=what)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_computes_what_pytorch_computes(name, rng):
    """Value, gradients of input and parameters, running statistics; in training, in float64."""
    net, twin = (build() for build in BLOCKS[name])
    twin.double()
    load(net, twin)
    x = rng.standard_normal((3, 8, 7, 6))
    mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = net(mine), twin(theirs)
    close(y, z, "y")
    gy = rng.standard_normal(y.shape)
    parameters, others = net.named_parameters(), dict(twin.named_parameters())
    assert set(parameters) == set(others)
    gradients = grad(y, [mine, *parameters.values()], gradient=Tensor(gy))
    wanted = [theirs, *(others[k] for k in parameters)]
    expected = torch.autograd.grad(z, wanted, torch.tensor(gy))
    for k, g, h in zip(["x", *parameters], gradients, expected):
        close(g, h, k)
    for k, buffer in net.named_buffers().items():
        close(buffer, twin.state_dict()[k], k)


def notebook_twin(workload):
    """The network as the suite's PyTorch notebook defines it."""
    text = (ROOT / "notebooks" / "pytorch" / f"{workload}.ipynb").read_text("utf-8")
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    heading = next(i for i, cell in enumerate(cells) if cell.startswith("## Model"))
    names = {"torch": torch, "nn": torch.nn, "F": F, "OrderedDict": OrderedDict}
    exec(cells[heading + 1], names)
    known = ("network", "ResNet50", "Classifier", "DenseNet121")
    return next(names[name] for name in known if name in names)()


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITE)
def test_the_suites_networks_are_those_of_its_pytorch_notebooks(name, rng):
    torch.manual_seed(0)
    twin = notebook_twin(name).double().eval()
    net = getattr(zoo, name)(dtype="float64").eval()
    load(net, twin)
    order = [k for k, _ in twin.named_parameters()]
    assert list(net.named_parameters()) == order
    x = rng.integers(30000, size=(2, 9)) if name == "gru_imdb" else rng.random((2, 3, 32, 32))
    with no_grad(), torch.no_grad():
        close(net(Tensor(x)), twin(torch.tensor(x)))


def test_a_narrow_vgg_computes_what_pytorch_computes(rng, monkeypatch):
    monkeypatch.setattr(vgg, "CHANNELS", (2, 3, 4, 5, 6))
    net = zoo.vgg11_bn(num_classes=10, dtype="float64").eval()
    layers, channels = [], 3
    for width, depth in zip(vgg.CHANNELS, (1, 1, 2, 2, 2)):
        for _ in range(depth):
            conv = torch.nn.Conv2d(channels, width, 3, padding=1)
            layers += [conv, torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    features, x = torch.nn.Sequential(*layers).double().eval(), rng.random((2, 3, 40, 33))
    load(net.features, features)
    dense = [torch.from_numpy(p.numpy()) for p in net.classifier.parameters()]
    y = F.adaptive_avg_pool2d(features(torch.tensor(x)), 7).flatten(1)
    y = F.linear(F.relu(F.linear(y, *dense[:2])), *dense[2:4]).relu()
    with no_grad():
        close(net(Tensor(x)), F.linear(y, *dense[4:]))


MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def real(path):
    root = os.environ.get("ROSETTA_DATA")
    if not root or not (Path(root) / path).is_file():
        pytest.skip(f"needs ROSETTA_DATA with {path}")
    return Path(root) / path


def photos(every):
    """Each ``every``-th photo, resized to 256, its centre cut out; and the classes."""
    with open(real("imagenet-sample/labels.csv")) as file:
        classes = {row["filename"]: int(row["class_index"]) for row in csv.DictReader(file)}
    xs, ys = [], []
    with tarfile.open(real("imagenet-sample/imagenet-sample-1000.tar")) as tar:
        members = [m for m in tar.getmembers() if Path(m.name).name in classes]
        for member in members[::every]:
            image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
            scale = 256 / min(image.size)
            width, height = (round(n * scale) for n in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            left, top = (width - 224) // 2, (height - 224) // 2
            pixels = np.float32(image.crop((left, top, left + 224, top + 224))) / 255
            xs.append(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1))
            ys.append(classes[Path(member.name).name])
    return np.stack(xs), np.array(ys)


class TorchSqueezeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        pool, fire = torch.nn.MaxPool2d(3, 2, ceil_mode=True), TorchFire
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 96, 7, 2), torch.nn.ReLU(), pool,
            fire(96, 16, 64), fire(128, 16, 64), fire(128, 32, 128), pool,
            fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), pool,
            fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv2d(512, 1000, 1))

    def forward(self, x):
        return F.relu(self.classifier(self.features(x))).mean((2, 3))


def test_squeezenet_with_its_imagenet_weights_names_photos_as_pytorch_does():
    """All of the 1,000 photos give 61.1 % and 82.3 %; these are 20 of them."""
    state = read_state(real("weights/squeezenet1_0/squeezenet1_0-deepcomp.pth"))
    net, twin = zoo.squeezenet1_0().eval(), TorchSqueezeNet().eval()
    net.load_state_dict(state)
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    x, classes = photos(every=50)
    with no_grad(), torch.no_grad():
        y, z = net(Tensor(x)).numpy(), twin(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)
    five = np.argsort(-y, axis=1)[:, :5]
    assert np.array_equal(five, np.argsort(-z, axis=1)[:, :5])
    assert (five == classes[:, None]).any(1).mean() >= 0.6
