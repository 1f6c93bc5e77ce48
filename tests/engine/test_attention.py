"""Scaled dot-product attention beside PyTorch's, and embedding to loss as one traced step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from trivet import Tensor, grad, ops
from trivet.launch import Trace, sending_to

BOUND = {"float64": 1e-12, "float32": 1e-5}


def beside_torch(arrays, mask=None, *, causal=False, scale=None):
    """Asserts that value and gradients agree, by the mask too if it holds floats."""
    dtype = arrays[0].dtype
    added = [mask] if mask is not None and mask.dtype != bool else []
    ours = [Tensor(a, requires_grad=True) for a in (*arrays, *added)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (*arrays, *added)]
    my_mask = their_mask = None
    if added:
        my_mask, their_mask = ours[3], theirs[3]
    elif mask is not None:
        my_mask, their_mask = Tensor(mask), torch.tensor(mask)
    their_causal = causal
    if causal and mask is not None:  # PyTorch takes one or the other
        tri = torch.ones(arrays[0].shape[-2], arrays[1].shape[-2], dtype=torch.bool).tril()
        their_mask = their_mask.masked_fill(~tri, -np.inf if added else False)
        their_causal = False
    y = ops.scaled_dot_product_attention(*ours[:3], mask=my_mask, causal=causal, scale=scale)
    with sdpa_kernel(SDPBackend.MATH):
        ty = scaled_dot_product_attention(
            *theirs[:3], attn_mask=their_mask, is_causal=their_causal, scale=scale
        )
    gy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    found = grad(y, ours, gradient=Tensor(gy))
    # without a batch PyTorch's result does not depend on its operands at all
    expected = torch.autograd.grad(ty, theirs, torch.tensor(gy), materialize_grads=True)
    for a, b in zip([y, *found], [ty.detach(), *expected], strict=True):
        bound = BOUND[dtype.name]
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=bound, atol=bound)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from([(), (2,), (0,), (2, 3), (1, 2)]),
    st.lists(st.integers(1, 5), min_size=4, max_size=4),
    st.sampled_from([None, "bool", "added", "minus infinity"]),
    st.sampled_from(["full", "rows", "keys"]),
    st.booleans(),
    st.sampled_from([None, 0.4]),
    st.sampled_from(list(BOUND)),
    st.integers(0, 99),
)
def test_any_shape_and_mask(batch, sizes, kind, extent, causal, scale, dtype, seed):
    rng, (n, m, e, d) = np.random.default_rng(seed), sizes
    shapes = [(*batch, n, e), (*batch, m, e), (*batch, m, d)]
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    mask = None
    if kind:
        shape = {"full": (*batch, n, m), "rows": (n, m), "keys": (n, 1)}[extent]
        allowed = rng.random(shape) < 0.6
        mask = {
            "bool": allowed,
            "added": rng.standard_normal(shape).astype(dtype),
            "minus infinity": np.where(allowed, 0, -np.inf).astype(dtype),
        }[kind]
    beside_torch(arrays, mask, causal=causal, scale=scale)


def test_a_query_without_keys_gives_zero_and_no_gradient(rng):
    q, k, v = (Tensor(rng.standard_normal((2, 3)), requires_grad=True) for _ in range(3))
    allowed = Tensor([[True, False], [False, False]])
    y = ops.scaled_dot_product_attention(q, k, v, mask=allowed)
    np.testing.assert_array_equal(y.numpy(), [v.numpy()[0], np.zeros(3)])
    gq, gk, gv = grad(y.sum(), [q, k, v])
    assert not gq.numpy().any() and not gk.numpy().any()
    np.testing.assert_array_equal(gv.numpy(), [[1, 1, 1], [0, 0, 0]])


def test_a_causal_query_does_not_see_later_keys(rng):
    q, k, v = rng.standard_normal((3, 4, 2))
    first = ops.scaled_dot_product_attention(*map(Tensor, (q, k, v)), causal=True).numpy()
    k[2:], v[2:] = 7.0, 7.0
    second = ops.scaled_dot_product_attention(*map(Tensor, (q, k, v)), causal=True).numpy()
    np.testing.assert_array_equal(first[:2], second[:2])
    assert (first[2:] != second[2:]).any()


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf(where, bad, rng):
    arrays = list(rng.standard_normal((3, 3, 2)))
    arrays[where][1, 0] = bad
    with np.errstate(invalid="ignore"):  # NumPy's matmul warns of inf - inf
        beside_torch(arrays)


def test_embedding_to_loss_needs_no_host_data(rng):
    ids, target = Tensor(rng.integers(0, 9, (2, 5))), Tensor(rng.integers(0, 4, (2, 5)))
    table, out = (Tensor(rng.standard_normal(s), requires_grad=True) for s in [(9, 4), (4, 4)])
    with sending_to(Trace()) as trace:
        x = ops.embedding(ids, table)  # (2, 5, 4)
        seen = ops.one_hot(ids, 9, "bool")[:, None, :, 8]  # (2, 1, 5)
        y = ops.scaled_dot_product_attention(x, x, x, mask=seen, causal=True)
        loss = ops.cross_entropy((y @ out).transpose(), target) + ops.mse_loss(y, x)
        loss.backward()
    names = [note.call.name for note in trace.notes]
    assert {"causal_mask", "embedding_grad", "cross_entropy_grad", "softmax_grad"} <= set(names)
