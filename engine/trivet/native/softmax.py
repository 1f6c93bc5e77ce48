"""Softmax and its logarithm along the last axis: three passes over a row in the cache."""

from __future__ import annotations

from functools import partial

from ..simd import Launch, Operand
from ..simd.rows import Rows
from ..spec import PLAIN
from .common import kernel, planned, refusal, team


def peak(emit, columns, z):
    """The largest of a row, in every lane; NaN if any is."""

    def body(at, top, mask):
        vector = emit.load(z + at, mask)
        held = vector if mask is None else mask.choose(vector, top)
        return [emit.larger(top, held)]

    (top,) = emit.sweep(columns, [emit.constant(float("-inf"))], body)
    return emit.largest(top)


def sum_of(emit, columns, function, operands):
    """The sum of function(*vectors) over a row, in every lane."""

    def body(at, total, mask):
        term = function(*(emit.load(place + at, mask) for place in operands))
        return [total + (term if mask is None else mask.choose(term, 0.0))]

    (total,) = emit.sweep(columns, [emit.constant(0.0)], body)
    return emit.total(total)


def each(emit, columns, function, out, operands):
    """function(*vectors), stored."""

    def body(at, mask):
        vectors = (emit.load(place + at, mask) for place in operands)
        emit.store(out + at, function(*vectors), mask)
        return []

    emit.sweep(columns, [], body)


def exponentials(emit, columns, y, z):
    """exp(z - peak) to y, and their sum."""
    top = peak(emit, columns, z)

    def body(at, total, mask):
        e = emit.exp(emit.load(z + at, mask) - top)
        emit.store(y + at, e, mask)
        return [total + (e if mask is None else mask.choose(e, 0.0))]

    (total,) = emit.sweep(columns, [emit.constant(0.0)], body)
    return emit.total(total)


def softmax(emit, columns, y, z, safe=False):
    total = exponentials(emit, columns, y, z)
    if safe:
        top = peak(emit, columns, z)
        none = top.equals(float("-inf"))
        each(emit, columns, lambda e: none.choose(emit.constant(0.0), e / total), y, [y])
    else:
        each(emit, columns, lambda e: e / total, y, [y])


def log_softmax(emit, columns, y, z):
    top = peak(emit, columns, z)
    less = emit.log(sum_of(emit, columns, lambda v: emit.exp(v - top), [z]))
    each(emit, columns, lambda v: (v - top) - less, y, [z])


def softmax_grad(emit, columns, gz, gy, y):
    total = sum_of(emit, columns, lambda g, p: g * p, [gy, y])
    each(emit, columns, lambda g, p: p * (g - total), gz, [gy, y])


def log_softmax_grad(emit, columns, gz, gy, y):
    total = sum_of(emit, columns, lambda g: g, [gy])
    each(emit, columns, lambda g, p: g - emit.exp(p) * total, gz, [gy, y])


def along_last_axis(name, body, operands):
    made = Rows(name, body, operands=1 + operands)

    @kernel(name)
    def answer(call):
        if why := refusal(call):
            return why
        x = call.ins[-1].at(PLAIN)
        if call.geometry % max(len(x.shape), 1) != len(x.shape) - 1:
            return "along the last axis only"
        columns = x.shape[-1]
        places = [(Operand(k), 4 * columns) for k in range(1 + operands)]
        stage = made.stage(x.size // columns, columns, places)
        return planned(Launch(stage, on=team(x.size)), [x] * operands, [x])


along_last_axis("softmax", softmax, 1)
along_last_axis("safe_softmax", partial(softmax, safe=True), 1)
along_last_axis("log_softmax", log_softmax, 1)
along_last_axis("softmax_grad", softmax_grad, 2)
along_last_axis("log_softmax_grad", log_softmax_grad, 2)
