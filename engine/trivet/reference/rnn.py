"""Recurrent layers, one direction of one layer at a time: textbook steps over packed rows.

Products that do not wait for the step before (all inputs, all weight gradients) are one matrix
product over all steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..geometry import Recurrence
from ..spec import Spec
from .common import as_they_lie, kernel, plain


@dataclass(frozen=True)
class Cell:
    """One step of a mode and its gradient, for the n sequences that are still running.

    ``step(a, states, w, b, kept)`` returns the new states; a (n, G*H) are the input products.
    ``pull(gs, y, kept, states, w, da, du)`` takes the gradients of the new states and returns those
    of the old; it writes those of the input products into da, of the hidden ones into du.
    """

    step: Callable
    pull: Callable
    blocks: int  # of H columns that step keeps for pull


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _split(array, blocks):
    return np.split(array, blocks, axis=1)


def _rnn(function, slope):
    def step(a, states, w, b, kept):
        (h,) = states
        return (function(a + h @ w.T + b),)

    def pull(gs, y, kept, states, w, da, du):
        da[...] = gs[0] * slope(y)
        return (da @ w,)

    return Cell(step, pull, 0)


def _lstm_step(a, states, w, b, kept):
    h, c = states
    i, f, g, o, new = _split(kept, 5)
    for gate, v in zip((i, f, g, o), _split(a + h @ w.T + b, 4)):
        gate[...] = np.tanh(v) if gate is g else _sigmoid(v)
    new[...] = f * c + i * g
    return o * np.tanh(new), new


def _lstm_pull(gs, y, kept, states, w, da, du):
    (gh, gc), (_, c) = gs, states
    i, f, g, o, new = _split(kept, 5)
    t = np.tanh(new)
    gc = gc + gh * o * (1 - t * t)
    di, df, dg, do = _split(da, 4)
    di[...] = gc * g * i * (1 - i)
    df[...] = gc * c * f * (1 - f)
    dg[...] = gc * i * (1 - g * g)
    do[...] = gh * t * o * (1 - o)
    return da @ w, gc * f


def _gru_step(a, states, w, b, kept):
    """The reset gate scales the finished product: n = tanh(a_n + r * (h W_n + b_n))."""
    (h,) = states
    r, z, n, u_n = _split(kept, 4)
    (a_r, a_z, a_n), (u_r, u_z, u) = _split(a, 3), _split(h @ w.T + b, 3)
    r[...], z[...], u_n[...] = _sigmoid(a_r + u_r), _sigmoid(a_z + u_z), u
    n[...] = np.tanh(a_n + r * u)
    return ((1 - z) * n + z * h,)


def _gru_pull(gs, y, kept, states, w, da, du):
    (g,), (h,) = gs, states
    r, z, n, u_n = _split(kept, 4)
    da_r, da_z, da_n = _split(da, 3)
    da_n[...] = g * (1 - z) * (1 - n * n)
    da_z[...] = g * (h - n) * z * (1 - z)
    da_r[...] = da_n * u_n * r * (1 - r)
    du[...] = da
    _split(du, 3)[2][...] *= r
    return (g * z + du @ w,)


def _gru_original_step(a, states, w, b, kept):
    """The reset gate scales the state before the product: n = tanh(a_n + (r * h) W_n + b_n)."""
    (h,), H = states, states[0].shape[1]
    r, z, n = _split(kept, 3)
    kept[:, : 2 * H] = _sigmoid(a[:, : 2 * H] + h @ w[: 2 * H].T + b[: 2 * H])
    n[...] = np.tanh(a[:, 2 * H :] + (r * h) @ w[2 * H :].T + b[2 * H :])
    return ((1 - z) * n + z * h,)


def _gru_original_pull(gs, y, kept, states, w, da, du):
    (g,), (h,), H = gs, states, y.shape[1]
    r, z, n = _split(kept, 3)
    da_r, da_z, da_n = _split(da, 3)
    da_n[...] = g * (1 - z) * (1 - n * n)
    da_z[...] = g * (h - n) * z * (1 - z)
    g_rh = da_n @ w[2 * H :]
    da_r[...] = g_rh * h * r * (1 - r)
    return (g * z + g_rh * r + da[:, : 2 * H] @ w[: 2 * H],)


CELLS = {
    "rnn_tanh": _rnn(np.tanh, lambda y: 1 - y * y),
    "rnn_relu": _rnn(lambda v: np.maximum(v, 0), lambda y: ~(y <= 0)),
    "lstm": Cell(_lstm_step, _lstm_pull, 5),  # i, f, g, o, new c
    "gru": Cell(_gru_step, _gru_pull, 4),  # r, z, n, hidden product of n
    "gru_original": Cell(_gru_original_step, _gru_original_pull, 3),  # r, z, n
}


@kernel("rnn")
def rnn(call):
    """x (rows, I), h0 (N, H)[, c0], w_ih (G*H, I), w_hh (G*H, H)[, b_ih, b_hh (G*H)]
    -> y (rows, H), h_n (N, H)[, c_n]; kept (rows, blocks * H) for the gradient.

    The rows of x and y may have two axes, (T, N).
    """
    geometry, (x, h0, *_) = call.geometry, call.ins
    cell, S = CELLS[geometry.mode], geometry.states
    steps, H, width = x.shape[:-1], h0.shape[1], cell.blocks * h0.shape[1]
    outs = [Spec((*steps, H), x.dtype), *(Spec(h0.shape, x.dtype) for _ in range(S))]
    if call.auxiliaries:
        outs.append(Spec((math.prod(steps), width), x.dtype))

    def run(*arrays):
        (y, *rest), (x, *operands) = arrays[: len(outs)], arrays[len(outs) :]
        states, initial, (w_ih, w_hh, *b) = rest[:S], operands[:S], operands[S:]
        x, y = _rows(x), _rows(y)
        for state, start in zip(states, initial):
            state[...] = start
        b_ih, b_hh = b or np.zeros((2, len(w_hh)), x.dtype)
        scratch = np.empty((len(states[0]), width), x.dtype)
        with np.errstate(all="ignore"):  # inf and nan are results, as in every framework
            a = x @ w_ih.T + b_ih  # (rows, G*H)
            for at in geometry.walk:
                n = at.stop - at.start
                kept = rest[S][at] if call.auxiliaries else scratch[:n]
                new = cell.step(a[at], [s[:n] for s in states], w_hh, b_hh, kept)
                for state, value in zip(states, new):
                    state[:n] = value
                y[at] = new[0]

    return plain(call, run, *outs)


def _rows(steps):
    """A view (rows, features) of plain values that may be (T, N, features)."""
    return steps.reshape(-1, steps.shape[-1])


def _before(values, initial, geometry: Recurrence):
    """The state that each row's step began with, from those that the steps ended with."""
    before, state = np.empty_like(values), initial.copy()
    for at in geometry.walk:
        n = at.stop - at.start
        before[at] = state[:n]
        state[:n] = values[at]
    return before


@kernel("rnn_grad")
def rnn_grad(call):
    """gy, gh_n[, gc_n], the operands of ``rnn``, y and kept -> a gradient per operand."""
    geometry = call.geometry
    cell, S, count = CELLS[geometry.mode], geometry.states, 3 + geometry.states
    count += 2 * geometry.bias
    outs = [Spec(s.shape, s.dtype) for s in call.ins[1 + S : 1 + S + count]]

    def run(*arrays):
        (gx, *gstates), gweights = arrays[: 1 + S], arrays[1 + S : count]
        (gy, *gends), (x, *operands) = arrays[count:][: 1 + S], arrays[count + 1 + S : -2]
        initial, (w_ih, w_hh, *_), (y, kept) = operands[:S], operands[S:], arrays[-2:]
        gx, gy, x, y = map(_rows, (gx, gy, x, y))
        ends = [y, kept[:, -y.shape[1] :]][:S]  # an LSTM keeps its cell last
        before = [_before(*pair, geometry) for pair in zip(ends, initial)]
        da = np.empty((len(x), len(w_hh)), x.dtype)
        du = np.empty_like(da) if geometry.mode == "gru" else da  # elsewhere a and u are summed
        for g, end in zip(gstates, gends):
            g[...] = end
        with np.errstate(all="ignore"):
            for at in reversed(geometry.walk):
                running = [g[: at.stop - at.start] for g in gstates]
                arrived = [running[0] + gy[at], *running[1:]]
                old = [v[at] for v in before]
                pulled = cell.pull(arrived, y[at], kept[at], old, w_hh, da[at], du[at])
                for g, value in zip(running, pulled):
                    g[...] = value
            np.matmul(da, w_ih, out=gx)
            _weight_gradients(gweights, geometry.mode, x, before[0], kept, da, du)

    return plain(call, run, *outs)


def _weight_gradients(gweights, mode, x, h, kept, da, du):
    """Sums over all steps at once."""
    gw_ih, gw_hh, *gb = gweights
    np.matmul(da.T, x, out=gw_ih)
    np.matmul(du.T, h, out=gw_hh)
    if mode == "gru_original":  # its candidate saw r * h
        H = h.shape[1]
        np.matmul(du[:, 2 * H :].T, kept[:, :H] * h, out=gw_hh[2 * H :])
    for g, d in zip(gb, (da, du)):
        g[...] = d.sum(0)


@kernel("pack")
def pack(call):
    """x (T, N, ...) -> the rows before each sequence's end (rows, ...)."""
    (x,), (steps, sequences) = call.ins, call.geometry.places

    def run(y, x):
        y[...] = x[steps, sequences]

    return as_they_lie(call, run, Spec((call.geometry.rows, *x.shape[2:]), x.dtype))


@kernel("unpack")
def unpack(call):
    """x (rows, ...) -> (T, N, ...) with zeros behind each sequence's end."""
    (x,), (steps, sequences) = call.ins, call.geometry.places

    def run(y, x):
        y[...] = 0
        y[steps, sequences] = x

    shape = (call.geometry.steps, len(call.geometry.lengths), *x.shape[1:])
    return as_they_lie(call, run, Spec(shape, x.dtype))


@kernel("order_rows")
def order_rows(call):
    """geometry = for each row of the result (axis -2), which row of x it is."""
    (x,), order = call.ins, list(call.geometry)

    def run(y, x):
        np.take(x, order, axis=-2, out=y)

    return as_they_lie(call, run, Spec(x.shape, x.dtype))
