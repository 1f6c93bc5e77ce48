"""Reductions against PyTorch over random shapes, axes and layouts, and at their special values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops
from trivet.errors import ShapeError

CLOSE = {"float64": 1e-12, "float32": 2e-5}
NAN, INF = math.nan, math.inf


@st.composite
def problems(draw):
    """(x, axes or None) with sizes 0 and 1 among them."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=4)))
    axes = None
    if shape and draw(st.booleans()):
        axes = st.integers(-len(shape), len(shape) - 1)
        several = st.lists(axes, min_size=1, unique_by=lambda a: a % len(shape)).map(tuple)
        axes = draw(axes | several)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.asarray(rng.standard_normal(shape)), axes


def axes_of(x, axes):
    """The axes as a tuple counted from the front."""
    every = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    return tuple(a % x.ndim for a in every)


def count(x, axes):
    return math.prod(x.shape[a] for a in axes_of(x, axes))


def assert_like_torch(ours, theirs, x, dtype, strided):
    """Value, and the gradient for an uneven cotangent."""
    step = 2 if strided and x.ndim else 1
    leaf = Tensor(np.repeat(x, step, -1) if x.ndim else x, dtype, requires_grad=True)
    t = torch.tensor(x.astype(dtype), requires_grad=True)
    y, expected = ours(leaf[..., ::step] if x.ndim else leaf), theirs(t)
    gy = np.random.default_rng(5).uniform(0.5, 1.5, y.shape).astype(dtype)
    (g,) = grad(y, [leaf], gradient=Tensor(gy))
    (gt,) = torch.autograd.grad(expected, [t], torch.tensor(gy))
    assert (y.shape, y.dtype) == (tuple(expected.shape), dtype)
    close = dict(rtol=CLOSE[dtype], atol=CLOSE[dtype])
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), **close)
    np.testing.assert_allclose(g.numpy()[..., ::step] if x.ndim else g.numpy(), gt.numpy(), **close)


def over(function):
    """A PyTorch reduction that takes a tuple of axes; without axes the value itself."""

    def reduce(t, axes, keepdims):
        return function(t, dim=axes, keepdim=keepdims) if axes else function(t[None], dim=0)

    return reduce


def torch_prod(t, axes, keepdims):
    for a in sorted(axes):
        t = t.prod(a, keepdim=True)
    return t if keepdims else t.reshape([n for i, n in enumerate(t.shape) if i not in axes])


REDUCTIONS = {
    "sum": over(torch.sum),
    "mean": over(torch.mean),
    "logsumexp": over(torch.logsumexp),
    "max": over(torch.amax),
    "min": over(torch.amin),
    "prod": torch_prod,
}
run = settings(max_examples=80, deadline=None, derandomize=True)
dtypes = st.sampled_from(sorted(CLOSE))


@pytest.mark.parametrize("name", REDUCTIONS)
@run
@given(problem=problems(), keepdims=st.booleans(), dtype=dtypes, strided=st.booleans())
def test_reductions(name, problem, keepdims, dtype, strided):
    x, axis = problem
    assume(count(x, axis) or name in ("sum", "prod"))
    assert_like_torch(
        lambda x: getattr(ops, name)(x, axis=axis, keepdims=keepdims),
        lambda t: REDUCTIONS[name](t, axes_of(x, axis), keepdims),
        x,
        dtype,
        strided,
    )


@run
@given(
    problem=problems(),
    keepdims=st.booleans(),
    correction=st.integers(0, 2),
    dtype=dtypes,
    strided=st.booleans(),
)
def test_var(problem, keepdims, correction, dtype, strided):
    x, axis = problem
    assume(x.size and count(x, axis) > correction)  # PyTorch warns of the others
    assert_like_torch(
        lambda x: ops.var(x, axis=axis, keepdims=keepdims, correction=correction),
        lambda t: over(lambda t, **at: torch.var(t, **at, correction=correction))(
            t, axes_of(x, axis), keepdims
        ),
        x,
        dtype,
        strided,
    )


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@run
@given(problem=problems(), keepdims=st.booleans(), integers=st.booleans())
def test_positions(name, problem, keepdims, integers):
    x, axis = problem
    axis = axis[0] if isinstance(axis, tuple) else axis
    assume(count(x, axis))
    x = x.round().astype("int64") if integers else x  # with ties
    y = getattr(ops, name)(Tensor(x), axis=axis, keepdims=keepdims)
    assert y.dtype == "int64"
    np.testing.assert_array_equal(y.numpy(), getattr(np, name)(x, axis=axis, keepdims=keepdims))


@run
@given(problem=problems(), dtype=dtypes, strided=st.booleans())
def test_cumsum(problem, dtype, strided):
    x, axis = problem
    assume(isinstance(axis, int))
    assert_like_torch(
        lambda x: ops.cumsum(x, axis=axis), lambda t: t.cumsum(axis), x, dtype, strided
    )


@run
@given(problem=problems(), zeros=st.integers(0, 3))
def test_the_gradient_of_a_product_with_zeros(problem, zeros):
    x, axis = problem
    x = x.copy()
    x.reshape(-1)[:zeros] = 0
    assert_like_torch(
        lambda x: ops.prod(x, axis=axis),
        lambda t: torch_prod(t, axes_of(x, axis), False),
        x,
        "float64",
        False,
    )


def gradient(f, x):
    t = Tensor(x, "float64", requires_grad=True)
    return grad(f(t).sum(), [t])[0].numpy().tolist()


def test_of_several_largest_the_first_gets_the_gradient():
    x = [[1.0, 3.0, 3.0], [3.0, 1.0, 0.0]]
    assert gradient(lambda x: x.max(), x) == [[0, 1, 0], [0, 0, 0]]
    assert gradient(lambda x: x.max(axis=1), x) == [[0, 1, 0], [1, 0, 0]]
    assert gradient(lambda x: -(-x).min(axis=(1, 0)), x) == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", [*REDUCTIONS, "var"])
def test_nan_spreads_over_its_own_row_only(name):
    x = np.array([[1.0, NAN, 2.0], [1.0, 2.0, 3.0]])
    y = getattr(ops, name)(Tensor(x), axis=1).numpy()
    assert np.isnan(y[0]) and np.isfinite(y[1])


def test_nan_is_the_extreme_and_gets_the_gradient():
    x = [1.0, NAN, 5.0, NAN]
    assert ops.argmax(Tensor(x)).item() == ops.argmin(Tensor(x)).item() == 1
    assert gradient(ops.max, x) == [0, 1, 0, 0]


def test_infinities():
    x = Tensor([[INF, 1.0], [-INF, 1.0], [-INF, -INF], [INF, -INF]], "float64")
    np.testing.assert_array_equal(x.logsumexp(axis=1).numpy(), [INF, 1, -INF, INF])
    np.testing.assert_array_equal(x.max(axis=1).numpy(), [INF, 1, -INF, INF])
    np.testing.assert_array_equal(x.sum(axis=1).numpy(), [INF, -INF, -INF, NAN])
    np.testing.assert_array_equal(x.mean(axis=1).numpy(), [INF, -INF, -INF, NAN])


def test_logsumexp_does_not_overflow():
    x = np.array([[1000.0, 1001.0], [-1000.0, -1001.0]])
    expected = [1001 + math.log1p(math.exp(-1)), -1000 + math.log1p(math.exp(-1))]
    np.testing.assert_allclose(ops.logsumexp(Tensor(x), axis=1).numpy(), expected, rtol=1e-15)


def test_of_nothing():
    x = Tensor(np.zeros((2, 0)))
    assert x.sum(axis=1).numpy().tolist() == [0, 0]
    assert x.prod(axis=1).numpy().tolist() == [1, 1]
    assert x.logsumexp(axis=1).numpy().tolist() == [-INF, -INF]
    assert np.isnan(x.mean(axis=1).numpy()).all() and np.isnan(x.var(axis=1).numpy()).all()
    assert np.isnan(Tensor([2.0]).var(correction=1).numpy())
    with pytest.raises(ShapeError, match=r"max: expected at least one element; got \(2, 0\)"):
        x.max(axis=1)


def test_variance_of_close_large_numbers():
    x = 1e8 + np.array([4.0, 7.0, 13.0, 16.0])
    assert ops.var(Tensor(x)).item() == 22.5
    assert ops.var(Tensor(x), correction=1).item() == 30


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_reduced_in_float32(dtype):
    assert Tensor(np.full(4096, 60.0), dtype).mean().item() == 60  # the sum exceeds float16
    assert Tensor([300.0, 300.0, 2**-10, 2**-10], dtype).prod().item() == pytest.approx(
        300 * 300 / 2**20, rel=1e-2
    )
    x = Tensor(np.full(300, 1.0), dtype).cumsum(axis=0)
    assert x[-1].item() == 300


def test_integers_keep_their_dtype():
    x = Tensor(np.arange(1, 7, dtype="int32").reshape(2, 3))
    for name, expected in [("sum", 21), ("prod", 720), ("max", 6), ("min", 1)]:
        y = getattr(x, name)()
        assert (y.dtype, y.item()) == ("int32", expected)
    assert x.cumsum(axis=1).numpy().tolist() == [[1, 3, 6], [4, 9, 15]]
