"""Our own max pooling, alone and joined: values move, so they are the reference's to the bit."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from legs import CPU
from native_calls import EPS, Given, exact, expect_close, last, part, run
from trivet import Generator, Tensor, capture, ops, registry
from trivet.geometry import Window, pooled
from trivet.registry import Call, missing
from trivet.spec import Spec

pytestmark = pytest.mark.skipif(
    any(map(missing, CPU)), reason="the CPU leg lacks a library on this platform"
)
LIES = {"plain": Given, "last": last, "part": part}
KEY = np.array([123456789012345, 5 * 2**33 + 7])
# sizes odd and even, windows in groups of four or not, channels below, at and beyond the lanes
SHAPES = [(1, 1, 2, 2), (2, 3, 5, 7), (2, 5, 8, 8), (3, 16, 4, 6), (2, 50, 9, 12), (1, 130, 3, 16)]


def halving(shape):
    return pooled("max_pool", shape[2:], 2)


def image(shape, seed=0):
    """With ties, NaN and windows of nothing but -inf."""
    random = np.random.default_rng(seed)
    x = random.integers(-3, 4, shape).astype("float32")
    x[random.random(shape) < 0.1] = np.nan
    x[random.random(shape) < 0.2] = -np.inf
    return x


def normal(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def check_alone(shape, lie, threads, seed=0):
    window, x = halving(shape), image(shape, seed)
    wanted, index = exact("max_pool", x, geometry=window)
    y, cells = run("max_pool", lie(x), geometry=window, threads=threads)
    np.testing.assert_array_equal(y, wanted)
    gy, v = normal(y.shape), normal(shape)
    (gx,) = run("max_pool_grad", lie(gy), cells, geometry=window, threads=threads)
    np.testing.assert_array_equal(gx, exact("max_pool_grad", gy, index, geometry=window)[0])
    (found,) = run("max_pool_gather", lie(v), cells, geometry=window, threads=threads)
    np.testing.assert_array_equal(found, exact("max_pool_gather", v, index, geometry=window)[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lie", LIES)
def test_value_gradient_and_gather_with_ties_and_nan(shape, lie):
    for threads in 1, 2, 3:
        check_alone(shape, LIES[lie], threads)


@settings(max_examples=40, deadline=None)
@drawn(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(2, 9), st.integers(2, 9)),
       st.sampled_from(sorted(LIES)), st.integers(1, 4), st.integers(0, 99))  # fmt: skip
def test_any_image(shape, lie, threads, seed):
    check_alone(shape, LIES[lie], threads, seed)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("p", [0.25, 1.0])
def test_joined_with_rectifier_and_dropout(shape, lie, p):
    window, x, lie = halving(shape), image(shape), LIES[lie]
    largest, index = exact("max_pool", x, geometry=window)
    rectified = exact("relu", largest, geometry=())[0]
    gy = normal(largest.shape)
    slope = exact("dropout", gy, KEY, geometry=p)[0]  # the same bits as forward
    for threads in 1, 2:
        how = {"threads": threads}
        y, cells = run("max_pool+relu", lie(x), geometry=(window, (), 0), **how)
        np.testing.assert_array_equal(y, rectified)
        joined = run("max_pool+dropout", lie(x), KEY, geometry=(window, p, 0), **how)
        close(joined[0], exact("dropout", largest, KEY, geometry=p)[0])
        chain = ((window, (), 0), p, 0)
        joined = run("max_pool+relu+dropout", lie(x), KEY, geometry=chain, **how)
        dropped = exact("dropout", rectified, KEY, geometry=p)[0]
        close(joined[0], dropped)
        np.testing.assert_array_equal(joined[1], cells)

        def pulled(g):
            return exact("max_pool_grad", g, index, geometry=window)[0]

        saved = lie(y)
        (gx,) = run("relu_grad+max_pool_grad", lie(gy), saved, cells, geometry=((), window, 0),
                    **how)  # fmt: skip
        np.testing.assert_array_equal(gx, pulled(exact("relu_grad", gy, y, geometry=())[0]))
        (gx,) = run("dropout+max_pool_grad", lie(gy), KEY, cells, geometry=(p, window, 0), **how)
        close(gx, pulled(slope))
        (gx,) = run("relu_dropout_grad+max_pool_grad", lie(gy), lie(joined[0]), cells,
                    geometry=(p, window, 0), **how)  # fmt: skip
        close(gx, pulled(exact("relu_grad", slope, y, geometry=())[0]))


def close(got, wanted):
    """Two roundings: that of the scale 1 / (1 - p), and that of the product with it."""
    expect_close(got, wanted, 2.01 * EPS * np.abs(wanted))


@pytest.mark.parametrize(
    "window",
    [pooled("max_pool", (6, 6), 3, 2), pooled("max_pool", (6, 6), 2, 1),
     pooled("max_pool", (6, 6), 2, 2, 1), pooled("max_pool", (7, 6), 2, ceil=True)],
)  # fmt: skip
def test_other_windows_are_refused(window: Window):
    call = Call("max_pool", (Spec((2, 3, *window.size)),), window)
    assert isinstance(registry.ask("trivet.native", call), str)


# ---- in captured steps


def trained(decorate, legs, dtype, monkeypatch, forward):
    """Results and gradients of forward(w * x), over a few calls with new masks each."""
    monkeypatch.setitem(registry.PREFERENCE, "cpu", legs)
    generator, w = Generator(7), Tensor(normal((2, 5, 8, 6)), dtype, requires_grad=True)

    def step(x):
        w.grad = None
        y = forward(w * x, generator)
        (y * y).sum().backward()
        return y.detach(), w.grad

    call = decorate(step)
    found = [[t.numpy() for t in call(Tensor(normal(w.shape, k), dtype))] for k in range(4)]
    return [np.stack(each) for each in zip(*found)], call


def check_fused(forward, monkeypatch) -> set[str]:
    """A fused step beside float64; the kernels that it runs."""
    wanted, _ = trained(lambda s: s, ["trivet.reference"], "float64", monkeypatch, forward)
    fused = trained(lambda s: capture(s, fuse=True), CPU, "float32", monkeypatch, forward)
    (found, slopes), call = fused
    # roundings: w * x, scale and product with it; then y * 2, scale and product again, times x
    expect_close(found, wanted[0], 3.01 * EPS * np.abs(wanted[0]))
    expect_close(slopes, wanted[1], 7.01 * EPS * np.abs(wanted[1]))
    return {note.call.name for note in call.program.notes}


def dropped(y, generator):
    return ops.dropout(y, 0.3, generator=generator)


@pytest.mark.parametrize(
    "forward, names",
    [
        (lambda y, g: dropped(ops.relu(ops.max_pool2d(y, 2)), g),
         {"max_pool+relu+dropout", "relu_dropout_grad+max_pool_grad"}),
        (lambda y, g: dropped(ops.max_pool2d(y, 2), g),
         {"max_pool+dropout", "dropout+max_pool_grad"}),
        (lambda y, g: ops.relu(ops.max_pool2d(y, 2)),
         {"max_pool+relu", "relu_grad+max_pool_grad"}),
        (lambda y, g: dropped(ops.relu(y), g), {"relu+dropout", "relu_dropout_grad"}),
        (lambda y, g: dropped(ops.relu(ops.max_pool2d(y, 2)), g).reshape(2, -1) * 1.0,
         {"max_pool+relu+dropout", "relu_dropout_grad+max_pool_grad"}),
    ],
    ids=["all", "dropout", "relu", "dense", "flattened"],
)  # fmt: skip
def test_a_fused_step_joins_them_and_drops_what_the_reference_drops(forward, names, monkeypatch):
    ran = check_fused(forward, monkeypatch)
    assert names <= ran
    assert not {"max_pool", "relu", "dropout", "relu_grad", "max_pool_grad"} & ran


def test_a_rectifier_with_another_reader_keeps_its_own_gradient(monkeypatch):
    def forward(y, generator):
        y = ops.relu(y)
        return ops.maximum(dropped(y, generator), y)  # a kept y is the smaller one

    assert {"relu", "relu_grad"} <= check_fused(forward, monkeypatch)


def test_what_another_backend_kept_is_not_read(monkeypatch):
    for name in ("max_pool", "max_pool+relu", "max_pool+relu+dropout"):
        monkeypatch.delitem(registry._KERNELS, (name, "trivet.native"))
    monkeypatch.setattr(registry, "_CHOICES", {})
    ran = check_fused(lambda y, g: dropped(ops.relu(ops.max_pool2d(y, 2)), g), monkeypatch)
    assert "max_pool_grad" in ran
