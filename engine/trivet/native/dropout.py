"""Dropout: the bits of ``trivet.rng``, made where they are used.

Element i of the row-major order gets word i % 4 of Philox's block i // 4, wherever it lies. In
plain memory four vectors of words are woven into the order of the elements. Channels last, four
neighbouring pixels of a channel share a block if an image has a multiple of four pixels.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from .. import rng
from ..simd import (
    BYTES,
    LANES,
    Launch,
    Operand,
    block,
    float_bits,
    parameter,
    share,
    thread,
    threads,
    variant,
)  # fmt: skip
from ..spec import CHANNELS_LAST, PLAIN
from .common import kernel, lies_channels_last, planned, refusal, team
from .update import counted

LOW = 0xFFFFFFFF
WORDS = 4  # of a block of random bits


def philox(emit, blocks, key):
    """The four words of these blocks (int32 lanes); key: the address of seed and draw."""
    seed, draw = emit.entry(key, 0), emit.entry(key, 1)
    c0, c1 = blocks.widened(), emit.integer(0).widened()
    c2, c3 = emit.spread(draw).widened(), emit.spread(draw >> 32).widened()
    k0, k1 = seed, seed >> 32
    for _ in range(rng.ROUNDS):
        p0, p1 = (c & LOW for c in (c0, c2))
        p0, p1 = p0 * int(rng.MULTIPLIERS[0]), p1 * int(rng.MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (p1 >> 32) ^ c1 ^ emit.spread(k0).widened(), p1 & LOW,
            (p0 >> 32) ^ c3 ^ emit.spread(k1).widened(), p0 & LOW,
        )  # fmt: skip
        k0, k1 = k0 + rng.WEYL[0], k1 + rng.WEYL[1]
    return [c.narrowed() for c in (c0, c1, c2, c3)]


def ordered(emit, words):
    """Four vectors of words, block by block."""
    even, odd = emit.woven(words[0], words[2]), emit.woven(words[1], words[3])
    return [v for a, b in zip(even, odd) for v in emit.woven(a, b)]


class Dropping:
    """Kernels of ``y = after(emit, dropped before(emit, x), *others)``; others lie as x does.

    Their table: key, threshold (of 24 bits), scale, elements, images, pixels, channels; then of
    y, x and others address and step from pixel to pixel in bytes.
    """

    def __init__(self, name: str, before, after, operands: int = 1):
        self.name, self.before, self.after, self.operands = name, before, after, operands
        self.plain, self.pixels = cache(self._plain), cache(self._pixels)

    def _plain(self):
        return variant(_plain, f"{self.name}_plain", _part=_plain_block(self))

    def _pixels(self, at_once: int):
        part = _four_pixels_block(self) if at_once == WORDS else _pixel_block(self)
        name = f"{self.name}_pixels_{at_once}"
        return variant(_pixels, name, _part=part, _at_once=at_once)

    def places(self, emit, table):
        """Addresses and steps of y, x and others."""
        several = range(7, 9 + 2 * self.operands, 2)
        return [emit.entry(table, k) for k in several], [emit.entry(table, k + 1) for k in several]

    def finish(self, emit, table, words, places, mask=None):
        """One vector, given its random words."""
        x, *others = (emit.load(place, mask) for place in places[1:])
        kept = (words >> 8) >= emit.spread(emit.entry(table, 1))
        dropped = kept.choose(self.before(emit, x) * emit.broadcast(table + 16), 0.0)
        emit.store(places[0], self.after(emit, dropped, *others), mask)


_part, _at_once = None, 1  # each variant of a template brings its own


def _plain(table):
    low, high = share(parameter(table, 3), WORDS * LANES, thread(), threads())
    if low < high:
        _part(table, low, high)


def _plain_block(made: Dropping):
    @block
    def part(emit, table, low, high):
        places, _ = made.places(emit, table)
        key, unit = emit.entry(table, 0), WORDS * LANES

        def group(first, mask_of=lambda k: None):
            words = philox(emit, emit.count_from(first / WORDS), key)
            for k, vector in enumerate(ordered(emit, words)):
                at = [place + first * 4 + BYTES * k for place in places]
                made.finish(emit, table, vector, at, mask_of(k))
            return [first + unit]

        whole = (high - low) / unit
        emit.repeat(whole, [low], group)
        first = low + whole * unit
        emit.when(
            first < high,
            lambda: group(first, lambda k: emit.first(high - first - LANES * k)),
        )

    return part


def _pixels(table):
    images, pixels = parameter(table, 4), parameter(table, 5)
    groups = pixels // _at_once
    low, high = share(images * groups, 1, thread(), threads())
    for group in range(low, high):
        _part(table, group // groups, group % groups)


def _columns(emit, table, body):
    """body(bytes from the first channel, mask) for each vector of channels."""

    def column(at, mask):
        body(at, mask)
        return []

    emit.sweep(emit.entry(table, 6), [], column)


def _four_pixels_block(made: Dropping):
    @block
    def part(emit, table, image, group):
        places, steps = made.places(emit, table)
        pixels, channels = emit.entry(table, 5), emit.entry(table, 6)
        key, groups = emit.entry(table, 0), pixels / WORDS
        row = image * pixels + group * WORDS
        apart = emit.count_from(emit.number(0)) * emit.spread(groups)

        def body(at, mask):
            first = (image * channels + at / 4) * groups + group
            words = philox(emit, emit.spread(first) + apart, key)
            for k in range(WORDS):
                spots = [p + (row + k) * s + at for p, s in zip(places, steps)]
                made.finish(emit, table, words[k], spots, mask)

        _columns(emit, table, body)

    return part


def _pixel_block(made: Dropping):
    @block
    def part(emit, table, image, pixel):
        places, steps = made.places(emit, table)
        pixels, channels = emit.entry(table, 5), emit.entry(table, 6)
        key, row = emit.entry(table, 0), image * pixels + pixel
        apart = emit.count_from(emit.number(0)) * emit.spread(pixels)

        def body(at, mask):
            first = (image * channels + at / 4) * pixels + pixel
            index = emit.spread(first) + apart
            words = philox(emit, index >> 2, key)
            word, which = words[0], index & 3
            for k in range(1, WORDS):
                word = which.equals(k).choose(words[k], word)
            spots = [p + row * s + at for p, s in zip(places, steps)]
            made.finish(emit, table, word, spots, mask)

        _columns(emit, table, body)

    return part


def plan(call, made: Dropping, p: float, others=()):
    """Operands: x, key, others."""
    x, key = call.ins[:2]
    if why := refusal(call, 0, *(2 + i for i in range(len(others)))):
        return why
    if x.size >= 1 << 32:
        return "more elements than 32 bits count"
    last = lies_channels_last(x)
    out = x.at(CHANNELS_LAST if last else PLAIN)
    taken = [s if last and s.pixels else out for s in (x, *others)]
    threshold = math.ceil(float(np.float32(p)) * 2**24)
    scale = 1 / (1 - p) if p < 1 else 0.0
    pixels = math.prod(x.shape[2:]) if last else 0
    channels = x.shape[1] if last else 0
    steps = [4 * s.pixels[1] if last else 0 for s in (out, *taken)]
    places = [Operand(k) for k in (0, 1, *(3 + i for i in range(len(others))))]
    head = Operand(2), threshold, float_bits(scale), x.size, x.shape[0] if last else 0
    table = *head, pixels, channels, *(e for pair in zip(places, steps) for e in pair)
    chosen = made.pixels(WORDS if pixels % WORDS == 0 else 1) if last else made.plain()
    ins = [taken[0], key.at(PLAIN), *taken[1:]]
    over = [(0, i) for i, spec in enumerate(ins) if spec == out]
    return planned(Launch((chosen, table), on=team(x.size)), ins, [out], over=over)


def same(emit, x):
    return x


DROPOUT = Dropping("dropout", same, same)
RELU_DROPOUT = Dropping("relu_dropout", lambda emit, x: emit.maximum(x, 0.0), same)
DROPOUT_RELU_GRAD = Dropping(
    "dropout_relu_grad",
    same,
    lambda emit, g, y: (y <= 0.0).choose(emit.constant(0.0), g),
    operands=2,
)


@kernel("advance")
def advance(call):
    """state (2,) = [seed, draws so far]: one more draw, in place."""
    return counted(call, [1])


@kernel("dropout")
def dropout(call):
    return plan(call, DROPOUT, call.geometry)


@kernel("relu+dropout")
def relu_dropout(call):
    return plan(call, RELU_DROPOUT, call.geometry[1])


@kernel("dropout+relu_grad")
def dropout_relu_grad(call):
    """The gradient of dropout(relu(x)): gy, key, relu's result."""
    p, _, place = call.geometry
    if place != 0:
        return "what was dropped is the gradient, not the saved value"
    return plan(call, DROPOUT_RELU_GRAD, p, call.ins[2:])
