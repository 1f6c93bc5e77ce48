"""Elementwise ops against PyTorch over random shapes and layouts, and at their special values."""

import math
from operator import ge, gt, le, lt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops

CLOSE = {"float64": 1e-12, "float32": 2e-5}
NAN, INF = math.nan, math.inf
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 1e-30, 50.0, -50.0])

UNARY = {  # name: PyTorch's function, options, whether it asks for positive numbers
    "exp": (torch.exp, {}, False),
    "log": (torch.log, {}, True),
    "sqrt": (torch.sqrt, {}, True),
    "reciprocal": (torch.reciprocal, {}, True),
    "sin": (torch.sin, {}, False),
    "cos": (torch.cos, {}, False),
    "tanh": (torch.tanh, {}, False),
    "erf": (torch.erf, {}, False),
    "abs": (torch.abs, {}, False),
    "neg": (torch.neg, {}, False),
    "floor": (torch.floor, {}, False),
    "ceil": (torch.ceil, {}, False),
    "round": (torch.round, {}, False),
    "sign": (torch.sign, {}, False),
    "clip": (lambda x: x.clamp(-1, 0.5), dict(low=-1, high=0.5), False),
    "relu": (F.relu, {}, False),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), dict(negative_slope=0.2), False),
    "elu": (lambda x: F.elu(x, 0.7), dict(alpha=0.7), False),
    "sigmoid": (torch.sigmoid, {}, False),
    "softplus": (lambda x: F.softplus(x, threshold=800), {}, False),
    "silu": (F.silu, {}, False),
    "gelu": (F.gelu, {}, False),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), dict(approximate="tanh"), False),
    "cube": (lambda x: x**3, {}, False),
    "power": (lambda x: x**-1.7, {}, True),
}
unary = pytest.mark.parametrize("name", UNARY)


def function(name):
    named = {
        "cube": lambda x: x**3,
        "power": lambda x: x**-1.7,
        "gelu_tanh": lambda x: ops.gelu(x, approximate="tanh"),
    }
    return named.get(name) or (lambda x: getattr(ops, name)(x, **UNARY[name][1]))


def laid(a, layout, dtype):
    """A leaf with the values of a, and the Tensor under test: the leaf or a view of it."""
    if layout == "plain" or not a.ndim:
        leaf = Tensor(a, dtype, requires_grad=True)
        return leaf, leaf
    if layout == "transposed":
        leaf = Tensor(a.swapaxes(0, -1), dtype, requires_grad=True)
        return leaf, leaf.transpose(0, -1)
    leaf = Tensor(np.repeat(a, 2, -1)[..., ::-1], dtype, requires_grad=True)
    return leaf, leaf[..., ::-2]


def restored(g, layout):
    """The gradient of a leaf as laid by ``laid``, in the order of the Tensor under test."""
    if layout == "plain" or not g.ndim:
        return g
    return g.swapaxes(0, -1) if layout == "transposed" else g[..., ::-2]


def assert_like_torch(ours, theirs, arrays, layout="plain", dtype="float64"):
    """Value, and gradients for an uneven cotangent."""
    leaves, xs = zip(*(laid(a, layout, dtype) for a in arrays))
    ts = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(*ts)
    gy = np.random.default_rng(5).uniform(0.5, 1.5, y.shape).astype(dtype)
    gradients = grad(y, leaves, gradient=Tensor(gy))
    assert (y.shape, y.dtype) == (tuple(t.shape), dtype)
    pairs = [(y.numpy(), t.detach().numpy())]
    expected = torch.autograd.grad(t, ts, torch.tensor(gy))
    pairs += [(restored(g.numpy(), layout), e.numpy()) for g, e in zip(gradients, expected)]
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=CLOSE[dtype], atol=CLOSE[dtype])


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
layouts = st.sampled_from(["plain", "transposed", "reversed"])
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(sorted(CLOSE))


@unary
@settings(max_examples=40, deadline=None, derandomize=True)
@given(shape=shapes, layout=layouts, dtype=dtypes, seed=seeds)
def test_one_operand(name, shape, layout, dtype, seed):
    rng = np.random.default_rng(seed)
    x = np.asarray(rng.uniform(0.3, 4, shape) if UNARY[name][2] else 3 * rng.standard_normal(shape))
    assert_like_torch(function(name), UNARY[name][0], [x], layout, dtype)


@unary
def test_nan_and_inf_and_tails(name):
    y = function(name)(Tensor(SPECIAL)).numpy()
    expected = UNARY[name][0](torch.tensor(SPECIAL)).numpy()
    if name == "sign":  # where PyTorch has 0
        expected[0] = NAN
    np.testing.assert_allclose(y, expected, rtol=1e-13)


@st.composite
def broadcasting(draw, count):
    """Shapes that broadcast: a common one with axes dropped in front or set to 1."""
    common = draw(st.lists(st.integers(0, 3), max_size=3))
    found = []
    for _ in range(count):
        shape = [draw(st.sampled_from([1, n])) for n in common]
        found.append(tuple(shape[draw(st.integers(0, len(shape))) :]))
    return found


BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(pair=broadcasting(2), layout=layouts, dtype=dtypes, seed=seeds)
def test_two_operands(name, pair, layout, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.uniform(0.5, 2, shape)) for shape in pair)
    if name != "pow":
        a, b = (np.asarray(v * rng.choice([-1, 1], v.shape)) for v in (a, b))
    assert_like_torch(getattr(ops, name), BINARY[name], [a, b], layout, dtype)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(three=broadcasting(3), layout=layouts, dtype=dtypes, seed=seeds)
def test_where(three, layout, dtype, seed):
    rng = np.random.default_rng(seed)
    chosen = np.asarray(rng.standard_normal(three[0]) > 0)
    arrays = [np.asarray(rng.standard_normal(shape)) for shape in three[1:]]
    condition, theirs = Tensor(chosen), torch.tensor(chosen)
    assert_like_torch(
        lambda a, b: ops.where(condition, a, b),
        lambda a, b: torch.where(theirs, a, b),
        arrays,
        layout,
        dtype,
    )


COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]


@pytest.mark.parametrize("name", COMPARISONS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    pair=broadcasting(2),
    dtype=st.sampled_from(["float64", "float16", "bfloat16", "int32", "uint8"]),
    seed=seeds,
)
def test_comparisons(name, pair, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 3, shape) for shape in pair)
    y = getattr(ops, name)(*(Tensor(v.astype(dtype)) for v in (a, b)))
    assert y.dtype == "bool"
    np.testing.assert_array_equal(y.numpy(), getattr(np, name)(a, b))


@pytest.mark.parametrize("name", COMPARISONS)
def test_nan_compares_as_in_ieee(name):
    x = np.array([NAN, INF, -INF, 0.0, -0.0])
    y = getattr(ops, name)(Tensor(x[:, None]), Tensor(x)).numpy()
    np.testing.assert_array_equal(y, getattr(np, name)(x[:, None], x))


@pytest.mark.parametrize("operator", [lt, le, gt, ge])
def test_operators_compare_with_numbers_on_either_side(operator):
    x = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_array_equal(operator(Tensor(x), 0).numpy(), operator(x, 0))
    np.testing.assert_array_equal(operator(0.0, Tensor(x)).numpy(), operator(0.0, x))


def test_double_equals_compares_identity_so_tensors_can_be_keys():
    a, b = Tensor([1.0]), Tensor([1.0])
    assert a == a and a != b and {a: 1, b: 2}[b] == 2


def test_comparisons_carry_no_gradient():
    x = Tensor([1.0, -1.0], requires_grad=True)
    assert not (x > 0).requires_grad and not ops.equal(x, x).requires_grad


@pytest.mark.parametrize("name", ["logical_and", "logical_or"])
def test_logic(name):
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    y = getattr(ops, name)(Tensor(a[:, None]), Tensor(b)).numpy()
    np.testing.assert_array_equal(y, getattr(np, name)(a[:, None], b))
    np.testing.assert_array_equal(ops.logical_not(Tensor(a)).numpy(), ~a)


def slopes(f, *values, dtype="float64"):
    xs = [Tensor([v], dtype, requires_grad=True) for v in values]
    return [g.item() for g in grad(f(*xs).sum(), xs)]


def test_slopes_at_kinks_are_those_that_are_stated():
    assert slopes(ops.relu, 0.0) == [0]
    assert slopes(ops.abs, 0.0) == [0]
    assert slopes(lambda x: ops.leaky_relu(x, negative_slope=0.3), 0.0) == [0.3]
    assert slopes(lambda x: ops.elu(x, alpha=0.7), 0.0) == [0.7]
    assert slopes(lambda x: ops.clip(x, 0, 1), 0.0) == slopes(lambda x: ops.clip(x, 0, 1), 1.0)
    assert slopes(lambda x: ops.clip(x, 0, 1), 1.0) == [1]
    assert slopes(lambda x: ops.clip(x, 0, 1), 1.5) == [0]
    assert slopes(ops.round, 0.7) == slopes(ops.sign, 0.0) == [0]
    for extreme in (ops.maximum, ops.minimum):
        assert slopes(extreme, 2.0, 2.0) == [0.5, 0.5]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_wins_and_takes_the_gradient(name):
    a, b = np.array([NAN, 1.0, NAN, INF]), np.array([1.0, NAN, NAN, -INF])
    np.testing.assert_array_equal(
        getattr(ops, name)(Tensor(a), Tensor(b)).numpy(), getattr(np, name)(a, b)
    )
    assert slopes(getattr(ops, name), NAN, 1.0) == [1, 0]
    assert slopes(getattr(ops, name), 1.0, NAN) == [0, 1]


@pytest.mark.parametrize("f", [ops.relu, ops.leaky_relu, ops.elu, lambda x: ops.clip(x, 0, 1)])
def test_an_infinite_cotangent_is_no_nan_where_the_slope_is_zero(f):
    x = Tensor([-1.0, 0.5], requires_grad=True)
    (g,) = grad(f(x), [x], gradient=Tensor([INF, INF]))
    assert not np.isnan(g.numpy()).any()


@pytest.mark.parametrize("base, exponent", [(0, 0), (0, 1), (0, 2), (0, 0.5), (0, -1), (-2, 3)])
def test_powers_of_zero_and_of_negative_numbers(base, exponent):
    found = slopes(ops.pow, float(base), float(exponent))
    xs = [
        torch.tensor([float(v)], dtype=torch.float64, requires_grad=True) for v in (base, exponent)
    ]
    expected = [g.item() for g in torch.autograd.grad(torch.pow(*xs).sum(), xs)]
    np.testing.assert_allclose(found, expected)
    alone = slopes(lambda x: x**exponent, float(base))
    np.testing.assert_allclose(alone, expected[:1])


def test_the_second_derivative_of_a_square_at_zero():
    x = Tensor([0.0], requires_grad=True)
    (g,) = grad((x**2).sum(), [x], create_graph=True)
    assert grad(g.sum(), [x])[0].item() == 2


def test_erf_to_the_last_bits():
    x = np.concatenate([np.linspace(-7, 7, 2001), 10.0 ** np.arange(-12, 0)])
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_array_max_ulp(ops.erf(Tensor(x)).numpy(), expected, 4)
    np.testing.assert_array_max_ulp(
        ops.erf(Tensor(x, "float32")).numpy(),
        np.array([math.erf(v) for v in x.astype("float32")], "float32"),
        1,
    )


def test_gelu_keeps_its_left_tail():
    x = np.linspace(-37, -2, 200)
    expected = [0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x]
    np.testing.assert_allclose(ops.gelu(Tensor(x)).numpy(), expected, rtol=1e-12)


def test_sigmoid_and_softplus_keep_their_tails():
    x = Tensor([-700.0, 700.0], "float64")
    np.testing.assert_allclose(ops.sigmoid(x).numpy(), [math.exp(-700), 1], rtol=1e-13)
    np.testing.assert_allclose(ops.softplus(x).numpy(), [math.exp(-700), 700], rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@unary
def test_16_bits_are_computed_in_float32(name, dtype):
    x = Tensor(np.linspace(0.3, 3, 20), dtype)
    y = function(name)(x)
    wide = function(name)(x.to("float32"))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), wide.to(dtype).numpy())


def test_operators_and_methods_are_the_ops():
    x = Tensor([1.0, 4.0], "float64")
    same = np.testing.assert_array_equal
    same((-x).numpy(), [-1, -4])
    same((x**2).numpy(), [1, 16])
    same((2**x).numpy(), [2, 16])
    same(abs(-x).numpy(), [1, 4])
    same(x.sqrt().clip(high=1.5).numpy(), [1, 1.5])
    same(x.maximum(2).minimum(3.0).numpy(), [2, 3])
    same(x.leaky_relu(negative_slope=0.5).numpy(), [1, 4])
