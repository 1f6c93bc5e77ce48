"""Our own kernels of single elements: every layout, odd sizes, NaN and inf, any thread count."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from native_calls import EPS, Given, exact, expect_close, last, part, plan_of, rate, run
from trivet.ops.update import Adam, RmsProp, Sgd
from trivet.spec import CHANNELS_LAST, PLAIN, Spec, Strided

SIZES = [(1,), (7,), (33,), (1001,), (3, 50), (2, 3, 5, 7)]
# name: geometry, roundings on the way, and what multiplies an error of the operand's own function
UNARY = {
    "relu": ((), 0), "leaky_relu": ((0.1,), 2), "sigmoid": ((), 6), "tanh": ((), 6),
    "exp": ((), 4), "sqrt": ((), 1), "abs": ((), 0), "clip": ((-0.5, 0.5), 0), "neg": (None, 0),
    "reciprocal": ((), 1), "silu": ((), 7), "softplus": ((), 8), "log": ((), 4),
}  # fmt: skip
SAVES_RESULT = {"relu", "sigmoid", "tanh", "exp", "sqrt", "reciprocal"}
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_function_agrees_with_float64(name, size):
    geometry, roundings = UNARY[name]
    x = normal(*size) * 3
    for threads in 1, 3:
        (y,) = run(name, x, geometry=geometry, threads=threads)
        (wanted,) = exact(name, x, geometry=geometry)
        expect_close(y, wanted, roundings * EPS * np.abs(wanted) + 1e-37)


@pytest.mark.parametrize("name", sorted(UNARY.keys() - {"neg"}))
@pytest.mark.parametrize("lie", [Given, last, part], ids=["plain", "last", "part"])
def test_a_gradient_agrees_with_float64_however_the_operands_lie(name, lie):
    geometry, _ = UNARY[name]
    gy, x = normal(2, 3, 5, 7), np.abs(normal(2, 3, 5, 7, seed=1)) + 0.1
    saved = exact(name, x, geometry=geometry)[0].astype("float32") if name in SAVES_RESULT else x
    (gx,) = run(f"{name}_grad", lie(gy), lie(saved), geometry=geometry)
    (wanted,) = exact(f"{name}_grad", gy, saved, geometry=geometry)
    # tanh_grad and sigmoid_grad take the saved value from 1
    expect_close(gx, wanted, 10 * EPS * (np.abs(wanted) + np.abs(gy)))


@pytest.mark.parametrize("name", UNARY)
def test_nan_and_inf_are_results(name):
    geometry, roundings = UNARY[name]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1e38, -1e38, 1e-30] * 5, "float32")
    (y,) = run(name, x, geometry=geometry)
    wanted = exact(name, x, geometry=geometry)[0].astype("float32").astype("float64")
    expect_close(y, wanted, (roundings + 1) * EPS * np.abs(wanted) + 1e-37)


def test_a_gradient_of_relu_stops_inf_and_nan_and_passes_them():
    gy = np.array([np.inf, np.nan, np.inf, np.nan, 1.0], "float32")
    y = np.array([0.0, 0.0, 1.0, 2.0, np.nan], "float32")
    (gx,) = run("relu_grad", gy, y, geometry=())
    np.testing.assert_array_equal(gx, [0.0, 0.0, np.inf, np.nan, 1.0])


SHAPES = {
    "equal": ((2, 3, 5, 7), (2, 3, 5, 7)),
    "channel": ((2, 50, 3, 3), (1, 50, 1, 1)),
    "one per image": ((2, 3, 5, 7), (2, 1, 1, 1)),
    "scalar": ((5, 33), ()),
    "row": ((5, 33), (33,)),
    "column": ((5, 33), (5, 1)),
    "both": ((5, 1), (1, 33)),
    "one": ((1, 1), (1,)),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_operands_broadcast(name, shapes):
    a, b = (normal(*shape, seed=k) for k, shape in enumerate(shapes))
    for first, second in (a, b), (b, a):
        wanted = exact(name, first, second)[0]
        for lie in (Given, last, part) if len(a.shape) == 4 else (Given,):
            pair = (lie(v) if v.shape == wanted.shape else v for v in (first, second))
            (y,) = run(name, *pair, threads=3)
            expect_close(y, wanted, EPS * np.abs(wanted))


def test_the_result_follows_the_layout_of_the_operands():
    x, channel = normal(2, 3, 5, 7), normal(3, 1, 1)
    assert plan_of("relu", [x], ()).outs[0].layout == PLAIN
    assert plan_of("relu", [last(x)], ()).outs[0].layout == CHANNELS_LAST
    assert plan_of("relu", [part(x)], ()).ins[0] == part(x).spec  # taken as it lies
    plan = plan_of("add", [part(x), channel])
    assert plan.outs[0].layout == CHANNELS_LAST and plan.ins[0] == part(x).spec
    plan = plan_of("relu_grad", [x, last(x)], ())
    assert plan.ins[0].layout == plan.outs[0].layout == CHANNELS_LAST


def test_a_broadcast_and_a_transposed_view_are_taken():
    x = normal(5, 33)
    row = Given(np.broadcast_to(x[0], (5, 33)), Strided(steps=(0, 1)))
    assert plan_of("add", [x, row]).ins[1] == row.spec
    turned = Given(x, Strided(steps=(1, 5)))
    assert plan_of("add", [x, turned]).ins[1].layout == PLAIN  # the engine reorders it


@pytest.mark.parametrize("lie", [Given, last, part], ids=["plain", "last", "part"])
def test_accumulate_writes_its_first_operand_as_it_lies(lie):
    total, x = normal(2, 5, 3, 3), normal(2, 5, 3, 3, seed=1)
    (y,) = run("accumulate", lie(total), last(x))
    expect_close(y, exact("accumulate", total, x)[0], EPS * np.abs(total + x))


@pytest.mark.parametrize("name", ["float64", "empty", "bool"])
def test_what_is_not_ours_is_refused(name):
    from trivet import registry
    from trivet.registry import Call

    specs = {"float64": Spec((3,), "float64"), "empty": Spec((0, 3)), "bool": Spec((3,), "bool")}
    assert isinstance(registry.ask("trivet.native", Call("relu", (specs[name],), ())), str)


def test_fill_writes_one_number():
    (y,) = run("fill", np.zeros(()), geometry=((5, 7), 2.5))
    assert (y == 2.5).all() and y.shape == (5, 7)


def test_a_joined_sum_and_relu():
    a, b = normal(2, 5, 3, 3), normal(2, 5, 3, 3, seed=1)
    (y,) = run("add+relu", last(a), last(b), geometry=(None, (), 0))
    expect_close(y, np.maximum(a.astype("d") + b, 0), EPS * np.abs(a + b))


@settings(max_examples=60, deadline=None)
@drawn(st.data())
def test_any_shapes_that_broadcast(data):
    rank = data.draw(st.integers(1, 4))
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 7, 17, 40]), min_size=rank, max_size=rank))
    kept = data.draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    a, b = normal(*shape), normal(*(n if k else 1 for n, k in zip(shape, kept)), seed=1)
    lie = data.draw(st.sampled_from([Given, last, part] if rank > 2 else [Given]))
    pair = [lie(a), b] if data.draw(st.booleans()) else [b, lie(a)]
    wanted = a.astype("d") + b
    try:
        (y,) = run("add", *pair, threads=data.draw(st.integers(1, 4)))
    except AssertionError as why:
        # refused: the reference takes it
        assert "pieces" in str(why) or "transposed" in str(why)
    else:
        expect_close(y, wanted, EPS * np.abs(wanted))


# ---- updates

PARAMETERS = [(1,), (33,), (5, 7, 3, 3), (20001,)]
RULES = {
    "sgd": ("sgd_", Sgd(), "g r"),
    "decay": ("sgd_", Sgd(0.0, False, 0.1), "g r"),
    "momentum": ("sgd_", Sgd(0.9), "g r v"),
    "nesterov": ("sgd_", Sgd(0.9, True, 0.1), "g r v"),
    "adam": ("adam_", Adam(), "v s g r t"),
    "adam decay": ("adam_", Adam(weight_decay=0.1), "v s g r t"),
    "adamw": ("adam_", Adam(weight_decay=0.1, decoupled=True), "v s g r t"),
    "rmsprop": ("rmsprop_", RmsProp(), "s g r"),
    "rmsprop all": ("rmsprop_", RmsProp(0.9, 1e-8, 0.1, 0.9, True), "s g r m v"),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", PARAMETERS, ids=str)
def test_an_update_agrees_with_float64(rule, shape):
    name, options, operands = RULES[rule]
    named = {
        "g": normal(*shape), "v": normal(*shape, seed=1), "r": rate(0.01), "t": np.array(3),
        "s": np.abs(normal(*shape, seed=2)) + 1.0, "m": normal(*shape, seed=3) * 0.1,
    }  # fmt: skip
    weight = normal(*shape, seed=4)
    args = [weight, *(named[k] for k in operands.split())]
    # every term is at most some times what it is made of, and no sum has more than four
    size = np.abs(weight) + np.abs(named["g"]) + np.abs(named["v"]) + np.abs(named["s"])
    got, wanted = (f(name, *args, geometry=options) for f in (run, exact))
    assert len(got) == len(wanted) > 0
    for a, b in zip(got, wanted):
        expect_close(a, b, 8 * EPS * size)


def test_the_rate_is_read_when_the_kernel_runs():
    from native_calls import put, seen

    plan = plan_of("sgd_", [np.zeros(3), np.ones(3), rate(1.0)], Sgd())
    weight, g, speed = (
        put(s, v) for s, v in zip(plan.ins, (np.zeros(3), np.ones(3), np.array(1.0)))
    )
    step = plan.bound(*(b.address() for b in (weight, g, speed)))
    step()
    seen(speed)[...] = 10.0
    step()
    np.testing.assert_array_equal(seen(weight), [-11.0] * 3)


def test_clipping():
    g = normal(33) * 10
    for norm in 0.5, 100.0, np.nan:
        norm = np.array(norm, "float32")
        got, wanted = (f("clip_norm_", g, norm, geometry=1.0)[0] for f in (run, exact))
        expect_close(got, wanted, 4 * EPS * np.abs(wanted))
    np.testing.assert_array_equal(run("clip_value_", g, geometry=2.0)[0], np.clip(g, -2, 2))
    xs = [normal(3, 5), normal(1001), normal(1)]
    for threads in 1, 3:
        (norm,) = run("global_norm", *xs, threads=threads)
        expect_close(norm, exact("global_norm", *xs)[0], 2 * EPS * np.abs(norm))
