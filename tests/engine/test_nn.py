"""Modules, layers beside PyTorch's, initial values, and the summary."""

import math

import numpy as np
import pytest
import torch
from trivet import Tensor, grad, nn, optim
from trivet.errors import OptionError, ShapeError, TrivetError
from trivet.ops.dropout import Generator


class Block(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.scale = nn.Parameter([2.0])
        self.offset = Tensor([1.0])
        self.second = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4)])
        self._hidden = nn.Parameter([0.0])

    def forward(self, x):
        return self.second[1](self.second[0](self.first(x))) * self.scale + self.offset


def test_names_come_in_the_order_of_definition():
    net = Block()
    parameters = ["first.weight", "first.bias", "scale", "second.0.weight"]
    parameters += ["second.1.weight", "second.1.bias"]
    buffers = ["offset", "second.1.running_mean", "second.1.running_var"]
    assert list(net.named_parameters()) == parameters
    assert list(net.named_buffers()) == buffers
    assert list(net.named_modules()) == ["", "first", "second", "second.0", "second.1"]
    assert [p.shape for p in net.parameters()] == [(4, 3), (4,), (1,), (4, 4), (4,), (4,)]
    assert list(net.state_dict()) == [*parameters[:3], "offset", *parameters[3:], *buffers[1:]]


def test_what_is_shared_counts_once_but_is_saved_under_each_name():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(net.named_parameters()) == ["0.weight", "0.bias"]
    assert list(net.named_modules()) == ["", "0", "1"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Sequential(nn.Dropout()), nn.BatchNorm2d(3))
    assert [m.training for m in net.eval().named_modules().values()] == [False] * 4
    assert [m.training for m in net.train().named_modules().values()] == [True] * 4


def test_state_is_written_in_place():
    net, other = Block(), Block()
    before = {k: t.buffer for k, t in net.named_parameters().items()}
    net.load_state_dict(other.state_dict())
    assert all(net.named_parameters()[k].buffer is b for k, b in before.items())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


def test_the_counter_of_pytorch_is_passed_over():
    theirs = torch.nn.BatchNorm2d(3)
    net = nn.BatchNorm2d(3)
    net.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert list(net.state_dict()) == ["weight", "bias", "running_mean", "running_var"]


def test_a_state_that_does_not_fit_says_which_names():
    net, state = Block(), Block().state_dict()
    state["third.weight"] = state.pop("first.weight")
    with pytest.raises(OptionError, match=r"missing: first.weight; unexpected: third.weight\."):
        net.load_state_dict(state)
    net.load_state_dict(state, strict=False)
    state = Block().state_dict() | {"second.0.weight": np.zeros((4, 5))}
    before = net.state_dict()
    with pytest.raises(ShapeError, match=r"expected second.0.weight \(4, 4\); got \(4, 5\)") as e:
        net.load_state_dict(state)
    assert "Fix: build the network" in str(e.value)
    assert all((before[k] == v).all() for k, v in net.state_dict().items())  # nothing was written


def test_lists_of_modules_are_refused_not_overlooked():
    net = nn.Module()
    with pytest.raises(OptionError, match=r"(?s)list of them, whose parameters.*nn.ModuleList"):
        net.layers = [nn.Linear(1, 1)]
    net._layers, net.sizes = [nn.Linear(1, 1)], [1, 2]
    assert net.parameters() == []


def test_to_changes_the_dtype_of_the_same_parameters():
    net, x = Block(), Tensor(np.ones((2, 3)))
    before = net.named_parameters()
    assert net.to("float64") is net
    assert net.named_parameters() == before and net.offset.dtype == "float64"
    assert net(x).dtype == "float64"
    table = nn.Module()
    table.ids = Tensor([1, 2])
    assert table.to("float64").ids.dtype == "int64"


def test_outputs_can_be_watched_by_name():
    net, seen = Block(), {}
    handles = [
        module.on_output(lambda m, inputs, y, name=name: seen.update({name: y.shape}))
        for name, module in net.named_modules().items()
    ]
    net(Tensor(np.ones((2, 3)), "float32"))
    assert seen == {"first": (2, 4), "second.0": (2, 4), "second.1": (2, 4), "": (2, 4)}
    for handle in handles:
        handle.remove()
    seen.clear()
    net(Tensor(np.ones((2, 3)), "float32"))
    assert not seen


def test_containers():
    net = nn.Sequential({"fc": nn.Linear(2, 3), "relu": nn.ReLU()})
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"] and len(net) == 2
    layers = nn.ModuleList([nn.ReLU()]).append(nn.Tanh())
    assert [type(m).__name__ for m in layers] == ["ReLU", "Tanh"]
    x = Tensor([1.0])
    assert nn.Identity()(x) is x


IMAGES = {1: (2, 4, 9), 2: (2, 4, 9, 8), 3: (1, 4, 5, 6, 5)}
LAYERS = [
    ("Linear", (4, 3), {}, (2, 4)),
    ("Linear", (4, 3), dict(bias=False), (2, 5, 4)),
    *[(f"Conv{n}d", (4, 6, 3), dict(padding=1), IMAGES[n]) for n in IMAGES],
    ("Conv2d", (4, 6, (3, 2), 2, (1, 0), (1, 2), 2, False), {}, IMAGES[2]),
    *[(f"ConvTranspose{n}d", (4, 6, 3), dict(stride=2), IMAGES[n]) for n in IMAGES],
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1, 2, False, 2), {}, IMAGES[2]),
    *[(f"BatchNorm{n}d", (4,), {}, IMAGES[n]) for n in IMAGES],
    ("BatchNorm2d", (4, 1e-3, 0.2, False), {}, IMAGES[2]),
    ("LayerNorm", ((9, 8), 1e-3), {}, IMAGES[2]),
    ("LayerNorm", (8,), dict(elementwise_affine=False), IMAGES[2]),
    ("GroupNorm", (2, 4), {}, IMAGES[2]),
    ("GroupNorm", (4, 4, 1e-3, False), {}, IMAGES[2]),
    ("LocalResponseNorm", (3, 0.1, 0.5, 2.0), {}, IMAGES[2]),
    ("ReLU", (), {}, (3, 4)),
    ("LeakyReLU", (0.2,), {}, (3, 4)),
    ("ELU", (0.7,), {}, (3, 4)),
    ("GELU", (), {}, (3, 4)),
    ("GELU", ("tanh",), {}, (3, 4)),
    ("SiLU", (), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Softmax", (1,), {}, (3, 4, 2)),
    *[(f"MaxPool{n}d", (3, 2, 1), {}, IMAGES[n]) for n in IMAGES],
    ("MaxPool2d", (2,), dict(dilation=2, ceil_mode=True), IMAGES[2]),
    *[(f"AvgPool{n}d", (3, 2, 1), {}, IMAGES[n]) for n in IMAGES],
    ("AvgPool2d", ((2, 3),), dict(padding=1, ceil_mode=True, count_include_pad=False), IMAGES[2]),
    ("AdaptiveAvgPool2d", ((4, 3),), {}, IMAGES[2]),
    ("Flatten", (), {}, IMAGES[2]),
    ("Flatten", (2,), {}, IMAGES[2]),
    ("Identity", (), {}, (3, 4)),
]


def twins(name, args, options):
    """The layer in float64 and PyTorch's, with the same random parameters and buffers."""
    ours = getattr(nn, name)(*args, **options).to("float64")
    theirs = getattr(torch.nn, name)(*args, **options).double()
    rng = np.random.default_rng(1)
    state = {k: rng.uniform(0.5, 1.5, v.shape) for k, v in ours.state_dict().items()}
    ours.load_state_dict(state)
    found = theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    assert [k.split(".")[-1] for k in found.missing_keys] in ([], ["num_batches_tracked"])
    return ours, theirs


@pytest.mark.parametrize("name, args, options, shape", LAYERS)
def test_layers_equal_pytorch(rng, name, args, options, shape):
    """Values, gradients of input and parameters, and buffers, in training and evaluation."""
    ours, theirs = twins(name, args, options)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        x = rng.standard_normal(shape)
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, expected = ours(a), theirs(b)
        weights = rng.standard_normal(y.shape)
        named = ours.named_parameters()
        found = grad((y * Tensor(weights)).sum(), [a, *named.values()])
        wanted = {"x": b} | dict(theirs.named_parameters())
        gradients = torch.autograd.grad((expected * torch.tensor(weights)).sum(), wanted.values())
        close(y, expected, "y")
        for key, g, h in zip(wanted, found, gradients, strict=True):
            close(g, h, key)
        for key, buffer in ours.named_buffers().items():
            close(buffer, theirs.get_buffer(key), key)


def close(ours, theirs, what):
    np.testing.assert_allclose(
        ours.numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-10, err_msg=what
    )


def test_embedding_and_global_pooling_equal_pytorch(rng):
    ours, theirs = twins("Embedding", (7, 3), {})
    ids = rng.integers(0, 7, (2, 5))
    close(ours(Tensor(ids)), theirs(torch.tensor(ids)), "rows")
    x = rng.standard_normal(IMAGES[2])
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), 1)
    close(nn.GlobalAvgPool()(Tensor(x)), expected, "means")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_equal_pytorch(rng, reduction):
    x, y, ids = *rng.standard_normal((2, 5, 3)), rng.integers(0, 3, 5)
    for name, target in [
        ("CrossEntropyLoss", ids),
        ("BCEWithLogitsLoss", 1 / (1 + np.exp(-y))),
        ("MSELoss", y),
    ]:
        expected = getattr(torch.nn, name)(reduction=reduction)(*map(torch.tensor, (x, target)))
        close(getattr(nn, name)(reduction)(Tensor(x), Tensor(target)), expected, name)


def test_dropout_drops_in_training_only():
    layer, x = nn.Dropout(0.25, generator=Generator(3)), Tensor(np.ones((100, 100)), "float32")
    y = layer(x).numpy()
    assert abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_allclose(y[y != 0], 1 / 0.75, rtol=1e-6)
    assert layer.eval()(x) is x


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "4 in, 6 out and 3 groups"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "expected kernel_size as an integer or as 2"),
        (lambda: nn.GroupNorm(3, 4), "divide 4 channels; got 3"),
        (lambda: nn.LayerNorm((3, 4))(Tensor([[1.0]])), "x (..., *(3, 4)); got (1, 1)"),
        (lambda: nn.init.gain("cube"), "got 'cube'"),
        (lambda: nn.init.kaiming_normal_(Tensor([[1.0]]), mode="in"), "fan_out; got 'in'"),
        (lambda: nn.init.fans(Tensor([1.0])), "(O, I, *kernel); got (1,)"),
    ],
)
def test_errors_say_what_came_and_how_to_fix_it(make, text):
    with pytest.raises(TrivetError) as e:
        make()
    assert text in str(e.value) and "\n  Fix: " in str(e.value)


SHAPES = [(200, 300), (64, 32, 3, 3), (40, 2, 4, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "name, options",
    [
        ("uniform_", dict(zip("ab", (-2.0, 3.0)))),
        ("normal_", dict(mean=1.0, std=2.0)),
        ("xavier_uniform_", dict(gain=2.0)),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", dict(a=math.sqrt(5))),
        ("kaiming_uniform_", dict(mode="fan_out", nonlinearity="relu")),
        ("kaiming_normal_", dict(mode="fan_out", nonlinearity="relu")),
        ("kaiming_normal_", dict(a=0.1)),
        ("ones_", {}),
        ("zeros_", {}),
    ],
    ids=str,
)
def test_initial_values_are_spread_as_pytorchs(rng, shape, name, options):
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name)(torch.empty(shape), **options).numpy()
    tensor = Tensor(np.full(shape, np.nan, "float32"))
    if name == "uniform_":
        options = dict(low=options["a"], high=options["b"])
    if name.startswith(("ones", "zeros")):
        ours = getattr(nn.init, name)(tensor).numpy()
    else:
        ours = getattr(nn.init, name)(tensor, rng=rng, **options).numpy()
    assert ours.std() == pytest.approx(theirs.std(), rel=0.05)
    assert abs(ours.mean() - theirs.mean()) <= 0.05 * theirs.std()
    if "uniform" in name:
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


@pytest.mark.parametrize(
    "nonlinearity", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_gains_are_pytorchs(nonlinearity):
    assert nn.init.gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)


@pytest.mark.parametrize(
    "name, args",
    [
        ("Linear", (300, 200)),
        ("Conv2d", (16, 32, 5)),
        ("ConvTranspose2d", (32, 16, 5)),
        ("Embedding", (300, 100)),
        ("BatchNorm2d", (3,)),
        ("LayerNorm", (3,)),
    ],
)
def test_layers_start_as_pytorchs_do(name, args):
    nn.init.seed(0)
    torch.manual_seed(0)
    ours = getattr(nn, name)(*args).state_dict()
    for key, value in getattr(torch.nn, name)(*args).state_dict().items():
        if key != "num_batches_tracked":
            assert ours[key].dtype == np.float32 and ours[key].shape == tuple(value.shape)
            wanted = value.double().numpy()
            assert ours[key].std() == pytest.approx(
                wanted.std(), rel=0.3 if value.ndim < 2 else 0.05
            )
            assert np.abs(ours[key]).max() == pytest.approx(np.abs(wanted).max(), rel=0.3)


def test_a_layer_without_inputs_is_its_bias():
    layer = nn.Linear(0, 3)
    y = layer(Tensor(np.zeros((2, 0), "float32"))).numpy()
    np.testing.assert_array_equal(y, [layer.bias.numpy()] * 2)


def test_a_seed_makes_the_same_network_in_every_dtype():
    def made(dtype):
        nn.init.seed(5)
        return nn.Linear(3, 2, dtype=dtype).state_dict()["weight"]

    np.testing.assert_array_equal(made("float32"), made("float32"))
    np.testing.assert_array_equal(made("float64").astype("float32"), made("float32"))


class Classifier(nn.Module):
    def __init__(self):
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.token = nn.Parameter(np.zeros(4, "float32"))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(nn.Flatten()(self.features(x)))


def test_the_summary_counts_what_ran():
    net = Classifier()
    mean = net.state_dict()["features.1.running_mean"]
    found = nn.summary(net, (2, 3, 4, 4))
    rows = {row.name: row for row in found.rows}
    assert rows["features.0"].flops == 2 * (2 * 4 * 4 * 4) * 3 * 9
    assert rows["head"].flops == 2 * 2 * 5 * 16
    assert rows["features.3"].shape == (2, 4, 2, 2)
    assert rows["-"].parameters == 4  # the network's own
    assert found.parameters == sum(p.size for p in net.parameters()) == 112 + 8 + 4 + 85
    assert found.flops == rows["features.0"].flops + rows["head"].flops
    assert str(found).splitlines()[-1].split() == ["total", "209", "7,232"]
    assert net.training and not net.features[0]._callbacks
    np.testing.assert_array_equal(net.state_dict()["features.1.running_mean"], mean)


def test_a_summary_that_fails_leaves_the_network_training():
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    with pytest.raises(TrivetError):
        nn.summary(net, (2, 4))
    assert net.training and net[1].training and not net[0]._callbacks


def test_the_summary_counts_shared_layers_once_and_takes_ids():
    net = nn.Sequential(nn.Embedding(10, 4), *[nn.Linear(4, 4)] * 2)
    found = nn.summary(net, Tensor([[1, 2]]))
    assert [row.parameters for row in found.rows] == [40, 20, 0]
    assert found.flops == 2 * 2 * 2 * 4 * 4


def test_transposed_convolutions_count_by_their_input():
    found = nn.summary(nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5))
    assert found.flops == 2 * (4 * 5 * 5) * 3 * 9


def test_a_network_trains_as_in_pytorch(rng):
    """Fifteen steps of a small convolutional net from the same weights: the same losses."""
    layers = [("Conv2d", 3, 4, 3), ("BatchNorm2d", 4), ("ReLU",), ("MaxPool2d", 2), ("Flatten",)]
    layers += [("Linear", 36, 5)]
    ours = nn.Sequential(*(getattr(nn, name)(*args) for name, *args in layers)).to("float64")
    theirs = torch.nn.Sequential(*(getattr(torch.nn, name)(*args) for name, *args in layers))
    theirs = theirs.double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    mine, other = optim.Adam(ours.parameters(), 0.01), torch.optim.Adam(theirs.parameters(), 0.01)
    for _ in range(15):
        x, ids = rng.standard_normal((4, 3, 8, 8)), rng.integers(0, 5, 4)
        loss = nn.CrossEntropyLoss()(ours(Tensor(x)), Tensor(ids))
        expected = torch.nn.CrossEntropyLoss()(theirs(torch.tensor(x)), torch.tensor(ids))
        for optimizer, value in ((mine, loss), (other, expected)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
