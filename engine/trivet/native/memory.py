"""Values moved to another layout or into a part of another value, and sums of what was spread."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..simd import (
    BYTES,
    LANES,
    Launch,
    Operand,
    block,
    double_bits,
    parameter,
    share,
    thread,
    threads,
    variant,
)  # fmt: skip
from ..simd import kernel as compiled
from ..simd.maps import Map
from ..simd.sums import ColumnSums, add_parts, sum_parts, sum_rows
from ..spec import CHANNELS_LAST, PLAIN, Spec, Strided
from .common import (
    Walk,
    followed,
    image,
    kernel,
    lies_channels_last,
    map_stage,
    planned,
    refusal,
    team,
    walk_order,
    walk_stage,
)  # fmt: skip
from .elementwise import FILL

COPY = Map("copy", lambda emit, x: x)
SUM = ColumnSums("sum", lambda emit, x: x.widened(), lambda emit, total: total.narrowed())


@kernel("sum_to")
def sum_to(call):
    if why := refusal(call):
        return why
    (x,), out = call.ins, Spec(call.geometry)
    plans = (summed(spec, out) for spec in (x, image(x)) if spec.steps)
    return next(filter(None, plans), "sums over axes that lie in too many pieces")


def summed(x: Spec, out: Spec):
    """The plan if the operand lies well for it."""
    walk, on = walked(x, out), team(x.size)
    steps, kept = walk.steps
    if len(walk.sizes) == 1 and steps[0] == 1 and (not kept[0] or x.size == 1):
        parts = Operand(2)
        stages = (
            (sum_parts, (x.size, Operand(1), parts)),
            (add_parts, (parts, on, Operand(0), double_bits(1.0))),
        )
        return planned(Launch(*stages, on=on), [x], [out], workspace=64 * on)
    if len(walk.sizes) != 2 or steps[1] != 1 or bool(kept[0]) == bool(kept[1]):
        return None
    rows, columns = walk.sizes
    if kept[0]:
        table = rows, columns, Operand(0), Operand(1), 4 * steps[0]
        return planned(Launch((sum_rows, table), on=on), [x], [out])
    operands = [(Operand(1), steps[0])]
    stages = SUM.stages(rows, columns, operands, Operand(2), [Operand(0)], [], [], on)
    return planned(Launch(*stages, on=on), [x], [out], workspace=SUM.workspace(columns, on))


def walked(x: Spec, out: Spec) -> Walk:
    """x's axes, merged, and the steps of the sum, 0 along what is summed."""
    order = walk_order(CHANNELS_LAST if lies_channels_last(x) else PLAIN, len(x.shape))
    return Walk.over(x.shape, order, x, out)


def _tile(emit, y, y_step, x, x_step, high, wide):
    """A tile of LANES by LANES: row k of x is column k of y; only ``high`` rows of x exist."""
    rows = []
    for k in range(LANES):
        row = k if high is None else (high > k).choose(emit.number(k), high - 1)
        rows.append(emit.load(x + x_step * row))
    mask = None if high is None else emit.first(high)
    for k, column in enumerate(emit.transposed(rows)):

        def store(at=y + y_step * k, column=column):
            emit.store(at, column, mask)

        if wide is None:
            store()
        else:
            emit.when(wide > k, store)


@block
def _whole_tile(emit, y, y_step, x, x_step):
    _tile(emit, y, y_step, x, x_step, None, None)


@block
def _edge_tile(emit, y, y_step, x, x_step, high, wide):
    _tile(emit, y, y_step, x, x_step, high, wide)


@compiled
def transpose(table):
    """y, x; sizes of two outer axes, steps of y, x along them; then the two inner axes.

    x is contiguous along the first inner axis, y along the second: size, step of y along the
    first, size, step of x along the second. Steps in bytes.
    """
    y, x = parameter(table, 0), parameter(table, 1)
    outer, inner = parameter(table, 2), parameter(table, 3)
    wide, y_step, high, x_step = (
        parameter(table, 8), parameter(table, 9), parameter(table, 10), parameter(table, 11),
    )  # fmt: skip
    strips = (wide + LANES - 1) // LANES
    low, end = share(outer * inner * strips, 1, thread(), threads())
    for k in range(low, end):
        i, j, column = k // (inner * strips), k // strips % inner, k % strips * LANES
        to = y + i * parameter(table, 4) + j * parameter(table, 6) + column * y_step
        of = x + i * parameter(table, 5) + j * parameter(table, 7) + column * 4
        for row in range(0, high, LANES):
            if row + LANES <= high and column + LANES <= wide:
                _whole_tile(to, y_step, of, x_step)
            else:
                _edge_tile(to, y_step, of, x_step, high - row, wide - column)
            to += BYTES
            of += LANES * x_step


STRIP = 1024  # pixels that a thread takes at a time
_strip, _channels = None, 0  # each variant of the template brings its own


def _interleave(table):
    """y, x; images, pixels; step of y from image to image, of x so and from channel to channel."""
    images, pixels = parameter(table, 2), parameter(table, 3)
    strips = (pixels + STRIP - 1) // STRIP
    low, high = share(images * strips, 1, thread(), threads())
    for k in range(low, high):
        image, first = k // strips, k % strips * STRIP
        y = parameter(table, 0) + image * parameter(table, 4) + 4 * _channels * first
        x = parameter(table, 1) + image * parameter(table, 5) + 4 * first
        _strip(y, x, parameter(table, 6), min(STRIP, pixels - first))


@cache
def interleave(channels: int):
    """The kernel for images of few channels: plain to channels last without a tile's waste."""

    @block
    def strip(emit, y, x, channel_step, count):
        def body(at, mask):
            vectors = [emit.load(x + channel_step * c + at, mask) for c in range(channels)]
            left = count * channels - at / 4 * channels
            for k, vector in enumerate(emit.interleaved(vectors)):
                inside = None if mask is None else emit.first(left - LANES * k)
                emit.store(y + at * channels + BYTES * k, vector, inside)
            return []

        emit.sweep(count, [], body)

    return variant(_interleave, f"interleave_{channels}", _strip=strip, _channels=channels)


@kernel("reorder")
def reorder(call):
    """geometry = the layout wanted."""
    (x,) = call.ins
    y = x.at(call.geometry)
    words = np.dtype(x.dtype).itemsize // 4
    if x.layout == y.layout == PLAIN and words and x.size:  # a copy of bits, whatever they mean
        table = x.size * words, Operand(0), Operand(1)
        return planned(Launch((COPY.flat("m"), table), on=team(x.size * words)), [x], [y])
    if why := refusal(call):
        return why
    if x.steps is None or y.steps is None:
        return "another backend's layout"
    # a single channel goes last, so that one of several is a column of one
    order = sorted(range(len(y.shape)), key=lambda a: (a == 1 == y.shape[a], -y.steps[a]))
    walk = Walk.over(y.shape, order, y, x)
    stage = _moved(walk)
    return stage if isinstance(stage, str) else planned(Launch(stage, on=team(x.size)), [x], [y])


def _moved(walk: Walk):
    """The stage that copies operand 1 of a walk to operand 0, or why there is none."""
    y, x = walk.steps
    outer = len(walk.sizes) - 2
    if y[-1] != 1 or len(walk.sizes) > 4:
        return "lies in too many pieces"
    if x[-1] in (0, 1) and outer < 2:
        return walk_stage(COPY, walk, [Operand(0), Operand(1)])
    if 1 not in x[:-1] or outer > 2:
        return "no axis is contiguous"
    first = x.index(1)
    channels = walk.sizes[-1]
    if first == len(x) - 2 and outer < 2 and 1 < channels <= 4 and y[first] == channels:
        images = walk.sizes[0] if outer else 1
        steps = 4 * y[0] * outer, 4 * x[0] * outer, 4 * x[-1]
        table = Operand(0), Operand(1), images, walk.sizes[first], *steps
        return interleave(channels), table
    others = [a for a in range(len(x) - 1) if a != first]
    others = [None] * (2 - len(others)) + others

    def of(values, axis, otherwise):
        return otherwise if axis is None else values[axis]

    sizes = [of(walk.sizes, a, 1) for a in others]
    steps = [4 * of(s, a, 0) for a in others for s in (y, x)]
    inner = walk.sizes[first], 4 * y[first], walk.sizes[-1], 4 * x[-1]
    return transpose, (Operand(0), Operand(1), *sizes, *steps, *inner)


def part_of(out: Spec, starts, sizes, strides=None) -> tuple[Spec, int]:
    """A part of a value as a spec, and its offset in bytes; steps of a part in elements."""
    strides = strides or (1,) * len(starts)
    steps = tuple(step * stride for step, stride in zip(out.steps, strides))
    offset = sum(start * step for start, step in zip(starts, out.steps))
    return Spec(tuple(sizes), out.dtype, Strided(steps=steps)), 4 * offset


@kernel("concat")
def concat(call):
    """geometry = the axis."""
    if why := refusal(call):
        return why
    axis, shape = call.geometry, list(call.ins[0].shape)
    shape[axis] = sum(s.shape[axis] for s in call.ins)
    layout = followed(*call.ins)
    out, start, stages, ins = Spec(tuple(shape), layout=layout), 0, [], []
    for i, x in enumerate(call.ins):
        starts = [start if a == axis else 0 for a in range(len(shape))]
        part, offset = part_of(out, starts, x.shape)
        start += x.shape[axis]
        for spec in (x, x.at(layout)):
            stage = "another backend's layout"
            if spec.steps:
                places = Operand(0, offset), Operand(1 + i)
                stage = map_stage(COPY, [part], [spec], places, layout=layout)
            if not isinstance(stage, str):
                break
        if isinstance(stage, str):
            return stage
        ins.append(spec)
        stages.append(stage)
    return planned(Launch(*stages, on=team(out.size)), ins, [out])


def surrounded(call, out: Spec, part: Spec, offset: int, value: float):
    """The plan that writes the operand into a part of a value filled otherwise."""
    fill = map_stage(FILL, [out], [], [Operand(0)], [value])
    places = Operand(0, offset), Operand(1)
    copy = map_stage(COPY, [part], [Spec(part.shape)], places, layout=PLAIN)
    if isinstance(copy, str):
        return copy
    run = Launch(fill, copy, on=team(out.size))
    return planned(run, [call.ins[0].at(PLAIN)], [out])


@kernel("unslice")
def unslice(call):
    """geometry = (shape, index): zeros of that shape, the operand written where index says."""
    if why := refusal(call):
        return why
    shape, items = call.geometry
    items = [item for item in items if item is not None]  # a new axis, of size 1
    items += [(None, None, None)] * (len(shape) - len(items))
    starts, sizes, strides = [], [], []
    for n, item in zip(shape, items, strict=True):
        if not isinstance(item, tuple | int):
            return "slices and positions only"
        picked = range(n)[slice(*item)] if isinstance(item, tuple) else range(n)[item:][:1]
        starts.append(picked.start)
        sizes.append(len(picked))
        strides.append(picked.step)
    out = Spec(tuple(shape))
    return surrounded(call, out, *part_of(out, starts, sizes, strides), 0.0)


@kernel("pad")
def pad(call):
    """geometry = ((before, after) per axis, value)."""
    if why := refusal(call):
        return why
    (x,), (widths, value) = call.ins, call.geometry
    if any(n < 0 for pair in widths for n in pair):
        return "adds only"
    out = Spec(tuple(n + before + after for n, (before, after) in zip(x.shape, widths)))
    return surrounded(call, out, *part_of(out, [b for b, _ in widths], x.shape), value)
