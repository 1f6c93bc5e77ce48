"""The zoo: published counts, PyTorch's names in its order, first values, one step."""

import csv
from pathlib import Path

import numpy as np
import pytest
from trivet import Tensor, nn, no_grad, zoo
from trivet.device import Buffer
from trivet.launch import Eager, sending_to
from trivet.spec import Spec

ROOT = Path(__file__).parents[2]

COUNTS = {  # torchvision's table of weights, but for mobilenet_v1 and the suite's four
    "vgg11": 132863336,
    "vgg11_bn": 132868840,
    "vgg13": 133047848,
    "vgg13_bn": 133053736,
    "vgg16": 138357544,
    "vgg16_bn": 138365992,
    "vgg19": 143667240,
    "vgg19_bn": 143678248,
    "resnet18": 11689512,
    "resnet34": 21797672,
    "resnet50": 25557032,
    "resnet101": 44549160,
    "resnet152": 60192808,
    "resnext50_32x4d": 25028904,
    "densenet121": 7978856,
    "densenet169": 14149480,
    "densenet201": 20013928,
    "googlenet": 6624904,
    "squeezenet1_0": 1248424,
    "squeezenet1_1": 1235496,
    "mobilenet_v1": 4231976,  # the paper says 4.2 million
    "mobilenet_v2": 3504872,
    "cnn_cifar10": 3441592,
    "resnet50_features": 23508032,
    "gru_imdb": 3818302,
    "densenet_chexnet": 6968206,
}
SUITE = ["cnn_cifar10", "resnet50_features", "gru_imdb", "densenet_chexnet"]


@pytest.fixture
def shapes_only(monkeypatch):
    """Networks whose parameters have no memory: VGG's 138 million numbers are only counted."""

    def parameter(array):
        return nn.Parameter(Buffer(Spec(array.shape, array.dtype.name), "cpu", None))

    monkeypatch.setattr(nn.layers, "Parameter", parameter)
    for name in ("uniform_", "normal_", "constant_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *args, **options: tensor)


def count(net):
    return sum(p.size for p in net.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_published(name, shapes_only):
    build = getattr(zoo, name)
    assert count(build()) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in build.__doc__


def test_auxiliary_classifiers_are_counted_too(shapes_only):
    assert count(zoo.googlenet(aux_logits=True)) == 13004888


@pytest.mark.parametrize("name", [n for n in COUNTS if n not in ("gru_imdb", "resnet50_features")])
def test_every_network_takes_the_same_options(name, shapes_only):
    net = getattr(zoo, name)(num_classes=7, in_channels=1, dtype="float64")
    parameters = net.parameters()
    assert parameters[0].shape[1] == 1 and parameters[-1].shape == (7,)
    tensors = [*parameters, *net.named_buffers().values()]
    assert {t.dtype for t in tensors} == {"float64"}


@pytest.mark.parametrize("name", SUITE)
def test_the_suites_tensors_by_name_in_order(name, shapes_only):
    with open(ROOT / "benchmarks" / name / "tensors.csv") as file:
        expected = {row["name"]: row["shape"] for row in csv.DictReader(file)}
    net = getattr(zoo, name)()
    shapes = {k: t.shape for k, t in {**net.named_parameters(), **net.named_buffers()}.items()}
    assert {k: "x".join(map(str, shape)) for k, shape in shapes.items()} == expected
    parameters = list(net.named_parameters())
    assert parameters == [k for k in expected if k in parameters]


@pytest.mark.parametrize("name", SUITE)
def test_the_suites_layers_by_name(name, shapes_only):
    with open(ROOT / "benchmarks" / name / "layers.csv") as file:
        layers = {row["name"] for row in csv.DictReader(file)}
    assert layers <= set(getattr(zoo, name)().named_modules())


# Entries of torchvision's state dicts without num_batches_tracked, and some of their names.
NAMES = {
    "vgg16": (32, ["features.28.weight", "classifier.0.weight", "classifier.6.bias"]),
    "vgg19_bn": (102, ["features.49.weight", "features.50.running_var", "classifier.3.bias"]),
    "resnet18": (102, ["bn1.running_mean", "layer2.0.downsample.1.bias", "layer4.1.conv2.weight"]),
    "resnet50": (267, ["layer1.0.downsample.0.weight", "layer4.2.bn3.running_var", "fc.weight"]),
    "densenet121": (
        606,
        ["features.transition3.norm.weight", "features.denseblock4.denselayer16.conv2.weight"],
    ),
    "googlenet": (287, ["conv3.bn.running_var", "inception4e.branch4.1.conv.weight", "fc.bias"]),
    "squeezenet1_0": (52, ["features.3.squeeze.bias", "features.12.expand3x3.weight",
                           "classifier.1.weight"]),
    "squeezenet1_1": (52, ["features.6.expand1x1.bias", "features.12.squeeze.weight"]),
    "mobilenet_v2": (262, ["features.0.1.running_mean", "features.1.conv.1.weight",
                           "features.17.conv.3.bias", "features.18.0.weight",
                           "classifier.1.bias"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_are_torchvisions(name, shapes_only):
    net = getattr(zoo, name)()
    names = [*net.named_parameters(), *net.named_buffers()]
    assert len(names) == NAMES[name][0]
    assert set(NAMES[name][1]) <= set(names)


class Shapes(Eager):
    """Follows specs only: no memory is taken and no kernel runs."""

    def allocate(self, spec, device):
        return Buffer(spec, device, None)

    def run(self, call, plan, buffers):
        pass


MULTIPLY_ADDS = {  # 1e9, of one image of 224 x 224: torchvision's table, the paper, workload.toml
    "vgg11": 7.61,
    "vgg11_bn": 7.61,
    "vgg13": 11.31,
    "vgg16_bn": 15.47,
    "vgg19": 19.63,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "resnext50_32x4d": 4.23,
    "densenet121": 2.83,
    "densenet169": 3.36,
    "densenet201": 4.29,
    "googlenet": 1.50,
    "squeezenet1_0": 0.82,
    "squeezenet1_1": 0.35,
    "mobilenet_v1": 0.57,
    "mobilenet_v2": 0.30,
    "resnet50_features": 8.174 / 2,
    "densenet_chexnet": 5.666 / 2,
    "cnn_cifar10": 0.1245 / 2,
}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_a_forward_does_as_much_as_published(name, shapes_only):
    """A wrong stride or pool leaves the count of parameters as it is, but not this one."""
    size = 32 if name == "cnn_cifar10" else 224
    net, x = getattr(zoo, name)(), Tensor(Buffer(Spec((1, 3, size, size)), "cpu", None))
    with sending_to(Shapes()):
        flops = nn.summary(net, x).flops
    assert flops / 2e9 == pytest.approx(MULTIPLY_ADDS[name], abs=0.0051)


SMALL = ["resnet18", "densenet121", "googlenet", "squeezenet1_0", "squeezenet1_1",
         "mobilenet_v1", "mobilenet_v2"]  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_reaches_every_parameter(name, rng):
    net = getattr(zoo, name)(num_classes=5)
    y = net(Tensor(rng.random((2, 3, 64, 64)), "float32"))
    assert y.shape == (2, 5)
    y.sum().backward()
    for k, p in net.named_parameters().items():
        assert p.grad is not None and np.isfinite(p.grad.numpy()).all(), k


def test_googlenets_auxiliary_classifiers_speak_in_training_only(rng):
    net = zoo.googlenet(aux_logits=True, num_classes=5)
    x = Tensor(rng.random((2, 3, 64, 64)), "float32")
    with no_grad():
        assert [y.shape for y in net(x)] == [(2, 5)] * 3
        assert net.eval()(x).shape == (2, 5)


def test_a_float64_network_starts_where_a_float32_one_does():
    starts = []
    for dtype in ("float32", "float64"):
        nn.init.seed(3)
        starts.append(zoo.squeezenet1_1(dtype=dtype).state_dict())
    for name, value in starts[0].items():
        assert np.array_equal(value, starts[1][name].astype("float32")), name


def test_initial_values():
    net = zoo.resnet18()
    conv = net.layer3[1].conv1.weight.numpy()  # (256, 256, 3, 3)
    assert np.std(conv) == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.01)
    net = zoo.cnn_cifar10()
    fc1 = net.fc1.weight.numpy()
    assert abs(fc1).max() == pytest.approx(np.sqrt(6 / (6400 + 512)), rel=1e-3)
    assert not any(p.numpy().any() for k, p in net.named_parameters().items() if "bias" in k)
    norm = zoo.densenet_chexnet().features.norm5
    assert (norm.weight.numpy() == 1).all() and not norm.bias.numpy().any()
