"""Convolutions joined with what follows them, against the links one by one in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from conv_chains import CHAINS, check_chain
from onednn_calls import U, numbers, plain, plans_of, run
from trivet import Tensor, capture, ops, registry
from trivet.config import no_grad
from trivet.geometry import Convolution, Window
from trivet.launch import upload


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.onednn", "trivet.reference"])


@pytest.mark.parametrize("name", CHAINS)
def test_chains(rng, name):
    geometry = Convolution(Window.of("conv", (7, 6), 3, 2, 1))
    x, w = numbers(rng, 2, 20, 7, 6), numbers(rng, 33, 20, 3, 3)
    for bias in ([], [numbers(rng, 33)]):
        check_chain(rng, name, x, w, bias, geometry)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CHAINS), st.lists(st.integers(1, 8), min_size=1, max_size=3),
    *[st.integers(1, 40)] * 2, *[st.integers(1, 3)] * 3, st.booleans(), st.booleans(),
    st.integers(0, 2**32),
)  # fmt: skip
def test_chains_of_any_geometry(name, size, c, o, groups, kernel, stride, bias, per_channel, seed):
    rng = np.random.default_rng(seed)
    geometry = Convolution(Window.of("conv", size, kernel, stride, 1), groups)
    c, o = c * groups, o * groups
    x = numbers(rng, 2, c, *size)
    w, b = numbers(rng, o, c // groups, *geometry.window.kernel), [numbers(rng, o)] * bias
    check_chain(rng, name, x, w, b, geometry, per_channel)


def test_nan_and_infinities_pass_a_joined_relu(rng):
    geometry = Convolution(Window.of("conv", (2, 2), 1))
    x = np.array([np.nan, np.inf, -np.inf, -2], np.float32).reshape(1, 1, 2, 2)
    w = np.ones((20, 1, 1, 1), np.float32)
    for plan in plans_of("conv+relu", upload(x), upload(w), geometry=(geometry, (), 0)):
        (y,) = run(plan, [upload(x), upload(w)])
        np.testing.assert_array_equal(plain(y)[0, 5].ravel(), [np.nan, np.inf, 0, 0])
        assert not np.signbit(plain(y)[0, 5].ravel()[1:]).any()


def test_a_sum_along_pixels_is_not_joined(rng):
    geometry = Convolution(Window.of("conv", (4, 5), 1))
    x, w, row = (upload(numbers(rng, *s)) for s in [(2, 3, 4, 5), (6, 3, 1, 1), (5,)])
    assert "neither" in plans_of("conv+add", x, w, row, geometry=(geometry, None, 0))


def test_a_captured_residual_block_is_two_launches(rng):
    """Joined plans take the filters in the layout that the convolution alone had chosen."""
    x = numbers(rng, 2, 16, 9, 9)
    filters = numbers(rng, 32, 16, 3, 3), numbers(rng, 16, 32, 1, 1)
    parameters = [
        [*(numbers(rng, c) for _ in range(3)), rng.uniform(0.1, 2, c).astype(np.float32)]
        for c in (32, 16)
    ]

    def block(dtype, fuse):
        w = [Tensor(a.astype(dtype)) for a in filters]
        norms = [[Tensor(a.astype(dtype)) for a in p] for p in parameters]

        def step(x):
            y = ops.batch_norm(ops.conv2d(x, w[0], padding=1), *norms[0], training=False)
            y = ops.batch_norm(ops.conv2d(ops.relu(y), w[1]), *norms[1], training=False)
            return ops.relu(y + x)

        captured = capture(step, fuse=fuse)
        with no_grad():
            for _ in range(3):
                y = captured(Tensor(x.astype(dtype)))
        return captured.program, y.numpy()

    program, y = block("float32", True)
    names = [n.call.name for n in program.notes if n.call.name != "reorder"]
    assert names == ["conv+batch_norm_inference+relu", "conv+batch_norm_inference+add+relu"]
    _, expected = block("float64", False)
    assert np.abs(y - expected).max() <= 400 * U * np.abs(expected).max()
