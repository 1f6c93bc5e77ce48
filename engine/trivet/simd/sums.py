"""Sums: kernels that add up terms over rows, a sum per column, or over everything.

Sums are taken in float64: products of float32 are exact there, so a variance may be the difference
of two sums. Where that is not needed, terms may be float32: a few of them are added up before they
are widened. The order is fixed for a number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from .kernels import (
    Kernel,
    block,
    helper,
    kernel,
    parameter,
    read_double,
    share,
    thread,
    threads,
    variant,
    write,
)  # fmt: skip
from .ssa import DOUBLES, Value
from .target import BYTES, LANES, LINE

ROWS = 4  # at a time: few streams, each read from its begin to its end


def padded(columns: int) -> int:
    """Places of a partial sum: whole vectors."""
    return -(-columns // LANES) * LANES


class ColumnSums:
    """``sum over rows of terms(emit, *operands)``, then ``finish`` of a column's sums.

    Two kernels: the first leaves each thread's sums in the workspace, the second adds those up.
    Vectors may be read past the end of a row; what comes of it is not stored.

    Args:
        name: No other kernel's.
        terms: The vectors to add up, made of the operands' vectors: of float64, or of float32, of
            which ``ROWS`` are added up before they are widened.
        kinds: Per operand "m", an element per place; "c", one per column; "r", one per row.
        finish: function(emit, *sums in float64, *columns in float32, *options in float64): the
            results, in float32.
        sums, results, columns, options: How many there are.
    """

    def __init__(
        self,
        name: str,
        terms: Callable,
        finish: Callable,
        *,
        kinds: str = "m",
        sums: int = 1,
        results: int = 1,
        columns: int = 0,
        options: int = 0,
    ):
        self.name, self.terms, self.finish, self.kinds = name, terms, finish, kinds
        self.sums, self.results, self.columns, self.options = sums, results, columns, options

    def workspace(self, columns: int, threads: int) -> int:
        """Bytes of partial sums."""
        return threads * self.sums * padded(columns) * 8

    def stages(self, rows, columns, operands, partials, outs, ins, options, threads) -> list:
        """Both as stages of a Launch on so many threads.

        Args:
            operands: (Operand, step from row to row in elements) each.
            partials: The Operand of the workspace.
            outs, ins: Operands of the results and of what ``finish`` takes per column.
            options: As entries of a table (``double_bits``).
        """
        size = self.sums * padded(columns) * 8
        steps = [entry for at, step in operands for entry in (at, 4 * step)]
        return [
            (self.adding, (rows, columns, partials, size, *steps)),
            (self.finishing, (columns, partials, size, threads, *outs, *ins, *options)),
        ]

    @cached_property
    def adding(self) -> Kernel:
        blocks = {"_several": _sums_block(self, ROWS), "_single": _sums_block(self, 1)}
        return variant(_adding, f"{self.name}_adding", [self.terms], **blocks)

    @cached_property
    def finishing(self) -> Kernel:
        finish = _finish_block(self)
        return variant(_finishing, f"{self.name}_finishing", [self.finish], _finish=finish)


_several = _single = _finish = None  # blocks of a template; each variant brings its own


def _adding(table):
    size = parameter(table, 3)
    mine = parameter(table, 2) + thread() * size
    _clear(mine, size // (8 * LANES))
    row, high = share(parameter(table, 0), 1, thread(), threads())
    while row + ROWS <= high:
        _several(table, mine, row)
        row += ROWS
    while row < high:
        _single(table, mine, row)
        row += 1


@block
def _clear(emit, at, count):
    def body(at):
        emit.store(at, emit.zeros(DOUBLES))
        return [at + 2 * BYTES]

    emit.loop(count, [at], body)


def _sums_block(made: ColumnSums, rows: int):
    @block
    def several(emit, table, mine, first):
        columns, size = emit.entry(table, 1), emit.entry(table, 3)
        steps = [emit.entry(table, 5 + 2 * k) for k in range(len(made.kinds))]
        start = [
            emit.entry(table, 4 + 2 * k) + (0 if kind == "c" else first * steps[k])
            for k, kind in enumerate(made.kinds)
        ]
        fixed = {
            k: [emit.broadcast(start[k] + steps[k] * r) for r in range(rows)]
            for k, kind in enumerate(made.kinds)
            if kind == "r"
        }

        def body(at, place):
            held = {k: emit.load(start[k] + at) for k, kind in enumerate(made.kinds) if kind == "c"}
            terms = []
            for r in range(rows):
                vectors = [
                    fixed[k][r] if k in fixed
                    else held[k] if k in held
                    else emit.load(start[k] + steps[k] * r + at)
                    for k in range(len(steps))
                ]  # fmt: skip
                of_row = made.terms(emit, *vectors)
                terms.append([of_row] if isinstance(of_row, Value) else of_row)
            for k, of_rows in enumerate(zip(*terms)):
                total = _in_pairs(of_rows)
                wide = total if total.ssa.type == DOUBLES else total.widened()
                there = place + size / made.sums * k
                emit.store(there, emit.load_doubles(there) + wide)
            return [at + BYTES, place + 2 * BYTES]

        emit.loop((columns + (LANES - 1)) / LANES, [emit.number(0), mine], body)

    return several


def _in_pairs(values):
    """Their sum; an error grows with the logarithm of how many there are."""
    while len(values) > 1:
        values = [sum(values[k + 1 : k + 2], values[k]) for k in range(0, len(values), 2)]
    return values[0]


def _finishing(table):
    columns = parameter(table, 0)
    low, high = share(columns, LANES, thread(), threads())
    for column in range(low, high, LANES):
        _finish(table, column, high - column)


def _finish_block(made: ColumnSums):
    @block
    def finish(emit, table, column, count):
        partials, size, parts = (emit.entry(table, k) for k in (1, 2, 3))

        def body(at, *sums):
            places = [at + size / made.sums * k for k in range(made.sums)]
            return [at + size, *(s + emit.load_doubles(p) for s, p in zip(sums, places))]

        start = [partials + column * 8, *(emit.zeros(DOUBLES) for _ in range(made.sums))]
        sums = emit.loop(parts, start, body)[1:]
        mask, first = emit.first(count), 4 + made.results
        behind = first + made.columns
        vectors = [emit.load(emit.entry(table, k) + column * 4, mask) for k in range(first, behind)]
        options = [emit.broadcast_double(table + 8 * (behind + k)) for k in range(made.options)]
        results = made.finish(emit, *sums, *vectors, *options)
        for k, value in enumerate([results] if isinstance(results, Value) else results):
            emit.store(emit.entry(table, 4 + k) + column * 4, value, mask)

    return finish


def _sum(emit, x, count, function):
    """The sum of function(vector in float64) over ``count`` elements, in every lane."""
    whole = count / (4 * LANES)
    rest = count - whole * (4 * LANES)

    def four(at, *sums):
        vectors = [function(emit.load(at + BYTES * k).widened()) for k in range(4)]
        return [at + 4 * BYTES, *(s + v for s, v in zip(sums, vectors))]

    def one(at, left, total):
        vector = emit.load(at, emit.first(left)).widened()
        return [at + BYTES, left - LANES, total + function(vector)]

    x, a, b, c, d = emit.repeat(whole, [x, *[emit.zeros(DOUBLES)] * 4], four)
    tail = (rest + LANES - 1) / LANES
    return emit.total(emit.repeat(tail, [x, rest, (a + b) + (c + d)], one)[2])


@block
def _sum_row(emit, x, count, place):
    """The sum of a row, as float32."""
    emit.store_one(place, _sum(emit, x, count, lambda v: v).narrowed())


@block
def _sum_part(emit, x, count, place):
    """The sum of a part, as float64."""
    emit.store_one(place, _sum(emit, x, count, lambda v: v))


@block
def _sum_squares(emit, x, count, place):
    """The sum of the squares of a part, as float64."""
    emit.store_one(place, _sum(emit, x, count, lambda v: v * v))


@kernel
def sum_rows(table):
    """Rows, columns, result, x, step of x in bytes: the sum of each row."""
    low, high = share(parameter(table, 0), 1, thread(), threads())
    columns, y, x = parameter(table, 1), parameter(table, 2), parameter(table, 3)
    for row in range(low, high):
        _sum_row(x + row * parameter(table, 4), columns, y + 4 * row)


@kernel
def sum_parts(table):
    """Elements, x, parts: each thread's sum of a part, in float64, 64 bytes apart."""
    low, high = share(parameter(table, 0), LINE, thread(), threads())
    _sum_part(parameter(table, 1) + 4 * low, high - low, parameter(table, 2) + 64 * thread())


@kernel
def square_parts(table):
    """As sum_parts, but of the squares."""
    low, high = share(parameter(table, 0), LINE, thread(), threads())
    _sum_squares(parameter(table, 1) + 4 * low, high - low, parameter(table, 2) + 64 * thread())


@kernel
def add_parts(table):
    """Parts, their number, result, what the sum is multiplied with (float64)."""
    if thread() == 0:
        write(parameter(table, 2), together(table) * read_double(table + 24))


@kernel
def root_of_parts(table):
    """Parts, their number, result: the square root of the sum."""
    if thread() == 0:
        write(parameter(table, 2), together(table) ** 0.5)


@helper
def together(table):
    """Parts, their number: the sum of what all threads summed."""
    total = 0.0
    for k in range(parameter(table, 1)):
        total += read_double(parameter(table, 0) + 64 * k)
    return total
