"""Dropout: which elements it drops, from which state, and what capture needs of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, capture, grad, ops
from trivet import rng as random
from trivet.errors import GradientError, OptionError
from trivet.launch import Trace, sending_to
from trivet.ops.dropout import DEFAULT, Generator, dropout, seed
from trivet.tape import compute


def mask(shape, p, seed, draw):
    return random.uniform(int(np.prod(shape)), seed, draw).reshape(shape) >= np.float32(p)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    p=st.floats(0, 1, exclude_min=True),
    start=st.integers(0, 2**63 - 1),
    draws=st.integers(0, 3),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_value_and_gradient_follow_the_uniforms(shape, p, start, draws, dtype):
    data, generator = np.random.default_rng(draws).standard_normal(shape), Generator(start)
    for _ in range(draws):
        generator.draw()
    x = Tensor(data, dtype, requires_grad=True)
    y = dropout(x, p, generator=generator)
    factor = mask(shape, p, start, draws) * (1 / (1 - p) if p < 1 else 0.0)
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(y.numpy(), factor * data, rtol=tolerance)
    (gx,) = grad(y, [x], gradient=Tensor(data + 1, dtype))
    np.testing.assert_allclose(gx.numpy(), factor * (data + 1), rtol=tolerance)


def test_a_part_p_is_dropped_and_the_mean_stays():
    n = 200_000
    for p in (0.1, 0.5, 0.9):
        y = dropout(Tensor(np.ones(n)), p, generator=Generator(11)).numpy()
        spread = 4 * np.sqrt(p * (1 - p) / n)
        assert abs((y == 0).mean() - p) < spread
        assert abs(y.mean() - 1) < spread / (1 - p)


def test_the_mask_belongs_to_the_logical_element():
    x = Tensor(np.ones((6, 4)))
    plain = dropout(x, generator=Generator(1)).numpy()
    turned = dropout(Tensor(np.ones((4, 6))).T, generator=Generator(1)).numpy()
    repeated = Tensor(np.ones((1, 4)))[:, ::-1]
    every_other = dropout(Tensor(np.ones((6, 8)))[:, ::2], generator=Generator(1)).numpy()
    assert (plain == turned).all() and (plain == every_other).all()
    assert (dropout(repeated, generator=Generator(1)).numpy() == plain[:1]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_every_dtype_drops_the_same(dtype):
    y = dropout(Tensor(np.ones(100), dtype), 0.3, generator=Generator(2)).numpy()
    assert ((y != 0) == mask((100,), 0.3, 2, 0)).all()


def test_state_counts_draws_and_resumes():
    generator, x = Generator(5), Tensor(np.ones(64))
    first, second = (dropout(x, generator=generator).numpy() for _ in range(2))
    assert generator.state.numpy().tolist() == [5, 2]
    assert (first != second).any()
    generator.state.write(np.array([5, 1]))
    assert (dropout(x, generator=generator).numpy() == second).all()
    generator.seed(5)
    assert (dropout(x, generator=generator).numpy() == first).all()


def test_seed_resets_the_default_generator_in_place():
    x, state = Tensor(np.ones(64)), DEFAULT.state
    seed(3)
    first = dropout(x).numpy()
    assert (dropout(x).numpy() != first).any()
    seed(3)
    assert DEFAULT.state is state and (dropout(x).numpy() == first).all()


def test_evaluation_returns_x_itself_and_draws_nothing():
    generator, x = Generator(5), Tensor([1.0])
    assert dropout(x, 0.5, training=False, generator=generator) is x
    assert generator.state.numpy().tolist() == [5, 0]


def test_a_probability_of_zero_keeps_all_and_runs_the_same_kernels():
    x = Tensor(np.random.default_rng(0).standard_normal((8, 8, 4, 4)), "float32")

    def step(p):
        generator = Generator(5)
        return capture(lambda x: dropout(ops.relu(x), p, generator=generator), fuse=True, tune=True)

    none, some = step(0.0), step(0.25)
    for _ in range(3):
        kept, dropped = none(x).numpy(), some(x).numpy()
    assert (kept == np.maximum(x.numpy(), 0)).all() and (dropped != kept).any()
    assert none.program.digest() == some.program.digest()


def test_later_draws_do_not_disturb_an_earlier_gradient():
    generator, x = Generator(5), Tensor(np.ones(64), requires_grad=True)
    y = dropout(x, generator=generator)
    for _ in range(3):
        dropout(x, generator=generator)
    generator.seed(8)
    assert (grad(y, [x], gradient=Tensor(np.ones(64)))[0].numpy() == y.numpy()).all()


def test_only_the_key_is_saved():
    x = Tensor(np.ones(64), requires_grad=True)
    y = dropout(x, generator=Generator(5))
    ((key, _, _),) = y.node.saved
    assert str(key.spec) == "int64 (2,) plain"
    key.touch()
    with pytest.raises(GradientError, match="dropout: expected the int64"):
        grad(y, [x], gradient=x)


def test_inf_and_nan_stay_where_kept_and_vanish_where_dropped():
    kept = mask((64,), 0.5, 5, 0)
    for value in (np.inf, np.nan):
        y = dropout(Tensor(np.full(64, value)), generator=Generator(5)).numpy()
        np.testing.assert_array_equal(y, np.where(kept, value, 0))


def test_a_step_reads_nothing_on_the_host_and_replays_with_new_masks():
    generator, x = Generator(5), Tensor(np.ones(64))
    trace = Trace()
    with sending_to(trace):
        (y,) = compute("mul", x, dropout(x, generator=generator))
    assert [note.call.name for note in trace.notes] == ["reorder", "advance", "dropout", "mul"]
    assert trace.notes[1].written == trace.notes[0].ins  # the state, which lives outside
    assert generator.state.buffer in trace.outside.values()
    assert (y.numpy() == dropout(x, generator=Generator(5)).numpy()).all()


@pytest.mark.parametrize("p", [-0.1, 1.0001, float("nan")])
def test_p_outside_0_1(p):
    with pytest.raises(OptionError, match=r"p in \[0, 1\]; got .*\n  Fix: p is the part to drop"):
        dropout(Tensor([1.0]), p)


@pytest.mark.parametrize("wrong", [-1, 2**63, 1.5])
def test_seeds_that_do_not_fit(wrong):
    with pytest.raises(OptionError, match=r"expected a seed in \[0, 2\*\*63\); got .*\n  Fix: "):
        Generator(wrong)
