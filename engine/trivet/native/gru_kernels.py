"""The kernels of a GRU layer: its steps, their gradients, and the products over all steps.

The sequences of a batch are shared out: a thread takes its own through all steps and waits for
nobody. Rows of gates hold r, z, n and u, the state's part of n before r scales it; so the first
three belong to the input and r, z, u to the state. Steps from row to row are in bytes.
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
from .products import add_turned, clear, copy, multiply, pack, turn, turned_scratch

GATES = 3  # products per unit of input and of state
KEPT = 4  # values per unit: r, z, n, u
ROWS = 8 if REGISTERS == 32 else 4  # sequences a time; GATES * ROWS sums and GATES + 1 more fit
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
def _pull(emit, gates, gate_row, before, gy, running, into, sums, hidden, rows, count):
    """The gradients of a step of ``rows`` sequences for LANES units.

    ``running``: the gradient of the state, becomes its part that skips the products.
    """
    part, row = hidden * 4, hidden * 4
    lanes = emit.first(count)

    def body(gates, before, gy, running, into, *sums):
        r, z, n, u = (emit.load(gates + part * k) for k in range(KEPT))
        g = emit.load(running) + emit.load(gy)
        d_n = g * (1.0 - z) * (1.0 - n * n)
        d_z = g * (emit.load(before) - n) * z * (1.0 - z)
        made = d_n * u * r * (1.0 - r), d_z, d_n, d_n * r
        for k, value in enumerate(made):
            emit.store(into + part * k, value, lanes)
        emit.store(running, g * z, lanes)
        places = [gates + gate_row, before + row, gy + row, running + row, into + gate_row]
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
def _rows_at_once(left):
    rows = ROWS
    while rows > left:
        rows //= 2
    return rows


@compiled
def gru_steps(table):
    """y, state, gates, w_hh and biases as packed, h0, starts, steps, sequences, hidden, unit,
    reverse.

    ``starts``: for each step the number of its first row, and that behind the last; ``unit``: in
    what groups sequences are shared out. ``gates`` hold the inputs' products.
    """
    y, state, gates = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    w, bias, h0, starts = (
        parameter(table, 3), parameter(table, 4), parameter(table, 5), parameter(table, 6),
    )  # fmt: skip
    steps, sequences, hidden = parameter(table, 7), parameter(table, 8), parameter(table, 9)
    low, high = share(sequences, parameter(table, 10), thread(), threads())
    row = 4 * hidden
    if low < high:
        copy(state + low * row, h0 + low * row, (high - low) * hidden)
    for s in range(steps):
        t = steps - 1 - s if parameter(table, 11) else s
        first = read_integer(starts + 8 * t)
        last = min(high, read_integer(starts + 8 * t + 8) - first)
        for j in range(0, hidden, LANES):
            r = low
            while r < last:
                rows = _rows_at_once(last - r)
                _any_step(
                    rows, state + r * row, w + j * row * GATES, hidden,
                    gates + (first + r) * row * KEPT + 4 * j, y + (first + r) * row + 4 * j,
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
def _pull_units(gates, before, gy, running, into, sums, hidden, rows):
    for j in range(0, hidden, LANES):
        o = 4 * j
        _pull(
            gates + o, 4 * KEPT * hidden, before + o, gy + o, running + o, into + o, sums + o,
            hidden, rows, hidden - j,
        )  # fmt: skip


@compiled
def gru_steps_back(table):
    """running (gradient of h0 at the end), gy, gh_n, h0, y, gates, their gradients, w_hh as packed
    (r and z, n), sums, starts, steps, sequences, hidden, unit, reverse.

    ``sums``: per thread, of the gradients of the gates of its sequences.
    """
    running, gy, gh_n = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    h0, y, gates, into = (
        parameter(table, 3), parameter(table, 4), parameter(table, 5), parameter(table, 6),
    )  # fmt: skip
    w_rz, w_n, starts = parameter(table, 7), parameter(table, 8), parameter(table, 10)
    steps, sequences, hidden = parameter(table, 11), parameter(table, 12), parameter(table, 13)
    low, high = share(sequences, parameter(table, 14), thread(), threads())
    row, wide, reverse = 4 * hidden, 4 * KEPT * hidden, parameter(table, 15)
    sums = parameter(table, 9) + thread() * wide
    clear(sums, KEPT * hidden)
    if low < high:
        copy(running + low * row, gh_n + low * row, (high - low) * hidden)
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        first = read_integer(starts + 8 * t)
        last = min(high, read_integer(starts + 8 * t + 8) - first)
        earlier, running_then, begin = t + 1 if reverse else t - 1, 0, 0
        if 0 <= earlier < steps:
            begin = read_integer(starts + 8 * earlier)
            running_then = read_integer(starts + 8 * earlier + 8) - begin
        middle = min(max(running_then, low), last)  # from here on, sequences began with this step
        if low < middle:
            at = first + low
            _pull_units(
                gates + at * wide, y + (begin + low) * row, gy + at * row, running + low * row,
                into + at * wide, sums, hidden, middle - low,
            )  # fmt: skip
        if middle < last:
            at = first + middle
            _pull_units(
                gates + at * wide, h0 + middle * row, gy + at * row, running + middle * row,
                into + at * wide, sums, hidden, last - middle,
            )  # fmt: skip
        if low < last:
            a, c, rows = into + (first + low) * wide, running + low * row, last - low
            multiply(a, wide, w_rz, c, row, rows, 2 * hidden, hidden, True)
            multiply(a + 3 * row, wide, w_n, c, row, rows, hidden, hidden, True)


@compiled
def gru_weights_back(table):
    """gradients of w_ih, w_hh, b_ih, b_hh (0: none); gradients of the gates, x, h0, y, sums, runs,
    number of runs, rows, inputs, hidden, scratch.

    A run is four int64: a number of rows, the first of them, whether the states they began with
    are rows of y (else of h0), and which is the first of those.
    """
    gw_ih, gw_hh = parameter(table, 0), parameter(table, 1)
    gb_ih, gb_hh, gates = parameter(table, 2), parameter(table, 3), parameter(table, 4)
    x, h0, y, sums = (
        parameter(table, 5), parameter(table, 6), parameter(table, 7), parameter(table, 8),
    )  # fmt: skip
    runs, count, rows = parameter(table, 9), parameter(table, 10), parameter(table, 11)
    inputs, hidden = parameter(table, 12), parameter(table, 13)
    scratch = parameter(table, 14) + thread() * turned_scratch(GATES * hidden)
    row, wide, me, all_threads = 4 * hidden, 4 * KEPT * hidden, thread(), threads()
    low, high = share(GATES * hidden, 1, me, all_threads)
    if low < high:
        c = gw_ih + low * 4 * inputs
        clear(c, (high - low) * inputs)
        add_turned(
            gates + 4 * low, wide, x, 4 * inputs, c, 4 * inputs, high - low, rows, inputs, scratch
        )
    for part in range(2):  # r and z; u, of which n's weights made the product
        low, high = share(hidden * (2 - part), 1, me, all_threads)
        if low < high:
            c = gw_hh + (low + part * 2 * hidden) * row
            clear(c, (high - low) * hidden)
            a = gates + 4 * (low + part * 3 * hidden)
            for k in range(runs, runs + 32 * count, 32):
                before = (y if read_integer(k + 16) else h0) + read_integer(k + 24) * row
                first = a + read_integer(k + 8) * wide
                add_turned(
                    first, wide, before, row, c, row, high - low, read_integer(k), hidden, scratch
                )
    if me == 0 and gb_ih != 0:
        for o in range(0, wide, 4):
            total = read(sums + o)
            for t in range(1, all_threads):
                total += read(sums + t * wide + o)
            if o < 3 * row:
                write(gb_ih + o, total)
            if o < 2 * row:
                write(gb_hh + o, total)
            if o >= 3 * row:
                write(gb_hh + o - row, total)
