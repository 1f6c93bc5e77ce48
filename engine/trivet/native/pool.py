"""Max pooling of 2 x 2 pixels, channels last: alone, and with what stands behind or before it.

Forward the rectifier and dropout join it, backward their gradients: every value is read once and
written once. The auxiliary says in two bits per element which cell of its window won, for each
vector of channels those of the right cells, then those of the lower ones.
"""

from __future__ import annotations

from functools import cache

from ..geometry import Window
from ..registry import Call, Plan
from ..simd import (
    LANES,
    Kernel,
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
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import kernel, lies_channels_last, planned, refusal, team
from .dropout import at_once_of, drawn, drop, scale_of, thresholds

# The table: sizes, what dropout reads, and of each operand address and bytes from pixel to pixel.
# Large is the image that windows lie on, small the one with an element per window.
IMAGES, HEIGHT, WIDTH, CHANNELS, PIXELS, ACROSS = range(6)  # the last two: of the small image
KEY, THRESHOLD, SCALE = range(6, 9)
LARGE, SMALL, CELLS, SAVED = range(9, 17, 2)
NO_DROPOUT = 0, 0, float_bits(1.0)


class Sizes:
    """What a block reads of the table once."""

    def __init__(self, emit, table):
        self.emit, self.table = emit, table
        self.height, self.width = emit.entry(table, HEIGHT), emit.entry(table, WIDTH)
        self.channels, self.pixels = emit.entry(table, CHANNELS), emit.entry(table, PIXELS)
        self.across = emit.entry(table, ACROSS)

    def at(self, operand: int, pixel):
        step = self.emit.entry(self.table, operand + 1)
        return self.emit.entry(self.table, operand) + pixel * step

    def window(self, image, pixel):
        """The addresses of its four cells, row by row."""
        row = pixel / self.across
        column = pixel - row * self.across
        corner = self.at(LARGE, (image * self.height + row * 2) * self.width + column * 2)
        step = self.emit.entry(self.table, LARGE + 1)
        below = corner + self.width * step
        return corner, corner + step, below, below + step


def channel_by_channel(at_once: int, dropping: bool, finish):
    """The block of a group of pixels: finish(emit, sizes, window, small, words, at, mask).

    window: addresses of four cells; small: number of the pixel; at: bytes from the first channel.
    """

    @block
    def part(emit, table, image, group):
        sizes = Sizes(emit, table)
        pixels = [group * at_once + k for k in range(at_once)]
        windows = [sizes.window(image, pixel) for pixel in pixels]

        def body(at, mask):
            words = [None] * at_once
            if dropping:
                channel, key = image * sizes.channels + at / 4, emit.entry(table, KEY)
                words = drawn(emit, key, at_once, sizes.pixels, group, channel)
            for k, pixel in enumerate(pixels):
                cells = [place + at for place in windows[k]]
                finish(emit, sizes, cells, image * sizes.pixels + pixel, words[k], at, mask)
            return []

        emit.sweep(sizes.channels, [], body)

    return part


_part, _at_once, _clear = None, 1, None  # each variant of a template brings its own


def _groups(table):
    groups = parameter(table, PIXELS) // _at_once
    low, high = share(parameter(table, IMAGES) * groups, 1, thread(), threads())
    for group in range(low, high):
        _part(table, group // groups, group % groups)


def _groups_and_borders(table):
    """An odd last row or column lies under no window."""
    images, height = parameter(table, IMAGES), parameter(table, HEIGHT)
    width, pixels = parameter(table, WIDTH), parameter(table, PIXELS)
    groups = pixels // _at_once
    low, high = share(images * groups, 1, thread(), threads())
    for group in range(low, high):
        _part(table, group // groups, group % groups)
    low, high = share(images, 1, thread(), threads())
    for image in range(low, high):
        if height % 2:
            for x in range(width):
                _clear(table, (image * height + height - 1) * width + x)
        if width % 2:
            for y in range(height):
                _clear(table, (image * height + y) * width + width - 1)


@block
def clear(emit, table, pixel):
    sizes = Sizes(emit, table)

    def body(at, mask):
        emit.store(sizes.at(LARGE, pixel) + at, emit.zeros(), mask)
        return []

    emit.sweep(sizes.channels, [], body)


def later_or_larger(a, b):
    """Where b wins over a, which comes first: the last NaN wins, else the first maximum."""
    return (b > a) | b.differs(b)


@cache
def forward_kernel(at_once: int, kept: bool, rectified: bool, dropping: bool) -> Kernel:
    def finish(emit, sizes, window, small, words, at, mask):
        a, b, c, d = (emit.load(cell, mask) for cell in window)
        upper, lower = later_or_larger(a, b), later_or_larger(c, d)
        above, below = upper.choose(b, a), lower.choose(d, c)
        down = later_or_larger(above, below)
        y = down.choose(below, above)
        if kept:
            emit.store_bits(sizes.at(CELLS, small) + at / 16, down.choose(lower, upper), down)
        y = emit.maximum(y, 0.0) if rectified else y
        y = drop(emit, y, words, sizes.table + 8 * THRESHOLD) if dropping else y
        emit.store(sizes.at(SMALL, small) + at, y, mask)

    ways = {"kept": kept, "relu": rectified, "dropout": dropping}
    name = "_".join(["max_pool", *(way for way, taken in ways.items() if taken), str(at_once)])
    part = channel_by_channel(at_once, dropping, finish)
    return variant(_groups, name, _part=part, _at_once=at_once)


@cache
def gradient_kernel(at_once: int, saved: bool, dropping: bool) -> Kernel:
    """saved: the gradient passes, scaled, where another operand is not 0 or less."""

    def finish(emit, sizes, window, small, words, at, mask):
        g, nothing = emit.load(sizes.at(SMALL, small) + at, mask), emit.zeros()
        if saved:
            y = emit.load(sizes.at(SAVED, small) + at, mask)
            g = (y <= 0.0).choose(nothing, g * emit.broadcast(sizes.table + 8 * SCALE))
        if dropping:
            g = drop(emit, g, words, sizes.table + 8 * THRESHOLD)
        right, down = emit.load_bits(sizes.at(CELLS, small) + at / 16)
        above, below = down.choose(nothing, g), down.choose(g, nothing)
        for place, row in (window[:2], above), (window[2:], below):
            emit.store(place[0], right.choose(nothing, row), mask)
            emit.store(place[1], right.choose(row, nothing), mask)

    ways = {"saved": saved, "dropout": dropping}
    name = "_".join(["max_pool_grad", *(way for way, taken in ways.items() if taken), str(at_once)])
    part = channel_by_channel(at_once, dropping, finish)
    return variant(_groups_and_borders, name, _part=part, _at_once=at_once, _clear=clear)


@cache
def gather_kernel() -> Kernel:
    def finish(emit, sizes, window, small, words, at, mask):
        a, b, c, d = (emit.load(cell, mask) for cell in window)
        right, down = emit.load_bits(sizes.at(CELLS, small) + at / 16)
        y = down.choose(right.choose(d, c), right.choose(b, a))
        emit.store(sizes.at(SMALL, small) + at, y, mask)

    part = channel_by_channel(1, False, finish)
    return variant(_groups, "max_pool_gather", _part=part, _at_once=1)


def unsuited(window: Window) -> str | None:
    two = (2, 2)
    if not isinstance(window, Window) or (window.kernel, window.stride) != (two, two):
        return "windows of 2 x 2 pixels side by side only"
    if any(map(any, window.padding)):
        return "without padding only"
    return None


def in_rows(spec: Spec) -> Spec:
    """As it lies, if channels last."""
    return spec if lies_channels_last(spec) else spec.at(CHANNELS_LAST)


def sized(spec: Spec, size) -> Spec:
    return Spec((*spec.shape[:2], *size), spec.dtype, CHANNELS_LAST)


def cells_of(y: Spec) -> tuple[Spec, int]:
    """The auxiliary, and its bytes per pixel: whole vectors of channels."""
    step = -(-y.shape[1] // LANES) * LANES // 4
    return Spec((y.size // y.shape[1] * step,), "uint8"), step


def launched(chosen: Kernel, large, small, cells: int, saved=(), key=NO_DROPOUT) -> Launch:
    """Large, small and saved: (Operand, spec); cells: the number of that operand."""
    n, channels, height, width = large[1].shape
    _, _, *out = small[1].shape
    sizes = n, height, width, channels, out[0] * out[1], out[1]
    places = [(place, 4 * spec.pixels[1]) for place, spec in (large, small)]
    places.append((Operand(cells), cells_of(small[1])[1]))
    places += [(place, 4 * spec.pixels[1]) for place, spec in saved]
    table = *sizes, *key, *(entry for pair in places for entry in pair)
    return Launch((chosen, table), on=team(large[1].size))


def forward(call: Call, window: Window, rectified: bool = False, p: float | None = None):
    """x[, key] -> y[, cells]."""
    if why := refusal(call, 0) or unsuited(window):
        return why
    x = in_rows(call.ins[0])
    y, dropping = sized(x, window.out_size), p is not None
    if dropping and y.size >= 1 << 32:
        return "more elements than 32 bits count"
    outs = [y, cells_of(y)[0]] if call.auxiliaries else [y]
    at = len(outs)
    key = (Operand(at + 1), *thresholds(p)) if dropping else NO_DROPOUT
    at_once = at_once_of(y.size // (y.shape[0] * y.shape[1])) if dropping else 1
    chosen = forward_kernel(at_once, call.auxiliaries, rectified, dropping)
    run = launched(chosen, (Operand(at), x), (Operand(0), y), at - 1, key=key)
    return planned(run, [x, *(k.at(PLAIN) for k in call.ins[1:])], outs)


def backward(call: Call, window: Window, dropped: float | None = None, passed: float | None = None):
    """gy[, key][, saved], cells -> gx.

    Args:
        dropped: p of the dropout of gy, which reads the key.
        passed: gy passes, scaled by this, where the saved value is not 0 or less.
    """
    if why := refusal(call, 0) or unsuited(window):
        return why
    gy, *between, cells = call.ins
    gy, at_once, key, saved = in_rows(gy), 1, NO_DROPOUT, []
    gx = sized(gy, window.size)
    if dropped is not None:
        if gy.size >= 1 << 32:
            return "more elements than 32 bits count"
        at_once = at_once_of(gy.size // (gy.shape[0] * gy.shape[1]))
        key, between = (Operand(2), *thresholds(dropped)), [between[0].at(PLAIN)]
    if passed is not None:
        between = [in_rows(between[0])]
        key, saved = (0, 0, float_bits(passed)), [(Operand(2), between[0])]
    ins = [gy, *between, cells]
    chosen = gradient_kernel(at_once, passed is not None, dropped is not None)
    run = launched(chosen, (Operand(0), gx), (Operand(1), gy), len(ins), saved, key)
    return planned(run, ins, [gx])


@kernel("max_pool")
def max_pool(call: Call) -> Plan | str:
    return forward(call, call.geometry)


@kernel("max_pool+relu")
def max_pool_relu(call: Call) -> Plan | str:
    return forward(call, call.geometry[0], rectified=True)


@kernel("max_pool+dropout")
def max_pool_dropout(call: Call) -> Plan | str:
    window, p, _ = call.geometry
    return forward(call, window, p=p)


@kernel("max_pool+relu+dropout")
def max_pool_relu_dropout(call: Call) -> Plan | str:
    (window, _, _), p, _ = call.geometry
    return forward(call, window, rectified=True, p=p)


@kernel("max_pool_grad")
def max_pool_grad(call: Call) -> Plan | str:
    return backward(call, call.geometry)


@kernel("dropout+max_pool_grad")
def dropout_max_pool_grad(call: Call) -> Plan | str:
    p, window, _ = call.geometry
    return backward(call, window, dropped=p)


@kernel("relu_grad+max_pool_grad")
def relu_grad_max_pool_grad(call: Call) -> Plan | str:
    return backward(call, call.geometry[1], passed=1.0)


@kernel("relu_dropout_grad+max_pool_grad")
def relu_dropout_grad_max_pool_grad(call: Call) -> Plan | str:
    p, window, _ = call.geometry
    return backward(call, window, passed=scale_of(p))


@kernel("max_pool_gather")
def max_pool_gather(call: Call) -> Plan | str:
    """v from the winners' places: (v, cells) -> y. Second derivatives ask for it."""
    if why := refusal(call, 0) or unsuited(call.geometry):
        return why
    v, cells = in_rows(call.ins[0]), call.ins[1]
    y = sized(v, call.geometry.out_size)
    return planned(launched(gather_kernel(), (Operand(1), v), (Operand(0), y), 2), [v, cells], [y])
