"""Convolution beside PyTorch, beside SciPy, and by every algorithm beside the others."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from legs import REFERENCE
from scipy import signal
from trivet import Tensor, grad, ops, registry
from trivet.errors import OptionError
from trivet.geometry import Convolution, Window
from trivet.reference import conv as kernels
from trivet.reference.windows import scatter, windows
from trivet.tape import compute

CONV = {1: (ops.conv1d, F.conv1d), 2: (ops.conv2d, F.conv2d), 3: (ops.conv3d, F.conv3d)}
TRANSPOSE = {
    1: (ops.conv_transpose1d, F.conv_transpose1d),
    2: (ops.conv_transpose2d, F.conv_transpose2d),
    3: (ops.conv_transpose3d, F.conv_transpose3d),
}
ROUNDING = {"float64": 1e-11, "float32": 2e-4}  # of sums of up to a few hundred normal numbers
many = settings(max_examples=100, deadline=None, derandomize=True)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw):
    """(rank, shape of x, shape of weight, options, seed) of a convolution that fits."""
    rank = draw(st.integers(1, 3))

    def per_axis(values):
        return draw(st.tuples(*[values] * rank))

    kernel, stride = per_axis(st.integers(1, 3)), per_axis(st.integers(1, 3))
    padding, dilation = per_axis(pairs(0, 2)), per_axis(st.integers(1, 2))
    groups, depth, width = (draw(st.integers(1, 3)) for _ in range(3))
    sizes = [
        draw(st.integers(max(1, (k - 1) * d + 1 - sum(p)), 7 - rank + (k - 1) * d))
        for k, d, p in zip(kernel, dilation, padding)
    ]
    x = (draw(st.integers(0, 3)), groups * depth, *sizes)
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    options["flip"] = draw(st.booleans())
    return rank, x, (groups * width, depth, *kernel), options, draw(st.integers(0, 99))


def algorithms(rank, weight, options):
    plain = set(options["stride"]) == set(options["dilation"]) == {1}
    winograd = rank == 2 and weight[2:] == (3, 3) and plain
    return ["auto", "direct", "im2col", "fft", *["winograd"] * winograd]


def ours(function, arrays, gy, **options):
    """Value and gradients; every operand is a view whose elements lie apart."""
    leaves = [Tensor(np.repeat(a, 2, axis=-1))[..., ::2] for a in arrays]
    for t in leaves:
        t.requires_grad = True
    y = function(*leaves, **options)
    return [t.numpy() for t in (y, *grad(y, leaves, gradient=Tensor(gy)))]


def theirs(function, arrays, gy):
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = function(*leaves)
    return [t.detach().numpy() for t in (y, *torch.autograd.grad(y, leaves, torch.tensor(gy)))]


def assert_close(found, expected, rounding):
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding * scale)


def torch_conv(rank, options):
    """PyTorch's convolution, given what it lacks: padding by pairs, and flipped filters."""
    rest = {name: options[name] for name in ("stride", "dilation", "groups")}
    pads = [p for pair in reversed(options["padding"]) for p in pair]  # the last axis first

    def function(x, weight, bias):
        weight = weight.flip(*range(2, rank + 2)) if options["flip"] else weight
        return CONV[rank][1](F.pad(x, pads), weight, bias, **rest)

    return function


@pytest.mark.parametrize("dtype", ROUNDING)
@many
@given(case=convolutions())
def test_value_and_gradients_are_pytorchs(dtype, case):
    rank, x, weight, options, seed = case
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s).astype(dtype) for s in (x, weight, weight[:1])]
    sliding = (options[name] for name in ("stride", "padding", "dilation"))
    window = Window.of("", x[2:], weight[2:], *sliding)
    gy = rng.standard_normal((x[0], weight[0], *window.out_size)).astype(dtype)
    expected = theirs(torch_conv(rank, options), arrays, gy)
    for algo in algorithms(rank, weight, options):
        found = ours(CONV[rank][0], arrays, gy, algo=algo, **options)
        assert_close(found, expected, ROUNDING[dtype])


@st.composite
def transposed(draw):
    rank = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * rank))

    kernel, stride, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(1, 3)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    sizes = per_axis(1, 6 - rank)
    axes = zip(sizes, stride, dilation, kernel, extra)
    uncut = [(n - 1) * s + d * (k - 1) + 1 + e for n, s, d, k, e in axes]
    padding = tuple(draw(st.integers(0, min(2, (n - 1) // 2))) for n in uncut)
    groups, depth, width = (draw(st.integers(1, 3)) for _ in range(3))
    x, weight = (draw(st.integers(0, 2)), groups * depth, *sizes), (groups * depth, width, *kernel)
    options = dict(stride=stride, padding=padding, output_padding=extra, groups=groups)
    return rank, x, weight, dict(options, dilation=dilation), draw(st.integers(0, 99))


@pytest.mark.parametrize("dtype", ROUNDING)
@many
@given(case=transposed())
def test_transposed_value_and_gradients_are_pytorchs(dtype, case):
    rank, x, weight, options, seed = case
    rng = np.random.default_rng(seed)
    bias = (weight[1] * options["groups"],)
    arrays = [rng.standard_normal(s).astype(dtype) for s in (x, weight, bias)]
    mine, reference = TRANSPOSE[rank]
    gy = rng.standard_normal(mine(*map(Tensor, arrays), **options).shape).astype(dtype)
    expected = theirs(lambda *leaves: reference(*leaves, **options), arrays, gy)
    assert_close(ours(mine, arrays, gy, **options), expected, ROUNDING[dtype])


def test_transposed_padding_by_pairs_cuts_the_output(rng):
    x, weight = Tensor(rng.standard_normal((2, 3, 5))), Tensor(rng.standard_normal((3, 2, 4)))
    whole = ops.conv_transpose1d(x, weight, stride=2).numpy()
    cut = ops.conv_transpose1d(x, weight, stride=2, padding=[(1, 3)]).numpy()
    np.testing.assert_allclose(cut, whole[..., 1:-3], rtol=1e-13)


@many
@given(case=convolutions())
def test_second_derivatives_agree_between_algorithms_and_with_pytorch(case):
    rank, x, weight, options, seed = case
    assume(x[0])  # of nothing, PyTorch has no second derivative
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s) for s in (x, weight, weight[:1])]

    def seconds(loss, leaves, grad):
        gx, gw, _ = grad(loss, leaves, create_graph=True)
        return grad((gx * gx).sum() + (gw * gw * gw).sum(), leaves[:2])

    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    loss = (torch_conv(rank, options)(*leaves) ** 2).sum()
    expected = [g.numpy() for g in seconds(loss, leaves, torch.autograd.grad)]
    for algo in algorithms(rank, weight, options)[1:]:
        leaves = [Tensor(a, requires_grad=True) for a in arrays]
        y = CONV[rank][0](*leaves, algo=algo, **options)
        found = [g.numpy() for g in seconds((y * y).sum(), leaves, grad)]
        assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("algo", Convolution.ALGOS)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 3)])
def test_the_algorithms_agree_where_all_can(algo, groups, size, rng):
    arrays = [rng.standard_normal(s) for s in ((3, 6, *size), (12, 6 // groups, 3, 3))]
    gy = rng.standard_normal((3, 12, size[0] + 2, size[1] - 1))
    options = dict(padding=[(1, 3), (0, 1)], groups=groups)
    expected = ours(ops.conv2d, arrays, gy, algo="direct", **options)
    assert_close(ours(ops.conv2d, arrays, gy, algo=algo, **options), expected, 1e-13)


@pytest.mark.parametrize("algo", ["direct", "im2col", "fft", "winograd"])
def test_float32_stays_near_float64(algo, rng, monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", REFERENCE)  # whose algorithms these are
    x, weight = rng.standard_normal((2, 64, 12, 12)), rng.standard_normal((16, 64, 3, 3))
    exact = ops.conv2d(Tensor(x), Tensor(weight), algo="direct").numpy()
    y = ops.conv2d(Tensor(x, "float32"), Tensor(weight, "float32"), algo=algo).numpy()
    typical = np.sqrt(64 * 9)  # standard deviation of a sum of so many products
    assert y.dtype == np.float32
    assert np.abs(y - exact).max() < 64 * np.finfo(np.float32).eps * typical


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_flip_is_the_convolution_of_mathematics(rank, rng):
    x, weight = rng.standard_normal((7, 6, 5)[:rank]), rng.standard_normal((3, 2, 4)[:rank])
    function = CONV[rank][0]
    y = function(Tensor(x[None, None]), Tensor(weight[None, None]), flip=True).numpy()[0, 0]
    np.testing.assert_allclose(y, signal.convolve(x, weight, "valid"), rtol=1e-12, atol=1e-12)
    y = function(Tensor(x[None, None]), Tensor(weight[None, None])).numpy()[0, 0]
    np.testing.assert_allclose(y, signal.correlate(x, weight, "valid"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algo", ["direct", "im2col"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_a_special_number_reaches_exactly_the_pixels_that_meet_it(algo, special, rng):
    x, weight = rng.standard_normal((2, 2, 6, 6)), rng.standard_normal((3, 2, 3, 3))
    x[0, 1, 2, 2] = special
    y = ops.conv2d(Tensor(x), Tensor(weight), padding=1, algo=algo).numpy()
    expected = F.conv2d(torch.tensor(x), torch.tensor(weight), padding=1).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algo", Convolution.ALGOS)
def test_an_empty_batch_has_a_zero_weight_gradient(algo):
    x, weight = Tensor(np.zeros((0, 2, 5, 5))), Tensor(np.ones((3, 2, 3, 3)), requires_grad=True)
    y = ops.conv2d(x, weight, algo=algo)
    (gw,) = grad(y.sum(), [weight])
    assert y.shape == (0, 3, 3, 3)
    assert not gw.numpy().any()


@pytest.mark.parametrize("algo", Convolution.ALGOS)
def test_a_batch_in_parts_gives_the_same(algo, rng, monkeypatch):
    arrays = rng.standard_normal((7, 4, 6, 6)), rng.standard_normal((5, 4, 3, 3))
    gy = rng.standard_normal((7, 5, 4, 4))
    whole = ours(ops.conv2d, arrays, gy, algo=algo)
    monkeypatch.setattr(kernels, "CHUNK", 3 * 5 * 9 * 16 * 8)  # columns of three images
    assert_close(ours(ops.conv2d, arrays, gy, algo=algo), whole, 1e-13)


def test_memory_of_the_columns_is_bounded(rng, monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", 2**20)
    x, weight = (
        Tensor(rng.standard_normal((64, 8, 16, 16))),
        Tensor(rng.standard_normal((8, 8, 3, 3))),
    )
    tracemalloc.start()
    ops.conv2d(x, weight, padding=1)  # all columns would take 9 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20  # y, 1 MB, among them


def test_flops_are_those_of_the_papers():
    """ResNet-50's first layer has 118 million products, MobileNet's first depthwise 3.6."""
    first = Convolution(Window.of("", (224, 224), (7, 7), 2, 3))
    assert first.flops(1, 3, 64) == 2 * 118_013_952
    depthwise = Convolution(Window.of("", (112, 112), (3, 3), 1, 1), groups=32)
    assert depthwise.flops(2, 32, 32) == 2 * 2 * 3_612_672


@pytest.mark.parametrize("fill", [0.0, -np.inf])
def test_windows_are_what_each_cell_meets(fill, rng):
    window = Window.of("", (5, 4), (2, 3), (2, 1), [(0, 1), (2, 1)], (2, 1))
    x = rng.standard_normal((2, 3, 5, 4))
    padded = np.pad(x, [(0, 0), (0, 0), *window.padding], constant_values=fill)
    seen = windows(x, window, fill)
    assert seen.shape == (2, 3, *window.out_size, 2, 3)
    for p, q, i, j in np.ndindex(*seen.shape[2:]):
        np.testing.assert_array_equal(seen[..., p, q, i, j], padded[..., 2 * p + 2 * i, q + j])


def test_scatter_is_the_transpose_of_windows(rng):
    window = Window.of("", (5, 4, 3), (2, 3, 1), (2, 1, 2), [(0, 1), (2, 1), (1, 1)], (2, 1, 1))
    x = rng.standard_normal((2, 3, 5, 4, 3))
    seen, gx = windows(x, window), np.full_like(x, np.nan)
    g = rng.standard_normal(seen.shape)
    scatter(gx, window, lambda cell: g[..., *cell])
    assert (g * seen).sum() == pytest.approx((gx * x).sum(), rel=1e-12)


def test_only_the_gradients_that_are_asked_for_are_computed(rng, monkeypatch):
    names = []
    monkeypatch.setattr(
        "trivet.ops.conv.compute",
        lambda name, *a, **options: names.append(name) or compute(name, *a, **options),
    )
    weight = Tensor(rng.standard_normal((2, 2, 3, 3)), requires_grad=True)
    y = ops.conv2d(Tensor(rng.standard_normal((1, 2, 4, 4))), weight)
    y.sum().backward()
    assert names == ["conv", "conv_grad_weight"]


@pytest.mark.parametrize("wanted", [(0, 1, 2), (1, 2), (2,), (0, 2), (0, 1)])
def test_each_gradient_is_the_same_whatever_else_is_asked_for(wanted, rng):
    arrays = [rng.standard_normal(s) for s in ((2, 4, 5, 6), (6, 2, 3, 3), (6,))]
    gy = Tensor(rng.standard_normal((2, 6, 3, 4)))
    leaves = [Tensor(a, requires_grad=i in wanted) for i, a in enumerate(arrays)]
    y = ops.conv2d(*leaves, groups=2)
    found = grad(y, [leaves[i] for i in wanted], gradient=gy)
    expected = theirs(lambda *a: F.conv2d(*a, groups=2), arrays, gy.numpy())[1:]
    assert_close([g.numpy() for g in found], [expected[i] for i in wanted], 1e-12)


def test_filters_and_bias_get_their_gradients_from_one_launch(rng, monkeypatch):
    names = []
    monkeypatch.setattr(
        "trivet.ops.conv.compute",
        lambda name, *a, **options: names.append(name) or compute(name, *a, **options),
    )
    weight, bias = (Tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 2, 3), (2,)))
    ops.conv1d(Tensor(rng.standard_normal((1, 2, 4))), weight, bias).sum().backward()
    assert names == ["conv", "conv_grad_weight"]
    np.testing.assert_allclose(bias.grad.numpy(), [2, 2], rtol=1e-15)


@pytest.mark.parametrize("of", [(1,), (2,), (1, 2)])
def test_second_derivatives_through_the_gradients_of_filters_and_bias(of, rng):
    """Of the gradient of either alone, and of both."""
    arrays = [rng.standard_normal(s) for s in ((2, 3, 5, 4), (2, 3, 3, 2), (2,))]

    def seconds(loss, leaves, grad):
        first = grad(loss, [leaves[i] for i in of], create_graph=True)
        return grad(sum((g * g * g).sum() for g in first), leaves)

    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    loss = (F.conv2d(*leaves) ** 3).sum()
    expected = [g.numpy() for g in seconds(loss, leaves, torch.autograd.grad)]
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    y = ops.conv2d(*leaves)
    found = [g.numpy() for g in seconds((y * y * y).sum(), leaves, grad)]
    assert_close(found, expected, 1e-9)


def test_options_are_integers_of_any_kind_and_nothing_else():
    assert Window.of("conv", (8,), (2,), np.int64(2), [(np.int64(1), 0)]).out_size == (4,)
    for wrong in ({"stride": 2.0}, {"padding": 1.0}, {"padding": [(0.5, 1)]}, {"dilation": None}):
        with pytest.raises(OptionError, match=f"conv: expected {next(iter(wrong))} as"):
            Window.of("conv", (8,), (2,), **wrong)
    with pytest.raises(OptionError, match=r"2 \(before, after\); got \[1, \(0, 0\)\]"):
        Window.of("conv", (8, 8), (2, 2), padding=[1, (0, 0)])
