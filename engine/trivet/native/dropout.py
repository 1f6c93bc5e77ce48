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
from ..simd.maps import Map
from ..spec import CHANNELS_LAST, PLAIN
from .common import kernel, lies_channels_last, map_plan, planned, refusal, team
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


def drawn(emit, key, at_once, pixels, group, channel):
    """The words of a vector of channels, at each pixel of a group, channels last.

    Args:
        at_once: Pixels of a group; WORDS share a block, where an image has whole groups, else 1.
        pixels: Of an image.
        group: Among those of its image.
        channel: Of lane 0; counted through all images.
    """
    groups = pixels / at_once
    apart = emit.count_from(emit.number(0)) * emit.spread(groups)
    index = emit.spread(channel * groups + group) + apart
    if at_once == WORDS:
        return philox(emit, index, key)
    words = philox(emit, index >> 2, key)
    word, which = words[0], index & 3
    for k in range(1, WORDS):
        word = which.equals(k).choose(words[k], word)
    return [word]


def drop(emit, x, words, entries):
    """x scaled, or 0; entries: the address of threshold and scale in a table."""
    kept = (words >> 8) >= emit.spread(emit.entry(entries, 0))
    return kept.choose(x * emit.broadcast(entries + 8), 0.0)


def thresholds(p: float) -> tuple[int, int]:
    """The entries that ``drop`` reads."""
    return math.ceil(float(np.float32(p)) * 2**24), float_bits(scale_of(p))


def scale_of(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


def at_once_of(pixels: int) -> int:
    """Pixels of a group, of which an image has so many."""
    return WORDS if pixels % WORDS == 0 else 1


class Dropping:
    """Kernels of ``y = dropped before(emit, x)``.

    Their table: key, threshold (of 24 bits), scale, elements, images, pixels, channels; then of
    y and x address and step from pixel to pixel in bytes.
    """

    def __init__(self, name: str, before):
        self.name, self.before = name, before
        self.plain, self.pixels = cache(self._plain), cache(self._pixels)

    def _plain(self):
        return variant(_plain, f"{self.name}_plain", _part=_plain_block(self))

    def _pixels(self, at_once: int):
        part, name = _pixels_block(self, at_once), f"{self.name}_pixels_{at_once}"
        return variant(_pixels, name, _part=part, _at_once=at_once)

    def places(self, emit, table):
        """Addresses and steps of y and x."""
        return [[emit.entry(table, k) for k in pair] for pair in ((7, 9), (8, 10))]

    def finish(self, emit, table, words, places, mask=None):
        """One vector, given its random words."""
        x = self.before(emit, emit.load(places[1], mask))
        emit.store(places[0], drop(emit, x, words, table + 8), mask)


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


def _pixels_block(made: Dropping, at_once: int):
    @block
    def part(emit, table, image, group):
        places, steps = made.places(emit, table)
        pixels, channels = emit.entry(table, 5), emit.entry(table, 6)
        key, first = emit.entry(table, 0), image * pixels + group * at_once

        def body(at, mask):
            channel = image * channels + at / 4
            for k, words in enumerate(drawn(emit, key, at_once, pixels, group, channel)):
                spots = [p + (first + k) * s + at for p, s in zip(places, steps)]
                made.finish(emit, table, words, spots, mask)
            return []

        emit.sweep(channels, [], body)

    return part


def plan(call, made: Dropping, p: float):
    """Operands: x, key."""
    x, key = call.ins
    if why := refusal(call, 0):
        return why
    if x.size >= 1 << 32:
        return "more elements than 32 bits count"
    last = lies_channels_last(x)
    out = x.at(CHANNELS_LAST if last else PLAIN)
    x = x if last and x.pixels else out
    pixels = math.prod(x.shape[2:]) if last else 0
    channels = x.shape[1] if last else 0
    steps = [4 * s.pixels[1] if last else 0 for s in (out, x)]
    head = Operand(2), *thresholds(p), x.size, x.shape[0] if last else 0
    table = *head, pixels, channels, Operand(0), steps[0], Operand(1), steps[1]
    chosen = made.pixels(at_once_of(pixels)) if last else made.plain()
    over = [(0, 0)] if x == out else []
    return planned(Launch((chosen, table), on=team(x.size)), [x, key.at(PLAIN)], [out], over=over)


DROPOUT = Dropping("dropout", lambda emit, x: x)
RELU_DROPOUT = Dropping("relu_dropout", lambda emit, x: emit.maximum(x, 0.0))
RELU_DROPOUT_GRAD = Map(
    "relu_dropout_grad",
    lambda emit, gy, y, scale: (y <= 0.0).choose(emit.zeros(), gy * scale),
    options=1,
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


@kernel("relu_dropout_grad")
def relu_dropout_grad(call):
    """The gradient of y = dropout(relu(x)): gy, y; y is 0 where either made it so."""
    return map_plan(call, RELU_DROPOUT_GRAD, [scale_of(call.geometry)])
