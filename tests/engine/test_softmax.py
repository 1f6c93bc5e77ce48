"""Softmax and log-softmax beside PyTorch's: values, gradients, infinities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops
from trivet.ops.softmax import safe_softmax

BOUND = {"float64": 1e-13, "float32": 2e-6}
names = st.sampled_from(["softmax", "log_softmax"])
nan, inf = np.nan, np.inf


def of(x, dtype, turned=False):
    """A leaf; turned: a view whose elements lie in the opposite order of axes."""
    t = Tensor(x.T.copy(), dtype).permute(*reversed(range(x.ndim))) if turned else Tensor(x, dtype)
    t.requires_grad = True
    return t


def beside_torch(name, x, axis, dtype, turned=False):
    """Asserts that value, gradient and differentiable gradient agree; returns the value."""
    ours = of(x, dtype, turned)
    theirs = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
    gy = np.random.default_rng(1).standard_normal(x.shape)
    y, ty = getattr(ops, name)(ours, axis=axis), getattr(torch, name)(theirs, axis)
    (gx,) = grad(y, [ours], gradient=Tensor(gy, dtype), keep_graph=True)
    (again,) = grad(y, [ours], gradient=Tensor(gy, dtype), create_graph=True)
    (tgx,) = torch.autograd.grad(ty, theirs, torch.tensor(gy, dtype=theirs.dtype))
    for a, b in [(y, ty.detach()), (gx, tgx), (again, tgx)]:
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=10 * BOUND[dtype], atol=BOUND[dtype])
    return y.numpy()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    names,
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.integers(0, 3),
    st.sampled_from(list(BOUND)),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape_and_axis(name, shape, axis, dtype, turned, seed):
    x = 3 * np.random.default_rng(seed).standard_normal(shape)
    beside_torch(name, x, axis % len(shape) - len(shape) * (seed % 2), dtype, turned)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    "row",
    [[1e4, -1e4, 0.0], [nan, 1.0, 2.0], [inf, 1.0, 2.0], [-inf, 1.0, 2.0], [-inf] * 3, [inf, -inf]],
)
def test_large_and_infinite_entries(name, row):
    beside_torch(name, np.array([row, range(len(row))]), -1, "float64")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(names, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_second_derivatives(name, rows, columns, seed):
    x, v, w = np.random.default_rng(seed).standard_normal((3, rows, columns))
    ours, theirs = of(x, "float64"), torch.tensor(x, requires_grad=True)
    (gx,) = grad(getattr(ops, name)(ours, axis=0), [ours], gradient=Tensor(v), create_graph=True)
    ty = getattr(torch, name)(theirs, 0)
    (tgx,) = torch.autograd.grad(ty, theirs, torch.tensor(v), create_graph=True)
    (a,) = grad((gx * Tensor(w)).sum(), [ours])
    (b,) = torch.autograd.grad((tgx * torch.tensor(w)).sum(), theirs)
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-12)


def test_rows_add_up_to_one_in_16_bits():
    y = ops.softmax(Tensor(np.zeros((1, 1000)), "bfloat16"))
    assert y.dtype == "bfloat16"
    np.testing.assert_allclose(y.numpy().astype("float64").sum(), 1, rtol=4e-3)


def test_safe_softmax_is_zero_where_a_row_is_all_minus_infinity():
    x = of(np.array([[-inf, -inf], [0.0, -inf], [nan, -inf]]), "float64")
    y = safe_softmax(x)
    np.testing.assert_array_equal(y.numpy(), [[0, 0], [1, 0], [nan, nan]])
    (gx,) = grad(y, [x], gradient=Tensor(np.ones((3, 2))))
    np.testing.assert_array_equal(gx.numpy(), [[0, 0], [0, 0], [nan, nan]])
