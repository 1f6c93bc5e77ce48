"""The kernels of a GRU layer: its steps, and their gradients.

The sequences of a batch are shared out: a thread takes its own through all steps and waits for
nobody. All products of a step are made while its rows are in the thread's own cache. Rows of gates
hold r, z, n and u, the state's part of n before r scales it; so the first three belong to the input
and r, z, u to the state. Steps from row to row are in bytes.
"""

from __future__ import annotations

from functools import partial

from ..simd import (
    BYTES,
    LANES,
    REGISTERS,
    block,
    helper,
    parameter,
    read,
    read_integer,
    share,
    thread,
    threads,
    write,
)
from ..simd import kernel as compiled
from .products import LONG, add_turned, clear, copy, multiply, pack, turn, turned_scratch

GATES = 3  # products per unit of input and of state
KEPT = 4  # values per unit: r, z, n, u
ROWS = 8 if REGISTERS == 32 else 4  # sequences a time; GATES * ROWS sums and GATES + 1 more fit
MEETING = 2 * LONG  # rows that meet in a product of the weights' gradients
# Gradients vanish on their way through the steps. Below this they count as 0: with subnormal
# numbers the processor takes three times as long for all of it.
SMALLEST = 1e-36
SIZES = tuple(ROWS >> k for k in range(ROWS.bit_length()))


def _step(emit, rows, state, w, hidden, gates, y, bias, count):
    row, part = hidden * 4, hidden * 4  # bytes of a state, and from gate to gate
    lanes, start = emit.first(count), [emit.load(bias + part * k) for k in (0, 1, 3)]

    def accumulate(h, w, *sums):
        vectors = [emit.load(w + BYTES * g) for g in range(GATES)]
        new = []
        for r in range(rows):
            x = emit.broadcast(h + row * r)
            new += [sums[GATES * r + g] + x * vectors[g] for g in range(GATES)]
        return [h + 4, w + GATES * BYTES, *new]

    sums = emit.loop(hidden, [state, w, *start * rows], accumulate)[2:]
    unit = y[1]
    b = emit.load(bias + part * 2)
    for k in range(rows):
        at = gates + row * KEPT * k
        r = emit.sigmoid(sums[GATES * k] + emit.load(at))
        z = emit.sigmoid(sums[GATES * k + 1] + emit.load(at + part))
        u = sums[GATES * k + 2]
        n = emit.tanh(emit.load(at + part * 2) + b + r * u)
        for g, value in enumerate((r, z, n, u)):
            emit.store(at + part * g, value, lanes)
        old = emit.load(state + unit + row * k)
        emit.store(y[0] + row * k, n + z * (old - n), lanes)


@block
def _any_step(emit, rows, state, w, hidden, gates, y, bias, unit, count):
    """A step of some sequences for LANES units, of which ``count`` are there.

    ``state`` is the first sequence's, whole; y, gates, bias and w those of the units; ``unit``
    the bytes from the first unit to these.
    """
    for size in SIZES:
        fixed = partial(_step, emit, size, state, w, hidden, gates, (y, unit), bias, count)
        emit.when(rows.equals(size), fixed)


@block
def _pull(emit, gates, gate_row, before, gy, gy_row, running, into, sums, hidden, rows, count):
    """The gradients of a step of ``rows`` sequences for LANES units.

    ``running``: the gradient of the state, becomes its part that skips the products.
    """
    part, row = hidden * 4, hidden * 4
    lanes, nothing = emit.first(count), emit.constant(0.0)

    def normal(v):
        return (emit.absolute(v) < SMALLEST).choose(nothing, v)

    def body(gates, before, gy, running, into, *sums):
        r, z, n, u = (emit.load(gates + part * k) for k in range(KEPT))
        g = emit.load(running) + emit.load(gy)
        d_n = g * (1.0 - z) * (1.0 - n * n)
        d_z = g * (emit.load(before) - n) * z * (1.0 - z)
        made = [normal(v) for v in (d_n * u * r * (1.0 - r), d_z, d_n, d_n * r)]
        for k, value in enumerate(made):
            emit.store(into + part * k, value, lanes)
        emit.store(running, normal(g * z), lanes)
        places = [gates + gate_row, before + row, gy + gy_row, running + row, into + gate_row]
        return [*places, *(total + value for total, value in zip(sums, made))]

    start = [emit.load(sums + part * k, lanes) for k in range(KEPT)]
    for k, total in enumerate(
        emit.loop(rows, [gates, before, gy, running, into, *start], body)[5:]
    ):
        emit.store(sums + part * k, total, lanes)


@compiled
def gru_pack(table):
    """w_ih, w_hh, b_ih, b_hh, to: packed w_ih transposed, w_hh for steps, biases; inputs, hidden.

    For a step lie side by side, of each LANES units: for each unit of the old state the weights of
    r, of z and of n. Biases: of r and z both, then of n that of the input, that of the state.
    """
    w_ih, w_hh = parameter(table, 0), parameter(table, 1)
    b_ih, b_hh = parameter(table, 2), parameter(table, 3)
    to_input, to_state, to_bias = parameter(table, 4), parameter(table, 5), parameter(table, 6)
    inputs, hidden = parameter(table, 7), parameter(table, 8)
    me, all_threads = thread(), threads()
    pack(w_ih, 4, 4 * inputs, inputs, GATES * hidden, to_input, me, all_threads)
    low, high = share(hidden, LANES, me, all_threads)
    for j in range(low, high, LANES):
        for k in range(0, hidden, LANES):
            for g in range(GATES):
                source = w_hh + 4 * ((g * hidden + j) * hidden + k)
                to = to_state + 4 * (j * hidden + k * LANES) * GATES + g * BYTES
                turn(source, 4 * hidden, to, GATES * BYTES, min(LANES, hidden - k), hidden - j)
    if me == 0:
        for o in range(0, 8 * hidden, 4):
            write(to_bias + o, read(b_ih + o) + read(b_hh + o))
        for o in range(0, 4 * hidden, 4):
            write(to_bias + 8 * hidden + o, read(b_ih + 8 * hidden + o))
            write(to_bias + 12 * hidden + o, read(b_hh + 8 * hidden + o))


@helper
def _at_step(values, t, first, row, step):
    """Where the rows of step t begin; bytes from row to row and from step to step, 0: packed."""
    return values + (t * step if step else first * row)


@helper
def _rows_at_once(left):
    rows = ROWS
    while rows > left:
        rows //= 2
    return rows


@compiled
def gru_steps(table):
    """y, state, gates, w_ih, w_hh and biases as packed, x, h0, starts, steps, sequences, inputs,
    hidden, unit, reverse, keep, steps of x as in ``_at_step``.

    ``starts``: for each step the number of its first row, and that behind the last; ``unit``: in
    what groups sequences are shared out; ``keep``: ``gates`` has a row for each of x, else for each
    sequence.
    """
    y, state, gates, w_ih = (
        parameter(table, 0), parameter(table, 1), parameter(table, 2), parameter(table, 3),
    )  # fmt: skip
    w_hh, bias, x, h0, starts = (
        parameter(table, 4), parameter(table, 5), parameter(table, 6), parameter(table, 7),
        parameter(table, 8),
    )  # fmt: skip
    steps, sequences, inputs, hidden = (
        parameter(table, 9), parameter(table, 10), parameter(table, 11), parameter(table, 12),
    )  # fmt: skip
    low, high = share(sequences, parameter(table, 13), thread(), threads())
    row, wide, x_row = 4 * hidden, 4 * KEPT * hidden, parameter(table, 16)
    if low < high:
        copy(state + low * row, h0 + low * row, (high - low) * hidden)
    for s in range(steps):
        t = steps - 1 - s if parameter(table, 14) else s
        first = read_integer(starts + 8 * t)
        last = min(high, read_integer(starts + 8 * t + 8) - first)
        made = gates + first * parameter(table, 15) * wide
        if low < last:
            multiply(
                _at_step(x, t, first, x_row, parameter(table, 17)) + low * x_row, x_row, w_ih,
                made + low * wide, wide, last - low, inputs, GATES * hidden, False,
            )  # fmt: skip
        for j in range(0, hidden, LANES):
            r = low
            while r < last:
                rows = _rows_at_once(last - r)
                _any_step(
                    rows, state + r * row, w_hh + j * row * GATES, hidden,
                    made + r * wide + 4 * j, y + (first + r) * row + 4 * j,
                    bias + 4 * j, 4 * j, hidden - j,
                )  # fmt: skip
                r += rows
        if low < last:
            copy(state + low * row, y + (first + low) * row, (last - low) * hidden)


@compiled
def gru_pack_back(table):
    """w_ih, w_hh; to: w_ih, the rows of w_hh of r and z, those of n; inputs, hidden."""
    w_ih, w_hh = parameter(table, 0), parameter(table, 1)
    inputs, hidden = parameter(table, 5), parameter(table, 6)
    me, all_threads, row = thread(), threads(), 4 * hidden
    pack(w_ih, 4 * inputs, 4, GATES * hidden, inputs, parameter(table, 2), me, all_threads)
    pack(w_hh, row, 4, 2 * hidden, hidden, parameter(table, 3), me, all_threads)
    pack(w_hh + 2 * hidden * row, row, 4, hidden, hidden, parameter(table, 4), me, all_threads)


@helper
def _pull_units(gates, before, gy, gy_row, running, into, sums, hidden, rows):
    for j in range(0, hidden, LANES):
        o = 4 * j
        _pull(
            gates + o, 4 * KEPT * hidden, before + o, gy + o, gy_row, running + o, into + o,
            sums + o, hidden, rows, hidden - j,
        )  # fmt: skip


@helper
def _rows_of_step(starts, t, steps):
    """The first, and how many; none of a step that there is not."""
    first = last = 0
    if 0 <= t < steps:
        first, last = read_integer(starts + 8 * t), read_integer(starts + 8 * t + 8)
    return first, last - first


@helper
def _gather(to, source, source_row, rows, count):
    """Rows of ``count`` float32, one behind the other."""
    for r in range(rows):
        copy(to + 4 * count * r, source + r * source_row, count)


@helper
def _states_before(to, y, h0, low, middle, last, hidden):
    """What the sequences had before a step: those from ``middle`` on began with it."""
    row = 4 * hidden
    if low < middle:
        copy(to, y + low * row, (middle - low) * hidden)
    if middle < last:
        copy(to + (middle - low) * row, h0 + middle * row, (last - middle) * hidden)


@helper
def _pull_products(gates, w_ih, w_rz, w_n, gx, running, rows, inputs, hidden):
    """From some rows of gates' gradients those of x, and to ``running`` what the state gets."""
    row, wide = 4 * hidden, 4 * KEPT * hidden
    multiply(gates, wide, w_rz, running, row, rows, 2 * hidden, hidden, True)
    multiply(gates + 3 * row, wide, w_n, running, row, rows, hidden, hidden, True)
    multiply(gates, wide, w_ih, gx, 4 * inputs, rows, GATES * hidden, inputs, False)


@helper
def _pull_weights(gates, x, before, g_ih, g_hh, rows, inputs, hidden, scratch):
    """Adds to the gradients of weights what some rows of gates' gradients, x and states say."""
    row, wide, x_row = 4 * hidden, 4 * KEPT * hidden, 4 * inputs
    add_turned(gates, wide, x, x_row, g_ih, x_row, GATES * hidden, rows, inputs, scratch)
    add_turned(gates, wide, before, row, g_hh, row, 2 * hidden, rows, hidden, scratch)
    add_turned(
        gates + 3 * row, wide, before, row, g_hh + 2 * hidden * row, row, hidden, rows, hidden,
        scratch,
    )  # fmt: skip


@compiled
def gru_steps_back(table):
    """gradient of x; running (gradient of h0 at the end); gy, gh_n, x, h0, y, gates; w_ih and w_hh
    as packed (all; r and z, n); sums, room, scratch, starts, steps, sequences, inputs, hidden,
    unit, reverse, rows of a room, steps of gy and of x as in ``_at_step``.

    ``sums``: per thread, of the gradients of the gates of its sequences, then its part of the
    gradients of w_ih and of w_hh; ``room``: per thread, for so many rows of gates' gradients, of x
    and of states, which meet in the products of the weights' gradients.
    """
    gx, running, gy, gh_n = (
        parameter(table, 0), parameter(table, 1), parameter(table, 2), parameter(table, 3),
    )  # fmt: skip
    x, h0, y, gates = (
        parameter(table, 4), parameter(table, 5), parameter(table, 6), parameter(table, 7),
    )  # fmt: skip
    w_ih, w_rz, w_n, starts = (
        parameter(table, 8), parameter(table, 9), parameter(table, 10), parameter(table, 14),
    )  # fmt: skip
    steps, sequences, inputs, hidden = (
        parameter(table, 15), parameter(table, 16), parameter(table, 17), parameter(table, 18),
    )  # fmt: skip
    low, high = share(sequences, parameter(table, 19), thread(), threads())
    row, wide, x_row, reverse = 4 * hidden, 4 * KEPT * hidden, 4 * inputs, parameter(table, 20)
    gy_row, source_row = parameter(table, 22), parameter(table, 24)
    part, most = KEPT * hidden + GATES * hidden * (inputs + hidden), parameter(table, 21)
    sums = parameter(table, 11) + thread() * 4 * part
    g_ih = sums + wide
    g_hh = g_ih + GATES * hidden * x_row
    into = parameter(table, 12) + thread() * (most * (wide + x_row + row) + BYTES)
    xs = into + most * wide
    before = xs + most * x_row
    scratch = parameter(table, 13) + thread() * turned_scratch(GATES * hidden)
    clear(sums, part)
    if low < high:
        copy(running + low * row, gh_n + low * row, (high - low) * hidden)
    kept = 0
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        first = read_integer(starts + 8 * t)
        last = min(high, read_integer(starts + 8 * t + 8) - first)
        begin, running_then = _rows_of_step(starts, t + 1 if reverse else t - 1, steps)
        middle = min(max(running_then, low), last)
        if low < last:
            rows = last - low
            if kept + rows > most:
                _pull_weights(into, xs, before, g_ih, g_hh, kept, inputs, hidden, scratch)
                kept = 0
            at, now, old = first + low, into + kept * wide, before + kept * row
            source = _at_step(x, t, first, source_row, parameter(table, 25)) + low * source_row
            _gather(xs + kept * x_row, source, source_row, rows, inputs)
            _states_before(old, y + begin * row, h0, low, middle, last, hidden)
            c = running + low * row
            g = _at_step(gy, t, first, gy_row, parameter(table, 23)) + low * gy_row
            _pull_units(gates + at * wide, old, g, gy_row, c, now, sums, hidden, rows)
            _pull_products(now, w_ih, w_rz, w_n, gx + at * x_row, c, rows, inputs, hidden)
            kept += rows
    if kept > 0:
        _pull_weights(into, xs, before, g_ih, g_hh, kept, inputs, hidden, scratch)


@block
def _add(emit, to, other, count):
    def body(at, mask):
        emit.store(to + at, emit.load(to + at, mask) + emit.load(other + at, mask), mask)
        return []

    emit.sweep(count, [], body)


@helper
def _add_parts(to, parts, count, step):
    """A thread's share of the sum of what the threads have."""
    low, high = share(count, LANES, thread(), threads())
    if low < high:
        copy(to + 4 * low, parts + 4 * low, high - low)
        for k in range(1, threads()):
            _add(to + 4 * low, parts + k * step + 4 * low, high - low)


@compiled
def gru_add_parts(table):
    """gradients of w_ih, w_hh, b_ih, b_hh (0: none); sums of each thread; inputs, hidden."""
    sums, inputs, hidden = parameter(table, 4), parameter(table, 5), parameter(table, 6)
    row = 4 * hidden
    step = 4 * (KEPT * hidden + GATES * hidden * (inputs + hidden))
    parts = sums + KEPT * row
    _add_parts(parameter(table, 0), parts, GATES * hidden * inputs, step)
    _add_parts(
        parameter(table, 1), parts + GATES * row * inputs, GATES * hidden * hidden, step
    )  # fmt: skip
    if thread() == 0 and parameter(table, 2) != 0:
        gb_ih, gb_hh = parameter(table, 2), parameter(table, 3)
        for o in range(0, KEPT * row, 4):
            total = read(sums + o)
            for k in range(1, threads()):
                total += read(sums + k * step + o)
            if o < 3 * row:
                write(gb_ih + o, total)
            if o < 2 * row:
                write(gb_hh + o, total)
            if o >= 3 * row:
                write(gb_hh + o - row, total)
