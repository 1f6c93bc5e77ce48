"""Values picked by ids and, the other way, rows added up where ids say."""

from __future__ import annotations

import numpy as np

from ..simd import (
    LANES,
    Launch,
    Operand,
    block,
    helper,
    parameter,
    read_int32,
    read_integer,
    share,
    thread,
    threads,
    write_integer,
)  # fmt: skip
from ..simd import kernel as compiled
from ..spec import PLAIN, Spec
from .common import Checked, kernel, planned, refusal, team
from .products import clear, copy

BUCKETS = 256  # of ids: what a thread is given; more even than ranges of ids, which differ in use


@block
def _add(emit, y, x, count):
    def body(at, mask):
        emit.store(y + at, emit.load(y + at, mask) + emit.load(x + at, mask), mask)
        return []

    emit.sweep(count, [], body)


@helper
def id_at(ids, size, k):
    """Id number k, of ``size`` bytes."""
    return read_integer(ids + 8 * k) if size == 8 else read_int32(ids + 4 * k)


@compiled
def pick_rows(table):
    """y, ids, weight, flag; ids, rows of the weight, columns, step of the weight in bytes, bytes
    of an id."""
    y, ids, weight = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    columns, step, size = parameter(table, 6), parameter(table, 7), parameter(table, 8)
    low, high = share(parameter(table, 4), 1, thread(), threads())
    for k in range(low, high):
        chosen = id_at(ids, size, k)
        if chosen < 0 or chosen >= parameter(table, 5):
            write_integer(parameter(table, 3), 1)
            chosen = 0
        copy(y + 4 * k * columns, weight + chosen * step, columns)


@compiled
def clear_and_count(table):
    """y, ids, counts; ids, rows of y, columns, bytes of an id: zeros, and how many ids of a part a
    bucket has."""
    ids, columns, rows = parameter(table, 1), parameter(table, 5), parameter(table, 4)
    size = parameter(table, 6)
    low, high = share(rows * columns, LANES, thread(), threads())
    if low < high:
        clear(parameter(table, 0) + 4 * low, high - low)
    counts = parameter(table, 2) + thread() * 8 * BUCKETS
    for bucket in range(BUCKETS):
        write_integer(counts + 8 * bucket, 0)
    low, high = share(parameter(table, 3), 1, thread(), threads())
    for k in range(low, high):
        chosen = id_at(ids, size, k)
        if 0 <= chosen < rows:
            at = counts + 8 * (chosen % BUCKETS)
            write_integer(at, read_integer(at) + 1)


@helper
def part_of_buckets(counts, all_ids, me, all_threads):
    """The buckets [low, high) of a thread: those that start in its part of the ids."""
    before, low, high = 0, BUCKETS, BUCKETS
    for bucket in range(BUCKETS):
        if low == BUCKETS and before * all_threads >= all_ids * me:
            low = bucket
        if high == BUCKETS and before * all_threads >= all_ids * (me + 1):
            high = bucket
        for k in range(all_threads):
            before += read_integer(counts + 8 * (k * BUCKETS + bucket))
    return low, high


@compiled
def add_rows(table):
    """As clear_and_count, then gy, its rows (outer, inner) and their steps in bytes.

    Each row of the result is added to by one thread, in the order of the ids: any number of
    threads gives the same bits.
    """
    y, ids, size = parameter(table, 0), parameter(table, 1), parameter(table, 6)
    count, rows, columns = parameter(table, 3), parameter(table, 4), parameter(table, 5)
    gy, inner = parameter(table, 7), parameter(table, 8)
    outer_step, inner_step = parameter(table, 9), parameter(table, 10)
    low, high = part_of_buckets(parameter(table, 2), count, thread(), threads())
    k, outer = 0, 0
    while k < count:
        for j in range(inner):
            chosen = id_at(ids, size, k + j)
            bucket = chosen % BUCKETS
            if 0 <= chosen < rows and low <= bucket < high:
                _add(y + 4 * columns * chosen, gy + outer * outer_step + j * inner_step, columns)
        k, outer = k + inner, outer + 1


@kernel("embedding")
def embedding(call):
    """ids (any), weight (V, E) -> (*ids, E)."""
    ids, weight = call.ins
    if why := refusal(call, 1):
        return why
    if not ids.size:
        return "ids only where there are some"
    rows, columns = weight.shape
    if not weight.steps or weight.steps[1] != 1 < columns:
        weight = weight.at(PLAIN)
    y, flag = Spec((*ids.shape, columns)), Operand(3)
    sizes = ids.size, rows, columns, 4 * weight.steps[0], np.dtype(ids.dtype).itemsize
    table = Operand(0), Operand(1), Operand(2), flag, *sizes
    launch = Launch((pick_rows, table), on=team(y.size))
    run = Checked(launch, "embedding", flag, Operand(1), ids, rows)
    return planned(run, [ids.at(PLAIN), weight], [y], workspace=8)


@kernel("embedding_grad")
def embedding_grad(call):
    """gy (*ids, E), ids -> (V, E); geometry = V."""
    gy, ids = call.ins
    if why := refusal(call, 0):
        return why
    if len(ids.shape) != 2 or gy.steps is None or gy.steps[-1] != 1 < gy.shape[-1]:
        gy = gy.at(PLAIN)
    columns, out = gy.shape[-1], Spec((call.geometry, gy.shape[-1]))
    inner = ids.shape[-1] if ids.shape else 1
    outer_step = gy.steps[0] if len(ids.shape) == 2 else inner * columns
    inner_step = gy.steps[-2] if ids.shape else 0
    on = team(max(out.size, gy.size))
    size = np.dtype(ids.dtype).itemsize
    head = Operand(0), Operand(2), Operand(3), ids.size, call.geometry, columns, size
    stages = (
        (clear_and_count, head),
        (add_rows, (*head, Operand(1), inner, 4 * outer_step, 4 * inner_step)),
    )
    run = Launch(*stages, on=on)
    return planned(run, [gy, ids.at(PLAIN)], [out], workspace=8 * BUCKETS * on)
