"""Losses beside PyTorch's, and what they do at the edges."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops
from trivet.errors import IdError

BOUND = {"float64": 1e-13, "float32": 4e-6}
dtypes = st.sampled_from(list(BOUND))
reductions = st.sampled_from(["mean", "sum", "none"])
POINTWISE = ["mse_loss", "l1_loss", "binary_cross_entropy_with_logits"]


def turn(x):
    """The same numbers as a view whose elements lie in the opposite order of axes."""
    return Tensor(x.T.copy(), x.dtype.name).permute(*reversed(range(x.ndim)))


def beside_torch(name, x, target, reduction, turned=False):
    """Asserts that value and gradients agree: by x, and by the target if it holds floats."""
    make = turn if turned and x.ndim else Tensor
    ours, theirs = [make(x), make(target)], [torch.tensor(x), torch.tensor(target)]
    count = 2 if target.dtype.kind == "f" else 1
    for t in (*ours[:count], *theirs[:count]):
        t.requires_grad = True
    if count == 1:
        theirs[1] = theirs[1].long()
    y = getattr(ops, name)(*ours, reduction=reduction)
    ty = getattr(F, name)(*theirs, reduction=reduction)
    gy = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    upstream = Tensor(gy)
    found = grad(y, ours[:count], gradient=upstream, keep_graph=True)
    found += grad(y, ours[:1], gradient=upstream, keep_graph=True)  # by the fused kernel
    found += grad(y, ours[:1], gradient=upstream, create_graph=True)  # in recorded ops
    expected = torch.autograd.grad(ty, theirs[:count], torch.tensor(gy))
    bound = BOUND[x.dtype.name]
    for a, b in zip([y, *found], [ty.detach(), *expected, *expected[:1] * 2], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=10 * bound, atol=bound)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(0, 5),
    st.integers(1, 6),
    st.lists(st.integers(0, 3), max_size=3),
    reductions,
    dtypes,
    st.sampled_from(["int32", "int64"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_cross_entropy(n, classes, rest, reduction, dtype, ids, turned, seed):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((n, classes, *rest)).astype(dtype)
    target = rng.integers(0, classes, (n, *rest)).astype(ids)
    beside_torch("cross_entropy", logits, target, reduction, turned)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.sampled_from(POINTWISE),
    st.lists(st.integers(0, 4), max_size=3),
    reductions,
    dtypes,
    st.booleans(),
    st.integers(0, 99),
)
def test_pointwise_losses(name, shape, reduction, dtype, turned, seed):
    rng = np.random.default_rng(seed)
    x = np.asarray(3 * rng.standard_normal(shape)).astype(dtype)
    target = np.asarray(rng.random(shape)).astype(dtype)
    beside_torch(name, x, target, reduction, turned)


@pytest.mark.parametrize("x", [-1000.0, -40.0, 0.0, 40.0, 1000.0, np.nan])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy_of_large_logits(x, target):
    x, target = np.array([x]), np.array([target])
    beside_torch("binary_cross_entropy_with_logits", x, target, "sum")


@pytest.mark.parametrize("row", [[1e4, -1e4], [np.nan, 0], [np.inf, 0], [-np.inf, 0]])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_cross_entropy_of_large_and_infinite_logits(row, reduction):
    logits = np.array([row, [0.0, 1.0]])
    for target in ([0, 0], [1, 1]):
        beside_torch("cross_entropy", logits, np.array(target), reduction)


@pytest.mark.parametrize("name", POINTWISE[:2])
def test_nan_and_inf_differences(name):
    x = Tensor([np.nan, np.inf, 1.0, 5.0], "float64", requires_grad=True)
    y = getattr(ops, name)(x, Tensor([0.0, 0.0, np.nan, 5.0], "float64"), reduction="none")
    np.testing.assert_array_equal(y.numpy(), [np.nan, np.inf, np.nan, 0])
    (gx,) = grad(y, [x], gradient=Tensor(np.ones(4)))
    slope = np.inf if name == "mse_loss" else 1  # torch: 0 for the sign of nan
    np.testing.assert_array_equal(gx.numpy(), [np.nan, slope, np.nan, 0])


def test_the_mean_of_many_16_bit_losses_does_not_overflow():
    x = Tensor(np.full(100_000, 3.0), "float16", requires_grad=True)
    y = ops.mse_loss(x, Tensor(np.zeros(100_000), "float16"))
    assert (y.dtype, y.item()) == ("float16", 9.0)


def test_an_id_outside_the_classes_is_named_with_its_place():
    target = np.zeros((2, 3), "int64")
    target[1, 2] = -100  # PyTorch would ignore it
    with pytest.raises(IdError) as e:
        ops.cross_entropy(Tensor(np.zeros((2, 4, 3))), Tensor(target))
    assert str(e.value) == (
        "cross_entropy: expected ids in [0, 4); got -100 at position (1, 2).\n"
        "  Fix: check how the ids were made; they count from 0."
    )


@pytest.mark.parametrize("z, t", [(np.inf, 0.0), (-np.inf, 1.0), (np.inf, 0.25), (-np.inf, 0.25)])
def test_being_infinitely_wrong_costs_inf_not_nan(z, t):
    x = Tensor([z], "float32", requires_grad=True)
    loss = ops.binary_cross_entropy_with_logits(x, Tensor([t]))
    loss.backward()
    assert loss.item() == np.inf and x.grad.item() == (z > 0) - t
