"""Embedding, take, take_along and one_hot beside PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops

BOUND = {"float64": 1e-13, "float32": 1e-5}
dtypes = st.sampled_from(list(BOUND))
kinds = st.sampled_from(["int32", "int64"])
shapes = st.lists(st.integers(0, 4), max_size=3)
seeds = st.integers(0, 99)


def turn(x):
    """The same numbers as a view whose elements lie in the opposite order of axes."""
    return Tensor(x.T.copy()).permute(*reversed(range(x.ndim))) if x.ndim else Tensor(x)


def beside_torch(function, reference, x, ids, turned):
    """Asserts that value, gradient and the gradient of the gradient agree."""
    make = turn if turned else Tensor
    ours, theirs = make(x), torch.tensor(x, requires_grad=True)
    ours.requires_grad = True
    y, ty = function(ours, make(ids)), reference(theirs, torch.tensor(ids).long())
    np.testing.assert_array_equal(y.numpy(), ty.detach().numpy())
    gy = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    v = np.random.default_rng(2).standard_normal(x.shape).astype(x.dtype)
    upstream = Tensor(gy, requires_grad=True)
    (gx,) = grad(y, [ours], gradient=upstream, create_graph=True)
    (tgx,) = torch.autograd.grad(ty, theirs, torch.tensor(gy))
    bound = BOUND[x.dtype.name]
    np.testing.assert_allclose(gx.numpy(), tgx.numpy(), rtol=bound, atol=bound)
    (ggy,) = grad(gx, [upstream], gradient=Tensor(v))
    np.testing.assert_array_equal(ggy.numpy(), reference(torch.tensor(v), torch.tensor(ids).long()))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 7), st.integers(0, 4), dtypes, kinds, st.booleans(), seeds)
def test_embedding(shape, rows, columns, dtype, kind, turned, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, columns)).astype(dtype)
    ids = np.asarray(rng.integers(0, rows, shape)).astype(kind)
    beside_torch(
        lambda w, ids: ops.embedding(ids, w),
        lambda w, ids: F.embedding(ids, w),
        weight, ids, turned,
    )  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    shapes, st.integers(0, 2), dtypes, kinds, st.booleans(), seeds,
)  # fmt: skip
def test_take(shape, ids_shape, axis, dtype, kind, turned, seed):
    rng, axis = np.random.default_rng(seed), axis % len(shape)
    shape[axis] += 1
    x = rng.standard_normal(shape).astype(dtype)
    ids = np.asarray(rng.integers(0, shape[axis], ids_shape)).astype(kind)

    def reference(x, ids):
        return x[(slice(None),) * axis + (ids,)]

    beside_torch(lambda x, ids: ops.take(x, ids, axis=axis), reference, x, ids, turned)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.integers(0, 5), st.integers(0, 2), dtypes, kinds, st.booleans(), seeds,
)  # fmt: skip
def test_take_along(shape, count, axis, dtype, kind, turned, seed):
    rng, axis = np.random.default_rng(seed), axis % len(shape)
    shape[axis] += 1
    x = rng.standard_normal(shape).astype(dtype)
    ids = rng.integers(0, shape[axis], (*shape[:axis], count, *shape[axis + 1 :])).astype(kind)
    beside_torch(
        lambda x, ids: ops.take_along(x, ids, axis=axis),
        lambda x, ids: torch.gather(x, axis, ids),
        x, ids, turned,
    )  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 5), seeds)
def test_one_hot(shape, classes, seed):
    ids = np.asarray(np.random.default_rng(seed).integers(0, classes, shape))
    expected = F.one_hot(torch.tensor(ids), classes).numpy()
    np.testing.assert_array_equal(ops.one_hot(Tensor(ids), classes, "int64").numpy(), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_stay_in_their_rows(bad):
    weight = Tensor([[bad], [1.0], [2.0]], "float64", requires_grad=True)
    y = ops.embedding(Tensor([1, 0, 1, 2]), weight)
    np.testing.assert_array_equal(y.numpy(), [[1], [bad], [1], [2]])
    (gw,) = grad(y, [weight], gradient=Tensor([[bad], [3.0], [1.0], [5.0]], "float64"))
    np.testing.assert_array_equal(gw.numpy(), [[3], [bad], [5]])


def test_an_empty_table_takes_no_ids():
    none, weight = np.zeros((2, 0), "int64"), Tensor(np.zeros((0, 3)))
    assert ops.embedding(Tensor(none), weight).shape == (2, 0, 3)
    assert ops.take(weight, Tensor(none)).shape == (2, 0, 3)


def test_the_gradient_of_a_repeated_id_is_the_same_each_time(rng):
    ids, weight = Tensor(rng.integers(0, 3, 1000)), Tensor(np.zeros((3, 4)), "float32")
    weight.requires_grad = True
    gy = Tensor(rng.standard_normal((1000, 4)), "float32")
    first, second = (
        grad(ops.embedding(ids, weight), [weight], gradient=gy)[0].numpy() for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()
