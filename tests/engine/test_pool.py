"""Pooling beside PyTorch on the CPU, and the conventions at ties, NaN and the padding."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, no_grad, ops
from trivet.errors import OptionError, ShapeError
from trivet.launch import Trace, sending_to

TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
randomised = settings(max_examples=150, deadline=None, derandomize=True)
dtypes = st.sampled_from(sorted(TOLERANCE))


@st.composite
def images(draw, special=True):
    """Images (N, C, *size): plain or strided, with or without ties, NaN and inf."""
    axes = draw(st.integers(1, 3))
    size = [draw(st.integers(1, (12, 7, 5)[axes - 1])) for _ in range(axes)]
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["distinct", "ties", "special"][: 2 + special]))
    x = rng.standard_normal(shape) if kind == "distinct" else rng.integers(-2, 3, shape) / 1.0
    if kind == "special":
        x[rng.random(shape) < 0.2] = np.nan
        x[rng.random(shape) < 0.2] = -np.inf
    return x, draw(st.booleans())


def agree(x, strided, dtype, ours, theirs, exact=False):
    """Value and gradient of both, on the same numbers and the same cotangent."""
    a = Tensor(np.repeat(x, 2, -1), dtype)[..., ::2] if strided else Tensor(x, dtype)
    a.requires_grad = True
    b = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
    try:
        expected = theirs(b)
    except RuntimeError:  # PyTorch pads by half the window at most
        assume(False)
    y = ours(a)
    gy = np.random.default_rng(1).standard_normal(tuple(expected.shape)).astype(dtype)
    expected.backward(torch.from_numpy(gy))
    (gx,) = grad(y, [a], gradient=Tensor(gy))
    assert (y.dtype, gx.dtype) == (dtype, dtype)
    tolerance = 0 if exact else TOLERANCE[dtype]
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), tolerance, tolerance)
    tolerance = TOLERANCE[dtype]  # of sums where windows overlap
    np.testing.assert_allclose(gx.numpy(), b.grad.numpy(), tolerance, tolerance)


def per_axis(draw, n, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(n))


@st.composite
def windows(draw, axes):
    kernel = per_axis(draw, axes, 1, 4)
    stride = draw(st.sampled_from([None, 1, 2, 3]))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return kernel, dict(stride=stride, padding=padding, ceil=draw(st.booleans()))


def named(options):
    """The options as PyTorch calls them."""
    names = dict(ceil="ceil_mode", count_padding="count_include_pad")
    return {names.get(name, name): value for name, value in options.items()}


@randomised
@given(images(), dtypes, st.data())
def test_max_pool_is_pytorchs(image, dtype, data):
    x, strided = image
    axes = x.ndim - 2
    kernel, options = data.draw(windows(axes))
    options["dilation"] = dilation = data.draw(st.sampled_from([1, 2]))
    if dilation == 2:  # windows that step over an image of one pixel are refused
        assume(1 not in x.shape[2:] or not any(options["padding"]))
    ours, theirs = getattr(ops, f"max_pool{axes}d"), getattr(F, f"max_pool{axes}d")
    agree(
        x, strided, dtype,
        lambda a: ours(a, kernel, **options),
        lambda b: theirs(b, kernel, **named(options)),
        exact=True,
    )  # fmt: skip


@randomised
@given(images(), dtypes, st.data())
def test_avg_pool_is_pytorchs(image, dtype, data):
    x, strided = image
    axes = x.ndim - 2
    kernel, options = data.draw(windows(axes))
    options["count_padding"] = data.draw(st.booleans())
    ours, theirs = getattr(ops, f"avg_pool{axes}d"), getattr(F, f"avg_pool{axes}d")
    agree(
        x, strided, dtype,
        lambda a: ours(a, kernel, **options),
        lambda b: theirs(b, kernel, **named(options)),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["max", "avg"])
@randomised
@given(image=images(), dtype=dtypes, data=st.data())
def test_adaptive_pool_is_pytorchs(kind, image, dtype, data):
    x, strided = image
    axes = x.ndim - 2
    out = per_axis(data.draw, axes, 1, 8)
    name = f"adaptive_{kind}_pool{axes}d"
    ours, theirs = getattr(ops, name), getattr(F, name)
    agree(x, strided, dtype, lambda a: ours(a, out), lambda b: theirs(b, out), kind == "max")


@settings(randomised, max_examples=50)
@given(images(special=False), dtypes)
def test_global_pools_are_a_mean_and_a_maximum(image, dtype):
    x, strided = image
    axes = tuple(range(2, x.ndim))
    agree(x, strided, dtype, ops.global_avg_pool, lambda b: b.mean(axes, keepdim=True))
    y = ops.global_max_pool(Tensor(x, dtype)).numpy()
    assert np.array_equal(y, x.astype(dtype).max(axes, keepdims=True))


@settings(randomised, max_examples=60)
@given(images(special=False), st.data())
def test_uneven_padding_is_a_padded_image(image, data):
    x, strided = image
    axes = x.ndim - 2
    kernel = per_axis(data.draw, axes, 2, 3)
    padding = tuple(per_axis(data.draw, 2, 0, k - 1) for k in kernel)
    assume(all(n + sum(p) >= k for n, p, k in zip(x.shape[2:], padding, kernel)))
    frame = [width for pair in reversed(padding) for width in pair]
    largest, mean = (getattr(F, f"{kind}_pool{axes}d") for kind in ("max", "avg"))

    def share(b):
        return mean(F.pad(b, frame), kernel, 1)

    for kind, options, theirs in [
        ("max", {}, lambda b: largest(F.pad(b, frame, value=-torch.inf), kernel, 1)),
        ("avg", {}, share),
        ("avg", {"count_padding": False}, lambda b: share(b) / share(torch.ones_like(b))),
    ]:
        pool = getattr(ops, f"{kind}_pool{axes}d")
        ours = partial(pool, kernel=kernel, stride=1, padding=padding, **options)
        agree(x, strided, "float64", ours, theirs)


def winner(row):
    """Which pixel of one window gets the gradient."""
    x = Tensor([[row]], requires_grad=True)
    y = ops.max_pool1d(x, len(row))
    return grad(y.sum(), [x])[0].numpy()[0, 0].tolist()


def test_of_equal_maxima_the_first_gets_the_gradient():
    assert winner([1.0, 2.0, 2.0]) == [0, 1, 0]
    assert winner([-np.inf, -np.inf]) == [1, 0]
    x = Tensor(np.array([[0.0, 5, 1], [5, 5, 0]])[None, None], requires_grad=True)
    (gx,) = grad(ops.max_pool2d(x, (2, 3)).sum(), [x])
    assert gx.numpy()[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]


def test_the_last_nan_wins():
    assert winner([np.nan, 1.0, np.nan, np.inf]) == [0, 0, 1, 0]


def test_padding_is_never_the_maximum_even_of_minus_infinities():
    x = Tensor(np.full((1, 1, 3), -np.inf), requires_grad=True)
    y = ops.max_pool1d(x, 3, stride=2, padding=1)
    (gx,) = grad(y, [x], gradient=Tensor([[[1.0, 10.0]]], "float64"))
    assert np.isneginf(y.numpy()).all() and gx.numpy().tolist() == [[[1, 10, 0]]]


def test_what_ceil_adds_does_not_count_but_the_padding_does():
    x = Tensor(np.ones((1, 1, 4)))
    y = ops.avg_pool1d(x, 3, stride=3, padding=1, ceil=True)
    assert y.numpy()[0, 0] == pytest.approx([2 / 3, 2 / 3])
    y = ops.avg_pool1d(x, 3, stride=2, ceil=True)
    assert y.numpy()[0, 0] == pytest.approx([1, 1])


def test_infinite_gradients_stay_at_the_winners():
    x = Tensor([[[1.0, 2.0, 3.0, 0.0]]], requires_grad=True)
    (gx,) = grad(ops.max_pool1d(x, 2), [x], gradient=Tensor([[[np.inf, np.nan]]], "float32"))
    np.testing.assert_array_equal(gx.numpy(), [[[0, np.inf, np.nan, 0]]])


def calls(function, *args):
    """The kernels that a function launches, each with the number of its results."""
    with sending_to(trace := Trace()):
        function(*args)
    return [(note.call.name, len(note.outs)) for note in trace.notes]


def test_the_index_is_made_only_where_a_gradient_may_be_asked_for():
    x = Tensor(np.ones((1, 1, 4)), requires_grad=True)
    assert calls(ops.max_pool1d, x, 2) == [("max_pool", 2)]
    assert calls(ops.max_pool1d, x.detach(), 2) == [("max_pool", 1)]
    with no_grad():
        assert calls(ops.max_pool1d, x, 2) == [("max_pool", 1)]


def test_adaptive_pooling_is_a_sliding_window_where_the_sizes_divide():
    x = Tensor(np.ones((1, 1, 6)))
    assert calls(ops.adaptive_avg_pool1d, x, 3) == [("avg_pool", 1)]
    assert calls(ops.adaptive_avg_pool1d, x, 4) == [("adaptive_avg_pool", 1)]
    assert calls(ops.global_max_pool, x) == [("max_pool", 1)]


def test_padding_wider_than_half_the_window_is_fine_while_each_window_sees_a_pixel():
    x = Tensor([[[1.0, 2.0]]])
    assert ops.max_pool1d(x, 3, stride=1, padding=2).numpy().tolist() == [[[1, 2, 2, 2]]]
    with pytest.raises(ShapeError, match=r"padding \(3, 3\) around 2 pixels and a window of 3"):
        ops.max_pool1d(x, 3, padding=3)
    with pytest.raises(ShapeError, match="wholly in the padding"):
        ops.max_pool1d(x[..., :1], 2, padding=2, dilation=3)  # cells at -2 and 1, around the pixel
    with pytest.raises(OptionError, match="expected padding as an integer or as 1"):
        ops.max_pool1d(x, 3, padding=(1, 1))
