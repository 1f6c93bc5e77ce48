"""Convolutions whose filters have one pixel: products of matrices with a row per pixel.

A thread multiplies some rows into memory of its own, which stays in the second-level cache, and
finishes them from there. So an image that is added may lie where the result will, and nothing is
fetched from memory only to be written. With nothing to finish, oneDNN's products are as fast.
"""

from __future__ import annotations

from ..geometry import Convolution
from ..lib import openmp
from ..registry import Call, Plan
from ..simd import BYTES, LANES, Operand, block, helper, parameter, share, thread, threads
from ..simd import kernel as compiled
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import refusal
from .finish import ADD, Finish, image, in_two
from .products import multiply, pack_right

CHUNK = 60  # rows at a time: whole register blocks, whatever the panels' width


def _finished(emit, sums, scale, shift, others, y, count, lowest):
    low = emit.broadcast(lowest)

    def body(at, mask):
        value = emit.load(sums + at, mask) * emit.load(scale + at, mask)
        for more in (shift, *others):
            value = value + emit.load(more + at, mask)
        emit.store(y + at, (value < low).choose(low, value), mask)
        return []

    emit.sweep(count, [], body)


@block
def _finish(emit, sums, scale, shift, y, count, lowest):
    _finished(emit, sums, scale, shift, [], y, count, lowest)


@block
def _finish_sum(emit, sums, scale, shift, other, y, count, lowest):
    _finished(emit, sums, scale, shift, [other], y, count, lowest)


@helper
def _finish_rows(sums, scale, shift, other, other_row, y, rows, columns, mode, lowest):
    row = 4 * columns
    for r in range(rows):
        source, to = sums + r * row, y + r * row
        if mode == ADD:
            _finish_sum(source, scale, shift, other + r * other_row, to, columns, lowest)
        else:
            _finish(source, scale, shift, to, columns, lowest)


@compiled
def pixel_products(table):
    """y; x, step from row to row; filters as ``packed``; scale, shift; other, its step, mode,
    lowest; rows, depth, columns; scratch, bytes for a thread.

    y = the larger of ``x filters * scale + shift + other`` and ``lowest``.
    """
    x_row, other_row, columns = parameter(table, 2), parameter(table, 7), parameter(table, 12)
    x, other, row = parameter(table, 1), parameter(table, 6), 4 * columns
    sums = parameter(table, 13) + thread() * parameter(table, 14)
    low, high = share(parameter(table, 10), 1, thread(), threads())
    for r in range(low, high, CHUNK):
        rows = min(CHUNK, high - r)
        multiply(
            x + r * x_row, x_row, parameter(table, 3), sums, row, rows, parameter(table, 11),
            columns, False,
        )  # fmt: skip
        _finish_rows(
            sums, parameter(table, 4), parameter(table, 5), other + r * other_row, other_row,
            parameter(table, 0) + r * row, rows, columns, parameter(table, 8), table + 8 * 9,
        )  # fmt: skip


def forward(call: Call, geometry: Convolution, finish: Finish) -> Plan | str:
    """The plan of a call that begins with a convolution."""
    (x, w, *_), window = call.ins, geometry.window
    if why := refusal(call):
        return why
    if geometry.algo not in ("auto", "direct"):
        return f"algo is {geometry.algo!r}"
    whole = window.size == window.out_size and not any(map(any, window.padding))
    if not whole or geometry.groups > 1:
        return "one group, stride 1, no padding"
    x, pixel = image(x)
    rows, (columns, depth) = x.pixels[0], w.shape[:2]
    y = Spec((x.shape[0], columns, *window.out_size), x.dtype, CHANNELS_LAST)
    ins = [x, *(spec.at(PLAIN) for spec in call.ins[1:])]
    other = 0, 0
    if finish.other is not None:
        if call.ins[finish.other].shape != y.shape:
            return "adds no image of the same shape"
        ins[finish.other], step = image(call.ins[finish.other])
        other = Operand(1 + finish.other), step
    folded, own = finish.folded(columns), 4 * CHUNK * columns

    def ahead(at, number):
        filters = Operand(at(1)), 4, 4 * depth, depth, columns, Operand(number, folded)
        return [*finish.fold(at, number, columns), (pack_right, filters)]

    def rest(number, scratch_at):
        return pixel_products, (
            Operand(0), Operand(1), pixel, Operand(number, folded),
            *finish.affine(number, columns), *other, finish.mode, finish.lowest, rows, depth,
            columns, scratch_at, own,
        )  # fmt: skip

    return in_two(
        ahead, rest, [1, *finish.constants], ins, y,
        folded + depth * BYTES * -(-columns // LANES), openmp.threads() * own,
        name="pixelwise", over=finish.over(ins, y), rank=1,
    )  # fmt: skip
