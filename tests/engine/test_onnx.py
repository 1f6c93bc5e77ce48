"""ONNX models: the published cases, real models, training beside PyTorch, what is refused."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_nodes
import pytest
import torch
from onnx import TensorProto, numpy_helper, parser
from onnx_models import build, normal, outputs
from trivet import Tensor, capture, nn, ops, seed, zoo
from trivet.dtypes import is_float
from trivet.errors import DtypeError, FormatError, OptionError, ShapeError
from trivet.formats.onnx import load, reading

DATA = Path(os.environ.get("ROSETTA_DATA", ""))
needs_data = pytest.mark.skipif(
    "ROSETTA_DATA" not in os.environ, reason="needs ROSETTA_DATA with models/onnx"
)


# ---- the published cases


@cache
def cases():
    return onnx_nodes.published()


@cache
def found():
    return onnx_nodes.outcomes(cases())


@pytest.mark.slow
def test_no_published_case_fails():
    failed = [f"{o.name}: {o.reason}" for o in found() if o.status == "failed"]
    assert not failed, "\n".join(failed)
    assert sum(o.status == "passed" for o in found()) > 1200


@pytest.mark.slow
def test_the_documented_tables_are_current():
    text = onnx_nodes.PAGE.read_text()
    if f"cases of onnx {onnx.__version__}:" not in text:
        pytest.skip("docs/onnx.md was made with another version of onnx")
    assert text == onnx_nodes.page(onnx_nodes.tables(found())), (
        "run: python tests/engine/onnx_nodes.py"
    )


@pytest.mark.slow
def test_gradients_of_the_published_cases_against_central_differences():
    """In float64, along one random direction, at inputs moved off ties and kinks."""
    left_out = {"Cast", "CastLike", "CausalConvWithState"}  # round to a narrow float on the way
    left_out |= {"Dropout"}  # draws
    passed = {o.name for o in found() if o.status == "passed" and o.operator not in left_out}
    wrong, right = [], 0
    for case in cases():
        if case.name in passed and "_expanded" not in case.name:
            try:
                slopes = directional_slopes(case)
            except DtypeError:  # a node names float32
                continue
            if slopes is not None:
                analytic, numeric = slopes
                good = abs(analytic - numeric) <= 1e-5 * max(1, abs(numeric))
                right += good
                wrong += [] if good else [f"{case.name}: {analytic} but {numeric}"]
    assert not wrong, "\n".join(wrong)
    assert right > 500


def directional_slopes(case):
    """(by the tape, by central differences), or None where none is finite or none flows."""
    net, rng = load(case.model).to("float64"), np.random.default_rng(0)
    inputs = [onnx_nodes.array(v) for v in case.data_sets[0][0]]
    inputs = [x + rng.uniform(0.01, 0.1, x.shape) if is_float(x.dtype.name) else x for x in inputs]
    xs = [Tensor(x, requires_grad=is_float(x.dtype.name)) for x in inputs]
    moving = [y.requires_grad for y in outputs(net, xs)]
    ys = [y for y in outputs(net, xs) if y.requires_grad]
    if not ys or not all(np.isfinite(y.numpy()).all() for y in ys):
        return None
    weights = [rng.standard_normal(y.shape) for y in ys]
    sum((ops.sum(y * Tensor(w)) for y, w in zip(ys, weights)), Tensor(0.0, "float64")).backward()
    steps = [0 * x if t.grad is None else rng.standard_normal(x.shape) for x, t in zip(inputs, xs)]
    analytic = sum((t.grad.numpy() * v).sum() for t, v in zip(xs, steps) if t.grad is not None)

    def value(h):
        moved = [
            Tensor(x + h * v if t.grad is not None else x) for x, v, t in zip(inputs, steps, xs)
        ]
        ys = [y for y, moves in zip(outputs(net, moved), moving) if moves]
        return sum((y.numpy() * w).sum() for y, w in zip(ys, weights))

    return analytic, (value(1e-6) - value(-1e-6)) / 2e-6


# ---- real models


MODELS = [
    "conv2d_small_keras",
    "light_densenet121",
    "light_resnet50",
    "light_squeezenet",
    "three_layer_bn_pytorch",
]
CASES = [
    "test_AvgPool2d",
    "test_BatchNorm2d_eval",
    "test_Conv2d",
    "test_Conv2d_depthwise",
    "test_Conv2d_strided",
    "test_Embedding",
    "test_Linear",
    "test_MaxPool2d",
    "test_ReLU",
    "test_softmax_lastdim",
]


@needs_data
@pytest.mark.parametrize("name", MODELS)
def test_shared_models_agree_with_their_references(name):
    folder = DATA / "models/onnx"
    net, reference = load(folder / f"{name}.onnx"), np.load(folder / f"{name}.ref.npz")
    ys = outputs(net, [Tensor(reference[f"in:{key}"]) for key in net.inputs])
    for key, y in zip(net.outputs, ys, strict=True):
        np.testing.assert_allclose(y.numpy(), reference[f"out:{key}"], 1e-5, 1e-6)


@needs_data
@pytest.mark.parametrize("name", CASES)
def test_shared_cases_agree_with_their_references(name):
    folder = DATA / "models/onnx" / name
    x, y = (
        numpy_helper.to_array(
            TensorProto.FromString((folder / "test_data_set_0" / file).read_bytes())
        )
        for file in ("input_0.pb", "output_0.pb")
    )
    net = load(folder / "model.onnx")
    np.testing.assert_allclose(net(Tensor(x)).numpy(), y, 1e-5, 1e-6)


@needs_data
def test_a_model_with_operators_of_its_own_is_refused():
    path = DATA / "models/onnx/unsupported_custom_ops/separable_conv_model_ch_last.onnx"
    with pytest.raises(FormatError, match=r"(?s)'Quant_0' \(Quant, opset 1\): .*'qonnx.*Fix: "):
        load(path)


@needs_data
def test_squeezenet_from_onnx_is_the_one_of_the_zoo(rng):
    folder = DATA / "weights/squeezenet1_0"
    ours = zoo.squeezenet1_0().eval()
    ours.load_state_dict(np.load(folder / "squeezenet1_0-deepcomp.npz"))
    theirs = load(folder / "squeezenet1_0-deepcomp.onnx")
    assert sum(p.size for p in theirs.parameters()) == 1248424
    x = Tensor(normal(rng, 1, 3, 224, 224))
    np.testing.assert_allclose(theirs(x).numpy(), ours(x).numpy(), 1e-4, 1e-4)


# ---- parameters and modes


def test_weights_of_any_name_are_found_and_constants_are_none():
    net = build(
        "a = Mul (x, _1) b = Mul (a, training) c = Mul (b, forward) "
        "d = Clip (c, low, high) y = Reshape (d, shape)",
        {
            "_1": np.float32([2]),
            "training": np.float32([3]),
            "forward": np.float32([1]),
            "low": np.float32(-1),
            "high": np.float32(100),
            "shape": np.array([3, 1]),
        },
    )
    assert list(net.named_parameters()) == ["_1", "training", "forward"]
    assert net(Tensor([1.0, 2.0, 3.0])).numpy().ravel().tolist() == [6.0, 12.0, 18.0]
    net.load_state_dict({k: np.float32([1]) for k in net.state_dict()})
    assert nn.Sequential(net).state_dict().keys() == {"0._1", "0.training", "0.forward"}
    assert net(Tensor([1.0, 2.0, 3.0])).numpy().ravel().tolist() == [1.0, 2.0, 3.0]


def test_a_network_can_be_converted():
    net = build("c = Constant <value = float[1] {0.5}> () a = Add (x, c) y = Mul (a, w)",
                {"w": np.float32([3])}).to("float64")  # fmt: skip
    y = net(Tensor([1.5], "float64"))
    assert (y.dtype, y.item()) == ("float64", 6.0)


def test_dropout_and_batch_norm_follow_the_mode():
    body = "a = Dropout (x, half) y = BatchNormalization <momentum = 0.5> (a, w, b, mean, var)"
    ones, zeros = np.ones(1, "float32"), np.zeros(1, "float32")
    net = build(body, {"half": np.float32(0.5), "w": ones, "b": zeros, "mean": zeros, "var": ones})
    x = Tensor([[1.0], [2.0], [3.0], [4.0]])
    assert not net.training
    np.testing.assert_allclose(net(x).numpy(), x.numpy(), 1e-4)
    assert list(net.named_buffers()) == ["mean", "var"]
    seed(0)
    y = net.train()(x).numpy()
    assert abs(y.mean()) < 1e-6
    assert net.named_buffers()["mean"].item() == pytest.approx(0.5 * 2 * _kept(x).mean())


def _kept(x):
    """What the first draw of seed 0 leaves of x."""
    seed(0)
    return ops.dropout(x, 0.5).numpy() / 2


# ---- old opsets, where attributes were what inputs are now

X = np.arange(6, dtype="float32").reshape(1, 2, 3) - 2
IMAGE = np.arange(4, dtype="float32").reshape(1, 1, 2, 2)
OLD = [
    (1, "y = Squeeze <axes = [0]> (x)", X, X[0]),
    (1, "y = Unsqueeze <axes = [0, 4]> (x)", X, X[None, ..., None]),
    (1, "y = ReduceSum <axes = [1], keepdims = 0> (x)", X, X.sum(1)),
    (1, "y = Reshape <shape = [0, -1]> (x)", X, X.reshape(1, 6)),
    (1, "y = Slice <axes = [2], starts = [-2], ends = [9]> (x)", X, X[..., 1:]),
    (1, "y = Pad <paddings = [0, 0, 1, 0, 0, 0], value = 7.0> (x)", X,
     np.pad(X, [(0, 0), (0, 0), (1, 0)], constant_values=7)),
    (2, 'y = Pad <pads = [0, 0, 1, 0, 0, 1], mode = "edge"> (x)', X,
     np.pad(X, [(0, 0), (0, 0), (1, 1)], mode="edge")),
    (2, "a, y = Split <axis = 2, split = [1, 2]> (x)", X, X[..., 1:]),
    (6, "y = Clip <min = -1.0, max = 1.0> (x)", X, X.clip(-1, 1)),
    (6, "y = Dropout <ratio = 0.5, is_test = 1> (x)", X, X),
    (6, "y = Add <broadcast = 1, axis = 1> (x, two)", X, X + np.float32([[10], [20]])),
    (6, "y = Mul <broadcast = 1> (x, three)", X, X * np.float32([1, 2, 3])),
    (6, "y = Gemm <broadcast = 1> (m, m, two)", X, np.float32([[17, 30], [25, 42]])),
    (6, "y = PRelu (x, two)", X, np.where(X > 0, X, X * np.float32([[10], [20]]))),
    (6, "y = Tile (x, repeats)", X, np.tile(X, (1, 2, 1))),
    (7, "y = BatchNormalization <epsilon = 0.0> (x, two, two, two, four)", X,
     (X - [[10], [20]]) / [[2], [4]] * [[10], [20]] + [[10], [20]]),
    (7, 'y = Upsample <scales = [1.0, 1.0, 2.0, 1.0], mode = "nearest"> (x)', IMAGE,
     IMAGE.repeat(2, 2)),
    (10, 'y = Resize <mode = "nearest"> (x, scales)', IMAGE, IMAGE.repeat(2, 3)),
    (11, "y = Softmax (x)", X, np.exp(X) / np.exp(X).sum()),
    (11, "y = LogSoftmax (x)", X, X - np.log(np.exp(X).sum())),
    (12, "y = ReduceMax <axes = [0, 1]> (x)", X, X.max((0, 1), keepdims=True)),
]  # fmt: skip


@pytest.mark.parametrize("opset, body, x, expected", OLD, ids=lambda v: v if type(v) is str else "")
def test_old_opsets(opset, body, x, expected):
    weights = {
        "two": np.float32([10, 20]),
        "three": np.float32([1, 2, 3]),
        "four": np.float32([4, 16]),
        "m": np.float32([[1, 2], [3, 4]]),
        "repeats": np.array([1, 2, 1]),
        "scales": np.float32([1, 1, 1, 2]),
    }
    used = {k: v for k, v in weights.items() if k in body.replace("scales =", "")}
    y = build(body, used, opset=opset)(Tensor(x))
    np.testing.assert_allclose(y.numpy(), expected, 1e-5, 1e-5)


# ---- what else the published cases leave out


def test_same_padding_agrees_with_torch(rng):
    x, w = normal(rng, 2, 3, 7, 6), normal(rng, 4, 3, 5, 2)
    net = build('y = Conv <auto_pad = "SAME_UPPER", dilations = [1, 2]> (x, w)', {"w": w})
    same = torch.nn.functional.conv2d(
        torch.tensor(x), torch.tensor(w), padding="same", dilation=(1, 2)
    )
    np.testing.assert_allclose(net(Tensor(x)).numpy(), same.numpy(), 1e-4, 1e-4)


@pytest.mark.parametrize("corners", [False, True])
def test_resize_agrees_with_torch(rng, corners):
    x, mode = normal(rng, 2, 3, 4, 5), "align_corners" if corners else "half_pixel"
    net = build(
        f'y = Resize <mode = "linear", coordinate_transformation_mode = "{mode}"> '
        '(x, "", "", sizes)',
        {"sizes": np.array([2, 3, 7, 3])},
    )
    theirs = torch.nn.functional.interpolate(
        torch.tensor(x), (7, 3), mode="bilinear", align_corners=corners
    )
    np.testing.assert_allclose(net(Tensor(x)).numpy(), theirs.numpy(), 1e-5, 1e-5)


def test_values_that_depend_on_shapes_alone_are_captured(rng):
    net = build(
        "s = Shape <start = -1> (x) f = Cast <to = 1> (s) r = Sqrt (f) "
        "a = Div (x, r) y = Mul (a, w)",
        {"w": np.float32([3])},
    )
    step = capture(net)
    for _ in range(4):
        x = normal(rng, 2, 4)
        np.testing.assert_allclose(step(Tensor(x)).numpy(), x / 2 * 3, 1e-6)


def test_an_operator_made_of_others_is_written_out(rng):
    x = normal(rng, 2, 8)
    net = build("y = MeanVarianceNormalization <axes = [1]> (x)")
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(net(Tensor(x)).numpy(), expected, 1e-4, 1e-5)


def test_functions_of_the_model_are_written_out():
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "own": 1]>
        net (float[N] x) => (float[N] y) { y = own.twice (x) }
        <domain: "own", opset_import: ["": 17]> twice (a) => (b) { b = Add (a, a) }"""
    )
    assert load(proto)(Tensor([3.0])).item() == 6.0


# ---- refusals, most of them when the model is loaded

REFUSED = [
    ("y = TopK (x, x)", r"'TopK_0' \(TopK, opset 17\): expected an operator that the engine has"),
    ("y = Elu <beta = 1.0> (x)", "expected attributes out of: alpha, consumed_inputs; got beta"),
    ('y = Resize <mode = "cubic"> (x)', "expected mode out of 'nearest', 'linear'; got 'cubic'"),
    ("y, i = MaxPool <kernel_shape = [2]> (x)", "expected at most 1 outputs; got 2"),
    ("y = Add (x, z) z = Relu (x)", "expected inputs that an earlier node makes; got z"),
    ("y = Relu (x, x)", "expected at most 1 inputs; got 2"),
    ("y = MaxPool (x)", "expected attributes kernel_shape; got none"),
    ("y = Cast <to = 8> (x)", "expected a dtype out of .* got string"),
    ('y = GRU <activations = ["Relu", "Tanh"]> (x, x, x)', r"activations out of .* got \('Relu'"),
    (
        "y = AveragePool <kernel_shape = [2], dilations = [2]> (x)",
        r"dilations out of .* got \(2,\)",
    ),
]


@pytest.mark.parametrize("body, text", REFUSED)
def test_refusals_at_load(body, text):
    with pytest.raises(FormatError, match=f"(?s){text}.*Fix: "):
        build(body)


def test_refusals_of_files_and_types(tmp_path, monkeypatch):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(FormatError, match="that cannot be read as one"):
        load(tmp_path / "bad.onnx")
    with pytest.raises(FormatError, match="with opsets and outputs; got none"):
        load(tmp_path / "empty.onnx")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.onnx")
    with pytest.raises(FormatError, match=r"initialiser 'w': expected a dtype out of .* got int8"):
        build("y = Add (x, w)", {"w": np.int8([1])})
    monkeypatch.setattr(reading, "onnx", None)
    with pytest.raises(FormatError, match=r"(?s)not installed.*pip install 'trivet\[onnx\]'"):
        load(tmp_path / "bad.onnx")


def test_refusals_when_it_runs():
    net = build("y = MatMul (x, w)", {"w": np.eye(3, dtype="float32")})
    with pytest.raises(OptionError, match=r"expected 1 inputs \(x\); got 2"):
        net(Tensor([1.0]), Tensor([1.0]))
    with pytest.raises(DtypeError, match="expected input 'x' as a Tensor of float32; got int64"):
        net(Tensor([1]))
    with pytest.raises(ShapeError) as error:
        net(Tensor([[1.0, 2.0]]))
    assert error.value.__notes__ == ["in ONNX node 'MatMul_0' (MatMul, opset 17)"]
