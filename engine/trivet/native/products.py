"""Matrix products by register blocks: a block of C stays in registers over the whole depth.

Blocks of rows x vectors were measured on one thread of Sapphire Rapids with full-width AVX-512
(depth 100, B in the first-level cache): 9x3, 6x4 and 5x5 reach 0.89 of what a loop of nothing but
FMA does, 14x2 0.80, 16x1 0.74. One more register than there are, and LLVM spills: half as fast.

Steps are in bytes. No value depends on how rows and columns are shared out.
"""

from __future__ import annotations

from functools import partial

from ..simd import BYTES, LANES, REGISTERS, block, helper, parameter, share, thread, threads
from ..simd import kernel as compiled

# Vectors of a panel: rows of C held; rows * vectors + vectors + 1 fit in the registers.
BLOCKS = {1: 16, 2: 14, 3: 9, 4: 6, 5: 5} if REGISTERS == 32 else {1: 12, 2: 6, 3: 4}
WIDEST = max(BLOCKS)  # vectors
HELD = (0, *BLOCKS.values())  # the same for compiled code
DEPTH = 128  # most rows of B at a time: a panel of them stays in the first-level cache
CHUNK = 72  # rows of A that meet each panel in turn
LONG = 96  # rows of both at a time where A is transposed


def _register_block(emit, rows, width, a, a_row, a_depth, b, b_depth, c, c_row, n, more, skip, m):
    """``rows`` of C, of which the first ``skip`` are not stored; m columns from c on are there."""
    places = [[c + c_row * r + BYTES * v for v in range(width)] for r in range(rows)]
    nothing = emit.constant(0.0)
    start = [emit.load(place) if more else nothing for row in places for place in row]

    def step(a, b, *sums):
        vectors = [emit.load(b + BYTES * v) for v in range(width)]
        new = []
        for r in range(rows):
            x = emit.broadcast(a + a_row * r)
            new += [sums[r * width + v] + x * vectors[v] for v in range(width)]
        return [a + a_depth, b + b_depth, *new]

    sums = emit.loop(n, [a, b, *start], step)[2:]

    def store(r, mask=None):
        for v, place in enumerate(places[r]):
            emit.store(place, sums[r * width + v], mask if v == width - 1 else None)

    def store_all():
        for r in range(rows):
            store(r)

    def store_some():
        mask = emit.first(m - (width - 1) * LANES)
        for r in range(rows):
            emit.when(skip <= r, partial(store, r, mask))

    whole = (m >= width * LANES) & skip.equals(0)
    emit.when(whole, store_all)
    emit.when(whole.equals(0), store_some)


def _any_block(emit, rows, width, *operands):
    for vectors, held in BLOCKS.items():
        for count in (held, 1):
            fixed = partial(_register_block, emit, count, vectors, *operands)
            emit.when(width.equals(vectors) & rows.equals(count), fixed)


@block
def _first(emit, rows, width, a, a_row, b, b_depth, c, c_row, n, skip, m):
    """C = A B; the depth of A is contiguous."""
    _any_block(emit, rows, width, a, a_row, 4, b, b_depth, c, c_row, n, False, skip, m)


@block
def _more(emit, rows, width, a, a_row, b, b_depth, c, c_row, n, skip, m):
    """C += A B; the depth of A is contiguous."""
    _any_block(emit, rows, width, a, a_row, 4, b, b_depth, c, c_row, n, True, skip, m)


@block
def _more_turned(emit, rows, width, a, a_depth, b, b_depth, c, c_row, n, skip, m):
    """C += A B; the rows of A are contiguous."""
    _any_block(emit, rows, width, a, 4, a_depth, b, b_depth, c, c_row, n, True, skip, m)


@block
def turn(emit, source, step, to, to_step, rows, columns):
    """LANES columns of ``rows`` rows (LANES at most), from a source (columns, rows).

    Rows of the source are ``step`` apart; columns that it lacks become 0.
    """
    lanes = emit.first(rows)
    square = [emit.load(source + step * i, emit.only_if(columns > i, lanes)) for i in range(LANES)]
    for i, row in enumerate(emit.transposed(square)):
        emit.when(rows > i, partial(emit.store, to + to_step * i, row))


@block
def _copy_some(emit, source, to, count):
    """A vector, 0 behind the first ``count``."""
    emit.store(to, emit.load(source, emit.first(count)))


@block
def copy(emit, to, source, count):
    """``count`` float32."""

    def body(at, mask):
        emit.store(to + at, emit.load(source + at, mask), mask)
        return []

    emit.sweep(count, [], body)


@block
def clear(emit, to, count):
    """``count`` zeros."""

    def body(at, mask):
        emit.store(to + at, emit.zeros(), mask)
        return []

    emit.sweep(count, [], body)


@block
def _copy_vector(emit, source, to):
    emit.store(to, emit.load(source))


@helper
def panel(vectors):
    """Vectors of the next panel: panels as even as can be, none wider than the widest block."""
    panels = (vectors + WIDEST - 1) // WIDEST
    return (vectors + panels - 1) // panels


@helper
def deep(depth):
    """Rows of B at a time: as even as can be."""
    parts = (depth + DEPTH - 1) // DEPTH
    return (depth + parts - 1) // parts


@helper
def packed(k, depth, vectors, done, width):
    """Where row k of a panel of ``width`` vectors lies, behind ``done`` others, in packed B.

    B lies in parts of ``deep`` rows, each of them in panels, one after the other.
    """
    part = deep(depth)
    first = k // part * part
    rows = min(part, depth - first)
    return (first * vectors + rows * done + (k - first) * width) * BYTES


@helper
def pack(b, b_depth, b_column, depth, columns, to, me, all_threads):
    """A thread's share of B (depth, columns), with one step of 4, into panels; 0 behind the end."""
    vectors = (columns + LANES - 1) // LANES
    part = deep(depth)
    for first in range(0, depth, part):
        last = min(first + part, depth)
        for k in range(first + me * LANES, last, all_threads * LANES):
            done, rows = 0, min(LANES, last - k)
            while done < vectors:
                width = panel(vectors - done)
                place = to + packed(k, depth, vectors, done, width)
                for v in range(done, done + width):
                    source = b + k * b_depth + v * LANES * b_column
                    left = columns - v * LANES
                    if b_column == 4:
                        for i in range(rows):
                            _copy_some(source + i * b_depth, place + i * width * BYTES, left)
                    else:
                        turn(source, b_column, place, width * BYTES, rows, left)
                    place += BYTES
                done += width


@helper
def _panels(a, a_row, b, c, c_row, rows, depth, columns, more):
    """C = A B, or C += A B, of one part of packed B."""
    left = (columns + LANES - 1) // LANES
    while left > 0:
        width = panel(left)
        held = HELD[width] if rows >= HELD[width] else 1
        step = width * BYTES
        for r in range(0, rows, held):
            row = min(r, rows - held)  # the last block repeats some of the rows before it
            x, y = a + row * a_row, c + row * c_row
            if more:
                _more(held, width, x, a_row, b, step, y, c_row, depth, r - row, columns)
            else:
                _first(held, width, x, a_row, b, step, y, c_row, depth, r - row, columns)
        b += depth * step
        c += step
        columns -= width * LANES
        left -= width


@helper
def multiply(a, a_row, b, c, c_row, rows, depth, columns, more):
    """C (rows, columns) = A (rows, depth) B, or C += A B if there is ``more``; B as ``packed``."""
    part, vectors = deep(depth), (columns + LANES - 1) // LANES
    for k in range(0, depth, part):
        n = min(part, depth - k)
        for r in range(0, rows, CHUNK):
            _panels(
                a + r * a_row + 4 * k, a_row, b + k * vectors * BYTES, c + r * c_row, c_row,
                min(CHUNK, rows - r), n, columns, more or k > 0,
            )  # fmt: skip


@helper
def _copy_rows(source, step, to, to_step, rows, vectors):
    for i in range(rows):
        for v in range(vectors):
            _copy_vector(source + i * step + v * BYTES, to + i * to_step + v * BYTES)


@helper
def add_turned(a, a_depth, b, b_depth, c, c_row, rows, depth, columns, scratch):
    """C (rows, columns) += A (depth, rows) transposed, times B (depth, columns).

    ``scratch`` has room for ``turned_scratch``: what is read often is read from there. 0: A and B
    lie in the caches already, and panels of B begin cache lines.
    """
    vectors, high = (columns + LANES - 1) // LANES, (rows + LANES - 1) // LANES
    for k in range(0, depth, LONG):
        n, left, done = min(LONG, depth - k), vectors, 0
        x, x_step = a + k * a_depth, a_depth
        if scratch:
            x, x_step = scratch + LONG * WIDEST * BYTES, high * BYTES
            _copy_rows(a + k * a_depth, a_depth, x, x_step, n, high)
        while left > 0:
            width = panel(left)
            held = HELD[width] if rows >= HELD[width] else 1
            y, y_step = b + k * b_depth + done * BYTES, b_depth
            if scratch:
                _copy_rows(y, b_depth, scratch, width * BYTES, n, width)
                y, y_step = scratch, width * BYTES
            for r in range(0, rows, held):
                row = min(r, rows - held)
                _more_turned(
                    held, width, x + 4 * row, x_step, y, y_step, c + row * c_row + done * BYTES,
                    c_row, n, r - row, columns - done * LANES,
                )  # fmt: skip
            done += width
            left -= width


@helper
def turned_scratch(rows):
    """Bytes that ``add_turned`` needs."""
    return LONG * (WIDEST + (rows + LANES - 1) // LANES) * BYTES


@compiled
def pack_right(table):
    """b, its steps along depth and columns, depth, columns, to: B as ``packed``."""
    pack(
        parameter(table, 0), parameter(table, 1), parameter(table, 2), parameter(table, 3),
        parameter(table, 4), parameter(table, 5), thread(), threads(),
    )  # fmt: skip


@compiled
def rows_product(table):
    """c, step; a, step; b as packed; rows, depth, columns, bias (0: none): C = A B + bias."""
    c_row, a_row, columns = parameter(table, 1), parameter(table, 3), parameter(table, 7)
    bias = parameter(table, 8)
    low, high = share(parameter(table, 5), 1, thread(), threads())
    c = parameter(table, 0) + low * c_row
    if bias:
        for r in range(high - low):
            copy(c + r * c_row, bias, columns)
    multiply(
        parameter(table, 2) + low * a_row, a_row, parameter(table, 4), c, c_row, high - low,
        parameter(table, 6), columns, bias != 0,
    )  # fmt: skip


@compiled
def columns_product(table):
    """c, step; a, step; b, its steps along depth and columns; rows, depth, columns, bias (0: none),
    scratch: C = A B + bias, columns shared out; each panel of B is packed just before its use.
    """
    c_row, a, a_row = parameter(table, 1), parameter(table, 2), parameter(table, 3)
    b_depth, b_column = parameter(table, 5), parameter(table, 6)
    rows, depth, columns = parameter(table, 7), parameter(table, 8), parameter(table, 9)
    scratch = parameter(table, 11) + thread() * DEPTH * WIDEST * BYTES
    part = deep(depth)
    low, high = share((columns + LANES - 1) // LANES, 1, thread(), threads())
    while low < high:
        width, first = panel(high - low), low * LANES
        taken = min(columns - first, width * LANES)
        c, b = parameter(table, 0) + 4 * first, parameter(table, 4) + first * b_column
        if parameter(table, 10):
            for r in range(rows):
                copy(c + r * c_row, parameter(table, 10) + 4 * first, taken)
        for k in range(0, depth, part):
            n, more = min(part, depth - k), k > 0 or parameter(table, 10) != 0
            pack(b + k * b_depth, b_depth, b_column, n, taken, scratch, 0, 1)
            _panels(a + 4 * k, a_row, scratch, c, c_row, rows, n, taken, more)
        low += width


@compiled
def turned_product(table):
    """c; a, step; b, step; rows, depth, columns, bias (0: none), scratch: C = A B + bias.

    The rows of A are contiguous, its depth steps; so does that of B.
    """
    rows, depth, columns = parameter(table, 5), parameter(table, 6), parameter(table, 7)
    bias, scratch = parameter(table, 8), parameter(table, 9) + thread() * turned_scratch(rows)
    low, high = share(rows, 1, thread(), threads())
    row = 4 * columns
    c = parameter(table, 0) + low * row
    for r in range(high - low):
        if bias:
            copy(c + r * row, bias, columns)
        else:
            clear(c + r * row, columns)
    if low < high:
        add_turned(
            parameter(table, 1) + 4 * low, parameter(table, 2), parameter(table, 3),
            parameter(table, 4), c, row, high - low, depth, columns, scratch,
        )  # fmt: skip
