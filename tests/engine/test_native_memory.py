"""Our own reorders, sums and dropout: exact, in every layout, at odd sizes, on any threads."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from native_calls import EPS, Given, exact, expect_close, last, part, plan_of, run
from trivet import registry, rng
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, PLAIN, Spec, Strided

LIES = {"plain": Given, "last": last, "part": part}
IMAGES = [
    (1, 1, 4, 4), (2, 3, 5, 7), (2, 2, 40, 33), (1, 4, 5, 5), (3, 130, 5, 5), (2, 17, 1, 33),
    (64, 3, 8, 8), (4, 5, 6), (2, 3, 4, 5, 6),
]  # fmt: skip


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# ---- reorder


@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST], ids=str)
def test_a_reorder_keeps_every_value(shape, lie, layout):
    x = normal(*shape)
    x.reshape(-1)[0] = np.nan
    for threads in 1, 3:
        (y,) = run("reorder", LIES[lie](x), geometry=layout, threads=threads)
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (33, 7), (100, 130)], ids=str)
def test_views_become_plain(shape):
    x = normal(*shape)
    turned = Given(x, Strided(steps=(1, shape[0])))
    np.testing.assert_array_equal(run("reorder", turned, geometry=PLAIN)[0], x)
    row = Given(np.broadcast_to(x[0], shape), Strided(steps=(0, 1)))
    plan = plan_of("reorder", [row], PLAIN)
    assert plan.ins[0] == row.spec and plan.outs[0].layout == PLAIN


def test_a_reorder_into_a_view_leaves_its_neighbours_alone():
    x = normal(2, 3, 5, 7)
    into = part(x).spec.layout
    np.testing.assert_array_equal(run("reorder", x, geometry=into)[0], x)


@settings(max_examples=60, deadline=None)
@drawn(st.lists(st.integers(1, 40), min_size=3, max_size=5), st.data())
def test_any_image(shape, data):
    x = normal(*shape[:2], *(min(n, 9) for n in shape[2:]))
    lie, threads = data.draw(st.sampled_from(sorted(LIES))), data.draw(st.integers(1, 4))
    layout = data.draw(st.sampled_from([PLAIN, CHANNELS_LAST]))
    (y,) = run("reorder", LIES[lie](x), geometry=layout, threads=threads)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float64"])
def test_a_plain_copy_keeps_the_bits_of_other_dtypes(dtype):
    bits = np.random.default_rng(0).integers(0, 256, (3, 7, 8), "uint8")
    x = np.ascontiguousarray(bits).view(dtype)
    x = x[..., 0]
    (y,) = run("reorder", Given(np.ascontiguousarray(x)), geometry=PLAIN, threads=3)
    assert y.tobytes() == x.tobytes()


# ---- concat, unslice, pad


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(lie, axis):
    shapes = [[2, 5, 3, 4] for _ in range(3)]
    for k, shape in enumerate(shapes):
        shape[axis] += 7 * k
    xs = [normal(*shape, seed=k) for k, shape in enumerate(shapes)]
    (y,) = run("concat", *map(LIES[lie], xs), geometry=axis, threads=3)
    np.testing.assert_array_equal(y, np.concatenate(xs, axis))
    layout = PLAIN if lie == "plain" else CHANNELS_LAST
    plan = plan_of("concat", [*map(LIES[lie], xs)], axis)
    assert plan.outs[0].layout == layout and plan.ins[0] == LIES[lie](xs[0]).spec


def test_a_part_among_zeros_and_a_border():
    whole = slice(None).__reduce__()[1]
    x = normal(2, 100)
    geometry = (2, 5, 100), (whole, -1, whole)
    np.testing.assert_array_equal(run("unslice", x, geometry=geometry)[0],
                                  exact("unslice", x, geometry=geometry)[0])  # fmt: skip
    x = normal(2, 3, 5)
    geometry = ((0, 0), (1, 2), (3, 1)), 2.0
    np.testing.assert_array_equal(run("pad", x, geometry=geometry)[0],
                                  exact("pad", x, geometry=geometry)[0])  # fmt: skip


# ---- sums

SUMS = [
    ((1,), ()), ((7,), ()), ((1001,), ()), ((100_003,), ()), ((9, 33), (33,)), ((9, 33), (1, 33)),
    ((9, 33), (9, 1)), ((1000, 3), (3,)), ((3, 5, 130), (130,)), ((2, 50, 5, 7), (1, 50, 1, 1)),
    ((2, 1, 5, 7), (1, 1, 1, 1)), ((2, 130, 5, 7), (130, 1, 1)), ((2, 3, 4, 5), ()),
]  # fmt: skip


@pytest.mark.parametrize("shape, kept", SUMS, ids=str)
def test_a_sum_is_rounded_once(shape, kept):
    x = normal(*shape) + 100
    (wanted,) = exact("sum_to", x, geometry=kept)
    for lie in LIES.values() if len(shape) == 4 else [Given]:
        for threads in 1, 3:
            (y,) = run("sum_to", lie(x), geometry=kept, threads=threads)
            expect_close(y, wanted, 1.01 * EPS * np.abs(wanted))


def test_nan_and_inf_in_a_sum_stay_in_their_column():
    x = normal(9, 33)
    x[2, 3], x[4, 5], x[6, 5] = np.nan, np.inf, -np.inf
    (y,) = run("sum_to", x, geometry=(33,))
    assert np.flatnonzero(~np.isfinite(y)).tolist() == [3, 5] and np.isnan(y[[3, 5]]).all()


# ---- dropout

KEY = np.array([123456789012345, 5 * 2**33 + 7])


def dropped(x, p):
    keep = rng.uniform(x.size, *map(int, KEY)).reshape(x.shape) >= np.float32(p)
    return np.where(keep, x * np.float32(1 / (1 - p) if p < 1 else 0), np.float32(0))


@pytest.mark.parametrize("p", [0.25, 0.5, 0.3, 1.0])
@pytest.mark.parametrize(
    "shape", [(1,), (7,), (33,), (1001,), (2, 5, 4, 4), (2, 3, 5, 7), (2, 1, 3, 3), (3, 130, 2, 2)],
    ids=str,
)  # fmt: skip
def test_dropout_draws_the_generators_bits_in_every_layout(shape, p):
    x = normal(*shape)
    x.reshape(-1)[:: max(x.size // 5, 1)] = np.nan  # what is dropped is 0 all the same
    for lie in LIES.values() if len(shape) == 4 else [Given]:
        for threads in 1, 3:
            (y,) = run("dropout", lie(x), KEY, geometry=p, threads=threads)
            np.testing.assert_array_equal(y, dropped(x, p))


@settings(max_examples=40, deadline=None)
@drawn(st.lists(st.integers(1, 40), min_size=3, max_size=4), st.sampled_from(sorted(LIES)),
       st.integers(1, 4))  # fmt: skip
def test_dropout_of_any_image(shape, lie, threads):
    x = normal(*shape[:2], *(min(n, 9) for n in shape[2:]))
    (y,) = run("dropout", LIES[lie](x), KEY, geometry=0.4, threads=threads)
    np.testing.assert_array_equal(y, dropped(x, 0.4))


@pytest.mark.parametrize("lie", LIES)
def test_dropout_joined_with_relu(lie):
    x, gy, lie = normal(2, 5, 4, 4), normal(2, 5, 4, 4, seed=1), LIES[lie]
    x.reshape(-1)[::7] = np.nan  # passes the rectifier, and lets its gradient pass
    (y,) = run("relu+dropout", lie(x), KEY, geometry=((), 0.25, 0))
    saved = np.maximum(x, 0)
    np.testing.assert_array_equal(y, dropped(saved, 0.25))
    (gx,) = run("relu_dropout_grad", lie(gy), lie(y), geometry=0.25)
    np.testing.assert_array_equal(gx, np.where(saved <= 0, np.float32(0), dropped(gy, 0.25)))


def test_a_generator_moves_on_and_steps_are_counted():
    np.testing.assert_array_equal(run("advance", KEY)[0], KEY + np.array([0, 1]))
    (steps,) = run("count_", np.array([5, 0, 7, 1]), geometry=(0, -1))
    np.testing.assert_array_equal(steps, [6, 0, 7, 2])


def test_more_elements_than_the_counter_has_bits_are_refused():
    call = Call("dropout", (Spec((1 << 32,)), Spec((2,), "int64")), 0.5)
    assert "32 bits" in registry.ask("trivet.native", call)
