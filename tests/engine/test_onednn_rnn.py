"""oneDNN's recurrent layers against the reference in float64.

Errors run through the recurrence, so the bound is an observed one: 16 times the largest error that
the reference itself makes in float32, and 32 half-ulps of the largest value.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from onednn_calls import U, numbers, plain, plans_of, run
from trivet import registry
from trivet.device import Buffer, empty
from trivet.geometry import Recurrence
from trivet.launch import launch, upload
from trivet.registry import Call

MODES = ["rnn_tanh", "lstm", "gru", "gru_original"]


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.onednn", "trivet.reference"])


def by_the_reference(name, arrays, geometry):
    """The results, as the reference computes them in the arrays' dtype."""
    buffers = [upload(a) for a in arrays]
    (plan,) = registry.ask("trivet.reference", Call(name, tuple(b.spec for b in buffers), geometry))
    outs = [Buffer(s, "cpu", empty("cpu", s.nbytes)) for s in plan.outs]
    plan.run(*(b.array() for b in [*outs, *buffers]))
    return [plain(b) for b in outs]


def agree(got, narrow, wide):
    for a, b, c in zip(got, narrow, wide):
        bound = 16 * np.abs(b - c).max() + 32 * U * np.abs(c).max()
        assert np.abs(plain(a) - c).max() <= bound


def check_layer(rng, geometry, inputs, hidden):
    n, rows, S = geometry.batch_sizes[0], sum(geometry.batch_sizes), geometry.states
    height = geometry.gates * hidden
    x = [numbers(rng, rows, inputs), *(numbers(rng, n, hidden) for _ in range(S))]
    x += [numbers(rng, height, m) / np.float32(m) ** 0.5 for m in (inputs, hidden)]
    x += [numbers(rng, height) for _ in range(2)] * geometry.bias
    wide = [a.astype(np.float64) for a in x]
    buffers = [upload(a) for a in x]
    (plan,) = plans_of("rnn", *buffers, geometry=geometry)
    made = run(plan, buffers)
    narrow, exact = (by_the_reference("rnn", a, geometry) for a in (x, wide))
    agree(made[: 1 + S], narrow, exact)
    alone = launch("rnn", *buffers, geometry=geometry, auxiliaries=False)
    agree(alone, narrow, exact)

    gradients = [numbers(rng, *b.spec.shape) for b in made[: 1 + S]]
    kept = made[-1]
    kept.backend = "trivet.onednn"
    operands = [*map(upload, gradients), *buffers, made[0], kept]
    got = launch("rnn_grad", *operands, geometry=geometry, partner=kept)
    assert all(b.backend == "trivet.onednn" for b in (*alone, *got))
    arrays = [[*gradients, *x], [*(g.astype(np.float64) for g in gradients), *wide]]
    values = [
        by_the_reference("rnn_grad", [*a, r[0], r[-1]], geometry)
        for a, r in zip(arrays, (narrow, exact))
    ]
    agree(got, *values)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_recurrent_layers(rng, mode, reverse):
    check_layer(rng, Recurrence(mode, (4,) * 7, reverse), 5, 6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MODES), *[st.booleans()] * 2, *[st.integers(1, 6)] * 2,
    *[st.integers(1, 40)] * 2, st.integers(0, 2**32),
)  # fmt: skip
def test_recurrent_layers_of_any_size(mode, reverse, bias, steps, n, inputs, hidden, seed):
    geometry = Recurrence(mode, (n,) * steps, reverse, bias)
    check_layer(np.random.default_rng(seed), geometry, inputs, hidden)


@pytest.mark.parametrize("mode, lengths, why", [
    ("gru", (3, 2), "all of one length"),
    ("rnn_relu", (3, 3), "drops NaN"),
])  # fmt: skip
def test_what_is_left_to_the_reference(rng, mode, lengths, why):
    geometry = Recurrence(mode, lengths)
    g = geometry.gates
    shapes = [(sum(lengths), 2), (3, 4), (4 * g, 2), (4 * g, 4), (4 * g,), (4 * g,)]
    assert why in plans_of("rnn", *(upload(numbers(rng, *s)) for s in shapes), geometry=geometry)


def test_nan_reaches_what_comes_after_it(rng):
    geometry = Recurrence("gru", (2,) * 4)
    shapes = [(8, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)]
    x, *rest = (numbers(rng, *s) for s in shapes)
    x[2] = np.nan  # the first sequence in the second step
    y = plain(launch("rnn", *map(upload, [x, *rest]), geometry=geometry)[0])
    lost = np.isnan(y).all(1).tolist()
    assert lost == [False, False, True, False, True, False, True, False]
