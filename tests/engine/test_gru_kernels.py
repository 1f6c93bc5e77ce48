"""GRU kernels against the float64 reference, by a running error analysis of the same layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from addressed import execute, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import registry
from trivet.geometry import Recurrence
from trivet.lib import openmp
from trivet.registry import Call
from trivet.spec import Spec, Strided

pytest.importorskip("numba")

EPS = np.finfo(np.float32).eps
FUNCTION = 4 * EPS  # sigmoid and tanh may be off by this much


@dataclass
class Number:
    """Values, and what each may be off when computed in float32 in any order of its sums."""

    value: np.ndarray
    off: np.ndarray

    @classmethod
    def exact(cls, array):
        return cls(array.astype(np.float64), np.zeros(array.shape))

    def _rounded(self):
        return Number(self.value, self.off + EPS * np.abs(self.value))

    def __add__(self, other):
        return Number(self.value + other.value, self.off + other.off)._rounded()

    def __sub__(self, other):
        return Number(self.value - other.value, self.off + other.off)._rounded()

    def __mul__(self, other):
        off = np.abs(self.value) * other.off + self.off * (np.abs(other.value) + other.off)
        return Number(self.value * other.value, off)._rounded()

    def __matmul__(self, other):
        size, others = np.abs(self.value), np.abs(other.value)
        off = size @ other.off + self.off @ (others + other.off)
        return Number(self.value @ other.value, off + EPS * self.value.shape[1] * (size @ others))

    def __getitem__(self, at):
        return Number(self.value[at], self.off[at])

    def sum(self):
        count = len(self.value) * EPS
        return Number(self.value.sum(0), self.off.sum(0) + count * np.abs(self.value).sum(0))

    @property
    def T(self):
        return Number(self.value.T, self.off.T)

    def sigmoid(self):
        return Number(1 / (1 + np.exp(-self.value)), self.off / 4 + FUNCTION)

    def tanh(self):
        return Number(np.tanh(self.value), self.off + FUNCTION)


ONE = Number(np.ones(()), np.zeros(()))


def rows_of(parts, order):
    """Rows of steps put together again."""
    parts = [parts[k] for k in order]
    return Number(np.concatenate([p.value for p in parts]), np.concatenate([p.off for p in parts]))


class Layer:
    """A GRU layer with random operands."""

    def __init__(self, sizes, inputs, hidden, reverse=False, bias=True, seed=0, spread=0.5):
        rng = np.random.default_rng(seed)
        self.geometry = Recurrence("gru", tuple(sizes), reverse, bias)
        rows, n = sum(sizes), sizes[0]

        def normal(*shape, scale=1.0):
            return (scale * rng.standard_normal(shape)).astype("f")

        shapes = [(3 * hidden, inputs), (3 * hidden, hidden)]
        weights = [normal(*shape, scale=spread / np.sqrt(shape[1])) for shape in shapes]
        biases = [normal(3 * hidden) for _ in range(2)] if bias else []
        self.operands = [normal(rows, inputs), normal(n, hidden), *weights, *biases]
        self.gradients = [normal(rows, hidden), normal(n, hidden)]

    def call(self, auxiliaries=True):
        specs = tuple(Spec(a.shape) for a in self.operands)
        return Call("rnn", specs, self.geometry, auxiliaries=auxiliaries)

    def run(self, auxiliaries=True):
        """y and h_n; if asked for, the gradients of all operands."""
        (plan,) = registry.ask("trivet.native", self.call(auxiliaries))
        made = execute(plan, *self.operands)
        if not auxiliaries:
            return made
        y, h_n, kept = made
        operands = [*self.gradients, *self.operands, y, kept]
        call = Call("rnn_grad", tuple(Spec(a.shape) for a in operands), self.geometry)
        (plan,) = registry.ask("trivet.native", call)
        return [y, h_n, *execute(plan, *operands)]

    def expected(self):
        y, h_n, kept = reference(self.call(), *self.operands)
        operands = [*self.gradients, *self.operands, y, kept]
        call = Call("rnn_grad", tuple(Spec(a.shape) for a in operands), self.geometry)
        return [y, h_n, *reference(call, *operands)]

    def analysed(self):
        """The same values with their bounds."""
        x, h0, w_ih, w_hh, *b = map(Number.exact, self.operands)
        hidden, walk = h0.value.shape[1], self.geometry.walk
        b_ih, b_hh = b or [Number.exact(np.zeros(3 * hidden))] * 2
        r_, z_, n_ = (np.s_[:, k * hidden : (k + 1) * hidden] for k in range(3))
        state, steps = h0, {}
        for at in walk:
            n = at.stop - at.start
            h, rest = state[:n], state[n:]
            a, u = x[at] @ w_ih.T + b_ih, h @ w_hh.T + b_hh
            r, z = (a[r_] + u[r_]).sigmoid(), (a[z_] + u[z_]).sigmoid()
            new = (a[n_] + r * u[n_]).tanh()
            y = new + z * (h - new)
            steps[at.start] = h, r, z, new, u[n_], y
            state = rows_of([y, rest], (0, 1))
        gy, running = map(Number.exact, self.gradients)
        h_n, da, du = state, {}, {}
        for at in reversed(walk):
            n = at.stop - at.start
            h, r, z, new, u, _ = steps[at.start]
            g = running[:n] + gy[at]
            d_n = g * (ONE - z) * (ONE - new * new)
            d_z, d_r = g * (h - new) * z * (ONE - z), d_n * u * r * (ONE - r)
            da[at.start], du[at.start] = _beside(d_r, d_z, d_n), _beside(d_r, d_z, d_n * r)
            running = rows_of([g * z + du[at.start] @ w_hh, running[n:]], (0, 1))
        order = sorted(steps)
        before, y = (rows_of({k: v[i] for k, v in steps.items()}, order) for i in (0, 5))
        da, du = rows_of(da, order), rows_of(du, order)
        grads = [da @ w_ih, running, da.T @ x, du.T @ before]
        return [y, h_n, *grads, *([da.sum(), du.sum()] if b else [])]


def _beside(*parts):
    values = [np.concatenate([getattr(p, name) for p in parts], 1) for name in ("value", "off")]
    return Number(*values)


def check(layer):
    found, expected, analysed = layer.run(), layer.expected(), layer.analysed()
    assert len(found) == len(expected) == len(analysed)
    for mine, truth, bound in zip(found, expected, analysed):
        np.testing.assert_allclose(truth, bound.value, rtol=1e-9, atol=1e-9)  # the same layer
        assert (np.abs(mine - truth) <= bound.off + EPS * np.abs(truth)).all()
    for mine, before in zip(layer.run(auxiliaries=False), found):
        np.testing.assert_array_equal(mine, before)


LAYERS = [
    Layer([4, 4, 4], 5, 7),
    Layer([1], 1, 1, bias=False),
    Layer([9, 9, 6, 2, 2, 1], 20, 33),
    Layer([9, 9, 6, 2, 2, 1], 20, 33, reverse=True),
    Layer([33, 33], 125, 100, reverse=True, bias=False),
    Layer([17] * 3, 300, 48),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_results_and_gradients_are_within_the_bound(layer):
    check(layer)


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(lambda s: sorted(s)[::-1])


@settings(max_examples=60, deadline=None)
@given(
    sizes, st.integers(1, 130), st.integers(1, 130), st.booleans(), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_random_layers(sizes, inputs, hidden, reverse, bias, seed):
    check(Layer(sizes, inputs, hidden, reverse, bias, seed))


def test_a_long_sequence_loses_no_more_than_numpy_does_in_float32():
    layer = Layer([16] * 120, 30, 50)
    (plan,) = registry.ask("trivet.reference", layer.call())
    outs = [np.empty(spec.shape, "f") for spec in plan.outs]
    plan.run(*outs, *layer.operands)
    truth = reference(layer.call(), *layer.operands)
    allowed = 4 * np.abs(outs[0] - truth[0]).max()
    assert np.abs(layer.run(auxiliaries=False)[0] - truth[0]).max() <= allowed


def test_only_gradients_of_parameters_depend_on_the_number_of_threads(monkeypatch):
    layer, results = Layer([21, 21, 20, 3], 40, 50), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(openmp, "threads", lambda threads=threads: threads)
        results.append(layer.run())
        check(layer)
    for other in results[1:]:
        for mine, first in zip(other[:-4], results[0][:-4]):
            np.testing.assert_array_equal(mine, first)


def test_a_bound_plan_gives_the_same_bits():
    layer = Layer([5, 5], 6, 17)
    (plan,) = registry.ask("trivet.native", layer.call())
    once, again = (execute(plan, *layer.operands, bound=b) for b in (False, True))
    for a, b in zip(once, again):
        np.testing.assert_array_equal(a, b)


def test_not_a_number_stays_with_its_sequence():
    layer = Layer([6, 6], 5, 9)
    layer.operands[0][2, 0] = np.nan
    y, h_n = layer.run(auxiliaries=False)
    assert np.isnan(h_n[2]).all() and np.isnan(y[2]).all()
    others = [0, 1, 3, 4, 5]
    assert np.isfinite(h_n[others]).all() and np.isfinite(y[others]).all()


def test_refusals():
    call = Layer([3], 2, 2).call()

    def refused(**changes):
        return isinstance(registry.ask("trivet.native", replace(call, **changes)), str)

    assert not refused()
    assert refused(geometry=replace(call.geometry, mode="gru_original"))
    assert refused(ins=tuple(replace(spec, dtype="float64") for spec in call.ins))


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_may_lie_sequence_by_sequence(reverse):
    """As a batch-first network has them, x and the gradient of y: the same bits, nothing copied."""
    steps, sequences, inputs, hidden = 7, 20, 33, 50
    layer = Layer([sequences] * steps, inputs, hidden, reverse)

    def lying(features):
        layout = Strided(steps=(features, steps * features, 1))
        return Spec((steps, sequences, features), layout=layout)

    def first_of(call, operands, lies):
        operands, specs = list(operands), list(call.ins)
        for at, spec in lies.items():
            operands[at], specs[at] = operands[at].reshape(spec.shape), spec
        (plan,) = registry.ask("trivet.native", replace(call, ins=tuple(specs)))
        assert all(plan.ins[at] == spec for at, spec in lies.items())
        return execute(plan, *operands)

    y, h_n, kept = first_of(layer.call(), layer.operands, {0: lying(inputs)})
    operands = [*layer.gradients, *layer.operands, y.reshape(-1, hidden), kept]
    call = Call("rnn_grad", tuple(Spec(a.shape) for a in operands), layer.geometry)
    found = y, h_n, *first_of(call, operands, {0: lying(hidden), 2: lying(inputs)})
    for mine, packed in zip(found, layer.run(), strict=True):
        np.testing.assert_array_equal(mine.reshape(packed.shape), packed)


def test_a_vanishing_gradient_becomes_zero():
    layer = Layer([3] * 300, 4, 5, spread=0.2)
    layer.gradients[0][:-3] = 0  # a loss of the last step alone, as a classifier of sequences has
    gx, (expected, of_gx) = layer.run()[2], (layer.expected()[2], layer.analysed()[2])
    assert np.abs(expected[:3]).min() > 0 and np.abs(expected[:3]).max() < 1e-45
    assert not gx[:3].any()
    assert (np.abs(gx - expected) <= of_gx.off + 1e-35).all()
