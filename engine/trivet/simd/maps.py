"""Maps: kernels that make each element of their results from the elements at the same place.

A map is written as a function of vectors; loops, tails, steps and threads are made here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .kernels import Kernel, block, helper, parameter, share, thread, threads, variant
from .ssa import Value
from .target import BYTES, LANES, LINE

UNROLLED = 4  # vectors (flat) or rows at a time
UNIT = UNROLLED * LANES
# Columns from which rows go one by one. Shorter ones go several at a time, and what they share is
# read once; of long rows that makes many streams of memory, up to 1.7 times as slow.
WIDE = 128


class Map:
    """``results = function(emit, *operands, *options)``, element by element.

    The function gets a vector of each operand, then each option (a float32 constant) and each
    scalar in every lane; it returns a Value, or as many as there are results. A *kind* says per
    operand what it is read from: "m" an element per place, "c" one per column (the same in every
    row), "r" one per row (the same in every column; for flat memory: one for all).

    Args:
        name: No other map's; the cache goes by it.
        scalars: A helper that makes three float32 when the kernel runs, of what stands in the
            table behind the options (its operand: the address of that).
    """

    def __init__(
        self,
        name: str,
        function: Callable,
        *,
        results: int = 1,
        options: int = 0,
        scalars: Callable | None = None,
    ):
        self.name, self.function = name, function
        self.results, self.options, self.scalars = results, options, scalars
        self.made_of = [function, *([scalars.py_func] if scalars else [])]
        self.flat, self.rows = cache(self._flat), cache(self._rows)

    def _flat(self, kinds: str) -> Kernel:
        """Of contiguous memory; its table: elements, address per result and operand, options."""
        whole, rest = _flat_blocks(self, kinds)
        behind = 1 + self.results + len(kinds) + self.options
        blocks = {"_whole": whole, "_rest": rest, **self._globals(behind)}
        return variant(_flat_template, f"{self.name}_flat_{kinds}", self.made_of, **blocks)

    def _rows(self, kinds: str) -> Kernel:
        """Of rows; its table: rows, inner rows, columns, then for each result and operand its
        address and two steps in bytes, those of an outer and of an inner row, then the options.

        Row k is inner row k % inner of outer row k // inner.
        """
        blocks = {
            "_several": _row_block(self, kinds, UNROLLED),
            "_single": _row_block(self, kinds, 1),
            **self._globals(3 + 3 * (self.results + len(kinds)) + self.options),
        }
        return variant(_rows_template, f"{self.name}_rows_{kinds}", self.made_of, **blocks)

    def _globals(self, behind: int) -> dict:
        return {"_scalars": self.scalars or _no_scalars, "_behind": 8 * behind}

    def apply(self, emit, vectors: list[Value], numbers: list[Value]) -> list[Value]:
        """The results, also of a function that returns a single one."""
        made = self.function(emit, *vectors, *numbers)
        return [made] if isinstance(made, Value) else list(made)

    def numbers(self, emit, table: Value, behind: int, *scalars: Value) -> list[Value]:
        """The options and scalars in every lane; the options' first place in the table."""
        options = [emit.broadcast(table + 8 * (behind + k)) for k in range(self.options)]
        return options + ([emit.spread(s) for s in scalars] if self.scalars else [])


_whole = _rest = _several = _single = _scalars = None  # each variant of a template brings its own
_behind = 0


@helper
def _no_scalars(at):
    return 0.0, 0.0, 0.0


def _flat_template(table):
    low, high = share(parameter(table, 0), UNIT, thread(), threads())
    a, b, c = _scalars(table + _behind)
    count = (high - low) // UNIT
    if count > 0:
        _whole(table, 4 * low, count, a, b, c)
    if low + count * UNIT < high:
        _rest(table, low + count * UNIT, high, a, b, c)


def _flat_blocks(made: Map, kinds: str):
    first = 1 + made.results  # of the operands in the table

    def read(emit, table, *scalars):
        places = [emit.entry(table, 1 + k) for k in range(first - 1 + len(kinds))]
        numbers = made.numbers(emit, table, first + len(kinds), *scalars)
        outs, ins = places[: made.results], places[made.results :]
        fixed = [emit.broadcast(at) if kind == "r" else None for at, kind in zip(ins, kinds)]
        return outs, ins, fixed, numbers

    def part(emit, outs, ins, fixed, numbers, at, mask=None):
        """Loads everything before it stores anything: a result may lie over its operand."""
        vectors = [
            held if held is not None else emit.load(place + at, mask)
            for place, held in zip(ins, fixed)
        ]
        return [(out + at, y) for out, y in zip(outs, made.apply(emit, vectors, numbers))]

    @block
    def whole(emit, table, at, count, a, b, c):
        known = read(emit, table, a, b, c)

        def body(at):
            for k in range(UNROLLED):
                for place, y in part(emit, *known, at + k * BYTES):
                    emit.store(place, y)
            return [at + UNROLLED * BYTES]

        emit.loop(count, [at], body)

    @block
    def rest(emit, table, low, high, a, b, c):
        known = read(emit, table, a, b, c)

        def body(low):
            mask = emit.first(high - low)
            for place, y in part(emit, *known, low * 4, mask):
                emit.store(place, y, mask)
            return [low + LANES]

        emit.loop((high - low + LANES - 1) / LANES, [low], body)

    return whole, rest


def _rows_template(table):
    rows, inner, columns = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    low, high, left, right = 0, rows, 0, columns
    if rows >= 2 * threads():
        low, high = share(rows, 1, thread(), threads())
    else:  # few long rows: each thread does a part of all of them
        left, right = share(columns, LINE, thread(), threads())
    if left == right:
        return
    a, b, c = _scalars(table + _behind)
    while low < high:
        outer, first = low // inner, low % inner
        count = min(inner - first, high - low)
        groups = 0 if right - left >= WIDE else count // UNROLLED
        if groups > 0:
            _several(table, outer, first, groups, left, right, a, b, c)
        done = groups * UNROLLED
        if done < count:
            _single(table, outer, first + done, count - done, left, right, a, b, c)
        low += count


def _row_block(made: Map, kinds: str, at_once: int):
    places = range(made.results + len(kinds))

    @block
    def rows_of(emit, table, outer, first, count, left, right, a, b, c):
        numbers = made.numbers(emit, table, 3 + 3 * len(places), a, b, c)
        steps = [emit.entry(table, 5 + 3 * k) for k in places]
        start = [
            emit.entry(table, 3 + 3 * k) + outer * emit.entry(table, 4 + 3 * k) + first * steps[k]
            for k in places
        ]
        whole = (right - left) / LANES

        def group(*starts):
            rows = [[at + step * k for k in range(at_once)] for at, step in zip(starts, steps)]
            outs, ins = rows[: made.results], rows[made.results :]
            fixed = [
                [emit.broadcast(at) for at in row] if kind == "r" else None
                for row, kind in zip(ins, kinds)
            ]

            def vector(at, mask=None):
                shared = [
                    emit.load(row[0] + at, mask) if kind == "c" else None
                    for row, kind in zip(ins, kinds)
                ]
                for k in range(at_once):
                    vectors = [
                        fixed[i][k] if fixed[i]
                        else shared[i] if shared[i] is not None
                        else emit.load(ins[i][k] + at, mask)
                        for i in range(len(kinds))
                    ]  # fmt: skip
                    for out, y in zip(outs, made.apply(emit, vectors, numbers)):
                        emit.store(out[k] + at, y, mask)
                return [at + BYTES]

            def several(at):
                for k in range(UNROLLED):
                    vector(at + BYTES * k)
                return [at + UNROLLED * BYTES]

            at, end = left * 4, (left + whole * LANES) * 4
            if at_once == 1:
                (at,) = emit.repeat(whole / UNROLLED, [at], several)
            (at,) = emit.repeat((end - at) / BYTES, [at], vector)
            emit.when(end < right * 4, lambda: vector(at, emit.first(right - left - whole * LANES)))
            return [at + step * at_once for at, step in zip(starts, steps)]

        emit.loop(count, start, group)

    return rows_of
