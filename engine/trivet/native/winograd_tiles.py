"""Blocks of Winograd F(4x4, 3x3): a tile of six by six pixels and its 36 products, both ways.

``Y = At [(G w Gt) * (Bt d B)] A`` with the interpolation points 0, infinity and, four instead of
the usual 1, -1, 2 and -2, plus and minus the roots of 1/2 and 2: a third of the error at the same
cost. Each block does one tile for the channels of one vector, or loops over the tile's vectors.

Sources: Lavin & Gray, arXiv:1509.09308, section 4.3; the points: Alam et al., arXiv:2201.10369.
"""

from __future__ import annotations

from functools import partial

from ..simd import BYTES, LANES, block

TILE = 4  # pixels a side of what a tile produces
EDGE = 6  # of what it reads, and of what is multiplied
CELLS = 3  # of the filter
NEAR, FAR = 0.5**0.5, 2**0.5  # the points of interpolation beside 0 and infinity, with both signs


# ---- one axis


def _input(d):
    """Bt: six pixels."""
    near, near_odd = d[4] - d[2] * 2.0, (d[3] - d[1] * 2.0) * NEAR
    far, far_odd = d[4] - d[2] * 0.5, (d[3] - d[1] * 0.5) * FAR
    first, last = d[0] + (d[4] - d[2] * 2.5), d[1] + (d[5] - d[3] * 2.5)
    return [first, near + near_odd, near - near_odd, far + far_odd, far - far_odd, last]


def _output(m):
    """At: six products to four pixels."""
    a, b, c, d = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    last = b * (NEAR / 2) + d * (FAR * 2) + m[5]
    return [m[0] + a + c, b * NEAR + d * FAR, a * 0.5 + c * 2.0, last]


def _output_turned(y):
    """A: four pixels' gradients to six."""
    near, near_odd = y[0] + y[2] * 0.5, y[1] * NEAR + y[3] * (NEAR / 2)
    far, far_odd = y[0] + y[2] * 2.0, y[1] * FAR + y[3] * (FAR * 2)
    return [y[0], near + near_odd, near - near_odd, far + far_odd, far - far_odd, y[3]]


def _filter(w):
    """G: three cells to six."""
    near, near_odd = w[0] * (-2 / 3) + w[2] * (-1 / 3), w[1] * (NEAR * -2 / 3)
    far, far_odd = w[0] * (1 / 6) + w[2] * (1 / 3), w[1] * (FAR / 6)
    return [w[0], near + near_odd, near - near_odd, far + far_odd, far - far_odd, w[2]]


def _filter_turned(u):
    """Gt: six to the gradients of three cells."""
    a, b, c, d = u[1] + u[2], u[1] - u[2], u[3] + u[4], u[3] - u[4]
    first = u[0] + a * (-2 / 3) + c * (1 / 6)
    last = u[5] + a * (-1 / 3) + c * (1 / 3)
    return [first, b * (NEAR * -2 / 3) + d * (FAR / 6), last]


def _both(axis, square):
    """An axis' function on the columns of a square, then on its rows; row by row."""
    columns = [axis([row[j] for row in square]) for j in range(len(square[0]))]
    rows = [axis([column[i] for column in columns]) for i in range(len(columns[0]))]
    return [value for row in rows for value in row]


def _square(side, address, row, pixel):
    return [[address + row * i + pixel * j for j in range(side)] for i in range(side)]


# ---- input


def _read_tile(emit, places, products, product, vectors):
    def body(o):
        d = [[emit.load(place + o) for place in row] for row in places]
        for f, value in enumerate(_both(_input, d)):
            emit.store(products + product * f + o, value)
        return [o + BYTES]

    emit.loop(vectors, [vectors * 0], body)


@block
def input_inside(emit, x, row, pixel, products, product, vectors):
    """A tile inside the image; ``product`` bytes from one of the 36 products to the next."""
    _read_tile(emit, _square(EDGE, x, row, pixel), products, product, vectors)


@block
def input_border(emit, x, row, pixel, products, product, vectors, top, left, height, width, zeros):
    """A tile that sticks out: a pixel outside is read from zeros, which mask no load."""
    rows = [(top + i >= 0) & (top + i < height) for i in range(EDGE)]
    columns = [(left + j >= 0) & (left + j < width) for j in range(EDGE)]
    places = _square(EDGE, x, row, pixel)
    inside = [
        [(rows[i] & columns[j]).choose(places[i][j], zeros) for j in range(EDGE)]
        for i in range(EDGE)
    ]
    _read_tile(emit, inside, products, product, vectors)


# ---- output


def _pixels(emit, products, product, shift, low):
    """Four by four pixels of one vector of channels, plus the shift; and the lowest allowed."""
    m = [
        [emit.load(place) for place in row]
        for row in _square(EDGE, products, product * EDGE, product)
    ]
    b = emit.load(shift)
    return [value + b for value in _both(_output, m)], emit.broadcast(low)


def _writers(finish):
    """Blocks that write a tile's pixels as ``finish(emit, value, lowest, load)`` makes them.

    ``load(mask)`` reads the same pixel of another image, ``other``. The second block writes the
    ``height`` x ``width`` pixels and the ``channels`` that the tile has in the image.
    """

    @block
    def whole(emit, products, product, y, row, pixel, shift, low, other, other_row, other_pixel):
        values, lowest = _pixels(emit, products, product, shift, low)
        for k, value in enumerate(values):
            i, j = divmod(k, TILE)
            place = other + other_row * i + other_pixel * j
            load = partial(emit.load, place)
            emit.store(y + row * i + pixel * j, finish(emit, value, lowest, load))

    @block
    def part(
        emit, products, product, y, row, pixel, shift, low, other, other_row, other_pixel,
        channels, height, width,
    ):  # fmt: skip
        values, lowest = _pixels(emit, products, product, shift, low)
        lanes = emit.first(channels)
        for k, value in enumerate(values):
            i, j = divmod(k, TILE)
            mask = emit.only_if((height > i) & (width > j), lanes)
            load = partial(emit.load, other + other_row * i + other_pixel * j, mask)
            emit.store(y + row * i + pixel * j, finish(emit, value, lowest, load), mask)

    return whole, part


write_whole, write_part = _writers(lambda emit, value, lowest, load: _at_least(value, lowest))
add_whole, add_part = _writers(lambda emit, value, lowest, load: _at_least(value + load(), lowest))
pass_whole, pass_part = _writers(  # the gradient of ReLU: nothing where its result was no more
    lambda emit, value, lowest, load: (load() <= 0.0).choose(emit.constant(0.0), value)
)


def _at_least(value, lowest):
    """NaN stays."""
    return (value < lowest).choose(lowest, value)


# ---- gradient of the output


def _read_gradient(emit, square, products, product, totals):
    def add():
        rows = [(row[0] + row[1]) + (row[2] + row[3]) for row in square]
        pixels = (rows[0] + rows[1]) + (rows[2] + rows[3])
        emit.store(totals, emit.load_doubles(totals) + pixels.widened())

    emit.when(totals > 0, add)
    for f, value in enumerate(_both(_output_turned, square)):
        emit.store(products + product * f, value)


@block
def gradient_whole(emit, gy, row, pixel, products, product, totals):
    """A vector of channels of a tile of the output's gradient; its pixels' sum joins the totals.

    ``totals``: LANES float64, or 0 where nobody wants them.
    """
    places = _square(TILE, gy, row, pixel)
    _read_gradient(emit, [[emit.load(p) for p in r] for r in places], products, product, totals)


@block
def gradient_part(emit, gy, row, pixel, products, product, totals, height, width):
    """The same where the image ends within the tile: zeros beyond."""
    rows = [height > i for i in range(TILE)]
    columns = [width > j for j in range(TILE)]
    everywhere = emit.first(products * 0 + LANES)
    places = _square(TILE, gy, row, pixel)
    square = [
        [
            emit.load(places[i][j], emit.only_if(rows[i] & columns[j], everywhere))
            for j in range(TILE)
        ]
        for i in range(TILE)
    ]
    _read_gradient(emit, square, products, product, totals)


# ---- filters


@block
def filter_forward(emit, w, step, cell, scale, products, product, count):
    """Filters of a vector of channels, ``step`` bytes apart, their cells ``cell`` bytes apart."""
    mask = emit.first(count)
    places = _square(CELLS, w, cell * CELLS, cell)
    square = [[emit.gather(place, step, mask) for place in row] for row in places]
    factor = emit.load(scale)
    for f, value in enumerate(_both(_filter, square)):
        emit.store(products + product * f, value * factor)


@block
def filter_back(emit, products, product, w, step, count):
    """The gradients of a vector of filters, whose first cells are ``step`` bytes apart."""
    mask = emit.first(count)
    places = _square(EDGE, products, product * EDGE, product)
    square = [[emit.load(place) for place in row] for row in places]
    for k, value in enumerate(_both(_filter_turned, square)):
        emit.scatter(w + 4 * k, step, value, mask)


@block
def add_vectors(emit, y, x, vectors):
    """y += x."""

    def body(o):
        emit.store(y + o, emit.load(y + o) + emit.load(x + o))
        return [o + BYTES]

    emit.loop(vectors, [vectors * 0], body)


@block
def clear(emit, y, vectors):
    """y = 0."""

    def body(o):
        emit.store(y + o, emit.constant(0.0))
        return [o + BYTES]

    emit.loop(vectors, [vectors * 0], body)
