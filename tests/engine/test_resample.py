"""Resampling beside PyTorch on the CPU, and where NaN goes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, grad, ops

TOLERANCE = {"float64": 1e-12, "float32": 5e-6}
MODES = [("nearest", False), ("linear", False), ("linear", True)]


def named(mode, align_corners, axes):
    """The options as PyTorch calls them."""
    if mode == "nearest":
        return dict(mode=mode)
    return dict(mode=("linear", "bilinear", "trilinear")[axes - 1], align_corners=align_corners)


@pytest.mark.parametrize("mode, align_corners", MODES)
@settings(max_examples=120, deadline=None, derandomize=True)
@given(data=st.data())
def test_resample_is_pytorchs(mode, align_corners, data):
    axes, dtype = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(sorted(TOLERANCE)))
    old, new = ([data.draw(st.integers(1, 9)) for _ in range(axes)] for _ in range(2))
    channels, strided = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.standard_normal((data.draw(st.integers(1, 2)), channels, *old)).astype(dtype)
    a = Tensor(np.repeat(x, 2, -1))[..., ::2] if strided else Tensor(x)
    a.requires_grad = True
    b = torch.tensor(x, requires_grad=True)
    y = ops.resample(a, tuple(new), mode=mode, align_corners=align_corners)
    expected = F.interpolate(b, size=new, **named(mode, align_corners, axes))
    gy = rng.standard_normal(y.shape).astype(dtype)
    expected.backward(torch.from_numpy(gy))
    (gx,) = grad(y, [a], gradient=Tensor(gy))
    assert (y.dtype, gx.dtype) == (dtype, dtype)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), tolerance, tolerance)
    np.testing.assert_allclose(gx.numpy(), b.grad.numpy(), tolerance, 4 * tolerance)


@pytest.mark.parametrize("mode, align_corners", MODES)
def test_an_empty_batch_has_an_empty_gradient(mode, align_corners):
    x = Tensor(np.zeros((0, 3, 4, 5)), requires_grad=True)
    y = ops.resample(x, (8, 2), mode=mode, align_corners=align_corners)
    assert y.shape == (0, 3, 8, 2)
    assert grad(y.sum(), [x])[0].shape == x.shape


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mode, align_corners", MODES)
@pytest.mark.parametrize("size", [2, 3, 5, 6, 10])
def test_nan_and_inf_go_exactly_where_their_pixel_counts(value, mode, align_corners, size):
    x, spot = np.ones((2, 1, 1, 5))
    spot[...] = 0
    for pixel in range(5):
        x[...], spot[...] = 1, 0
        x[0, 0, pixel], spot[0, 0, pixel] = value, 1
        options = dict(mode=mode, align_corners=align_corners)
        y = ops.resample(Tensor(x), size, **options).numpy()
        weight = ops.resample(Tensor(spot), size, **options).numpy()
        np.testing.assert_array_equal(y[weight > 0], value)
        np.testing.assert_allclose(y[weight == 0], 1)
        theirs = F.interpolate(torch.tensor(x), size=size, **named(mode, align_corners, 1))
        finite = np.isfinite(theirs.numpy())
        np.testing.assert_allclose(y[finite], theirs.numpy()[finite])


def test_nearest_is_exact_where_a_rounded_scale_is_not():
    x = Tensor(np.arange(26.0)[None, None])
    assert ops.resample(x, 22).numpy()[0, 0].tolist() == [i * 26 // 22 for i in range(22)]


def test_equal_sizes_copy():
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4))
    for mode, align_corners in MODES:
        y = ops.resample(Tensor(x), (3, 4), mode=mode, align_corners=align_corners)
        assert np.array_equal(y.numpy(), x)


def test_one_size_holds_for_all_axes():
    x = Tensor(np.ones((1, 1, 2, 3)))
    assert ops.resample(x, 4).shape == (1, 1, 4, 4)
