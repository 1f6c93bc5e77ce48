"""Our own normalisation kernels beside float64, in every layout and on any number of threads."""

import math

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from native_calls import EPS, Given, exact, expect_close, last, part, plan_of, run
from trivet.ops.norm import Blocks
from trivet.spec import CHANNELS_LAST

SHAPES = [(4, 3), (9, 1, 3, 3), (2, 3, 5, 7), (3, 50, 5), (2, 130, 4, 4), (64, 33)]
LIES = {"plain": Given, "last": last, "part": part}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def blocks(shape, eps=1e-5):
    return Blocks((shape[0], shape[1], math.prod(shape[2:])), (0, 2), (1, shape[1], 1), eps)


def per_channel(values, shape):
    return values.reshape(1, -1, *(1,) * (len(shape) - 2))


def operands(shape, mean=3.0):
    return normal(*shape) * 2 + mean, normal(shape[1], seed=1), normal(shape[1], seed=2)


def lies(shape):
    return LIES.values() if len(shape) > 2 else [Given]


def expect_batch_norm(shape, lie, threads, mean=3.0):
    x, weight, bias = operands(shape, mean)
    y, m, inv = run("batch_norm", lie(x), weight, bias, geometry=blocks(shape), threads=threads)
    wanted = exact("batch_norm", x, weight, bias, geometry=blocks(shape))
    expect_close(m, wanted[1], EPS * np.abs(wanted[1]))
    # the variance comes from sums in float64: it loses what x and the mean have in common
    lost = 1e-14 * (wanted[1] * wanted[2]) ** 2
    expect_close(inv, wanted[2], (2 * EPS + lost) * wanted[2])
    # x and the mean are rounded before the mean is taken off
    slope = np.abs(per_channel(wanted[2] * weight, shape))
    scale = (np.abs(x) + np.abs(per_channel(wanted[1], shape))) * slope
    expect_close(y, wanted[0], 4 * EPS * (scale + np.abs(per_channel(bias, shape))))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_agrees_with_float64(shape):
    for lie in lies(shape):
        for threads in 1, 3:
            expect_batch_norm(shape, lie, threads)


def test_a_mean_a_thousand_times_the_deviation_costs_only_the_rounding_of_x():
    expect_batch_norm((8, 3, 16, 16), last, 2, mean=2000.0)


def expect_gradients(got, wanted, gy, x, weight, mean, inv, addend=0.0):
    """Bounds in roundings; of each kind of sum, ``size`` and ``along`` hold absolute values."""
    shape = x.shape
    axes = tuple(a for a in range(len(shape)) if a != 1)
    centred = np.abs(x.astype("d") - per_channel(mean, shape)) * per_channel(inv, shape)
    # four rows are added in pairs in float32: two roundings, and one of the result; of the weight's
    # also one of the deviation and one of the product
    expect_close(got[1], wanted[1], 5 * EPS * (np.abs(gy) * centred).sum(axes))
    expect_close(got[2], wanted[2], 3 * EPS * np.abs(gy).sum(axes))
    slope = np.abs(per_channel(weight * inv, shape))
    along = (np.abs(gy) * centred).mean(axes, keepdims=True)
    size = np.abs(gy) + np.abs(gy).mean(axes, keepdims=True) + centred * along
    rounding = EPS * np.abs(x) * per_channel(inv, shape) * along
    bound = (10 * EPS * size + rounding) * slope  # five of the slope, five behind it
    expect_close(got[0], wanted[0] + addend, bound + EPS * (np.abs(wanted[0]) + np.abs(addend)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_batch_norm_agrees_with_float64(shape):
    x, weight, _ = operands(shape)
    gy = normal(*shape, seed=5)
    _, mean, inv = exact("batch_norm", x, weight, weight, geometry=blocks(shape))
    args = x, weight, mean.astype("float32"), inv.astype("float32")
    wanted = exact("batch_norm_grad", gy, *args, geometry=blocks(shape))
    for lie in lies(shape):
        for threads in 1, 3:
            ins = lie(gy), lie(x), *args[1:]
            got = run("batch_norm_grad", *ins, geometry=blocks(shape), threads=threads)
            expect_gradients(got, wanted, gy, *args)


@pytest.mark.parametrize("name", ["relu_grad+batch_norm_grad", "batch_norm_grad+add",
                                  "relu_grad+batch_norm_grad+add", "batch_norm_relu_grad",
                                  "batch_norm_relu_grad+add"])  # fmt: skip
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_batch_norm_and_its_neighbours_agree_with_float64(shape, name):
    x, weight, bias = operands(shape)
    y, mean, inv = exact("batch_norm", x, weight, bias, geometry=blocks(shape))
    gy, other = normal(*shape, seed=5), normal(*shape, seed=6)
    gy[np.abs(y) < 1e-3] = 0  # where a rounding may close the rectifier
    through = np.where(y > 0, gy, 0) if "relu" in name else gy
    args = x, weight, mean.astype("float32"), inv.astype("float32")
    wanted = exact("batch_norm_grad", through, *args, geometry=blocks(shape))
    addend = other if name.endswith("add") else 0.0
    for lie in lies(shape):
        for threads in 1, 3:
            first = [lie(gy), lie(y.astype("float32"))] if name[:4] == "relu" else [lie(gy)]
            last_ones = [bias] if "batch_norm_relu" in name else []
            last_ones += [lie(other)] if name.endswith("add") else []
            ins = *first, lie(x), *args[1:], *last_ones
            got = run(name, *ins, geometry=(None, blocks(shape), 0), threads=threads)
            expect_gradients(got, wanted, through, *args, addend)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_evaluation_agrees_with_float64(shape):
    x, weight, bias = operands(shape)
    mean, var = normal(shape[1], seed=3), np.abs(normal(shape[1], seed=4)) + 0.01
    args = weight, bias, mean, var
    (wanted,) = exact("batch_norm_inference", x, *args, geometry=blocks(shape))
    slope = np.abs(per_channel(weight / np.sqrt(var), shape))
    bound = 6 * EPS * (slope * (np.abs(x) + np.abs(per_channel(mean, shape))))
    bound += 2 * EPS * np.abs(per_channel(bias, shape))
    for lie in lies(shape):
        (y,) = run("batch_norm_inference", lie(x), *args, geometry=blocks(shape))
        expect_close(y, wanted, bound)
        joined = blocks(shape), (), 0
        (y,) = run("batch_norm_inference+relu", lie(x), *args, geometry=joined)
        expect_close(y, np.maximum(wanted, 0), bound)


def test_a_slice_of_the_channels_is_taken_as_it_lies():
    x, weight, bias = operands((2, 6, 3, 3))
    plan = plan_of("batch_norm", [part(x), weight, bias], blocks(x.shape))
    assert plan.ins[0] == part(x).spec and plan.outs[0].layout == CHANNELS_LAST


def test_running_statistics():
    mean, var, batch, inv = normal(33), np.abs(normal(33)), normal(33), np.abs(normal(33)) + 0.1
    geometry = 32, 0.1, 1e-5
    got, wanted = (
        f("batch_norm_update", mean, var, batch, inv, geometry=geometry) for f in (run, exact)
    )
    expect_close(got[0], wanted[0], 3 * EPS * (np.abs(mean) + np.abs(batch)))
    expect_close(got[1], wanted[1], 8 * EPS * (np.abs(var) + 1 / inv.astype("d") ** 2))


def test_nan_spoils_its_channel_only():
    x, weight, bias = operands((2, 3, 5, 7))
    x[0, 1, 2, 3] = np.nan
    y, mean, inv = run("batch_norm", last(x), weight, bias, geometry=blocks(x.shape))
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()
    assert np.isnan(mean).tolist() == np.isnan(inv).tolist() == [False, True, False]


@settings(max_examples=40, deadline=None)
@drawn(
    st.integers(1, 5), st.integers(1, 140), st.lists(st.integers(1, 9), max_size=3),
    st.sampled_from(sorted(LIES)), st.integers(1, 4),
)  # fmt: skip
def test_batch_norm_of_any_shape(n, channels, size, lie, threads):
    shape = max(n, 2), channels, *size
    expect_batch_norm(shape, LIES[lie] if size else Given, threads)


@pytest.mark.parametrize("shape, axes", [((1, 1), 1), ((5, 7), 1), ((3, 4, 33), 1),
                                         ((2, 3, 5, 9), 2), ((7, 1001), 1)])  # fmt: skip
def test_layer_norm_agrees_with_float64(shape, axes):
    row = shape[-axes:]
    rows, elements = math.prod(shape[:-axes]), math.prod(row)
    geometry = Blocks((rows, elements), (1,), (1, elements), 1e-5)
    x, weight, bias, gy = normal(*shape) * 2 + 3, normal(*row), normal(*row, seed=1), normal(*shape)
    wanted = exact("layer_norm", x, weight, bias, geometry=geometry)
    mean, inv = (np.broadcast_to(v.reshape(*shape[:-axes], *(1,) * axes), shape)
                 for v in wanted[1:])  # fmt: skip
    scale = (np.abs(x) + np.abs(mean)) * inv
    for threads in 1, 3:
        got = run("layer_norm", x, weight, bias, geometry=geometry, threads=threads)
        expect_close(got[1], wanted[1], EPS * np.abs(wanted[1]))
        expect_close(got[2], wanted[2], 4 * EPS * wanted[2] * (1 + np.abs(wanted[1] * wanted[2])))
        bound = 8 * EPS * (scale * np.abs(weight) + np.abs(bias))
        expect_close(got[0], wanted[0], bound)
        args = gy, x, weight, *(v.astype("float32") for v in wanted[1:])
        grads = run("layer_norm_grad", *args, geometry=geometry, threads=threads)
        exactly = exact("layer_norm_grad", *args, geometry=geometry)
        along = np.abs(gy) * (np.abs(x) + np.abs(mean)) * inv
        before = tuple(range(len(shape) - axes))
        expect_close(grads[1], exactly[1], 4 * EPS * along.sum(before))
        expect_close(grads[2], exactly[2], 2 * EPS * np.abs(gy).sum(before))
        inside = tuple(range(len(shape) - axes, len(shape)))
        g = np.abs(gy * weight)
        size = g + g.mean(inside, keepdims=True)
        size = size + scale * (g * scale).mean(inside, keepdims=True)
        expect_close(grads[0], exactly[0], 8 * EPS * size * inv)
