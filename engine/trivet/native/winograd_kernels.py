"""The kernels of Winograd convolutions: filters, images, gradients of filters.

Tiles are worked through in chunks whose transformed pixels and products stay in the second-level
cache. Each thread has tiles of its own; only gradients of filters are summed over the threads.
"""

from __future__ import annotations

from typing import NamedTuple

from ..simd import BYTES, LANES, helper, parameter, share, thread, threads
from ..simd import kernel as compiled
from .finish import ADD, WRITE
from .products import add_turned, multiply, packed, panel
from .winograd_tiles import (
    EDGE,
    TILE,
    add_part,
    add_vectors,
    add_whole,
    clear,
    filter_back,
    filter_forward,
    gradient_part,
    gradient_whole,
    input_border,
    input_inside,
    pass_part,
    pass_whole,
    write_part,
    write_whole,
)

PRODUCTS = EDGE * EDGE  # of a tile, per pair of channels
GAP = 64  # bytes between the matrices of two products: not all in one set of the cache


class Grid(NamedTuple):
    """The tiles of all images: first of image 0, row by row. Steps in bytes."""

    rows: int  # of tiles, per image
    columns: int
    height: int  # of the image that is read  [pixels]
    width: int
    row: int  # step
    pixel: int  # step
    out_height: int
    out_width: int
    out_row: int  # step
    out_pixel: int  # step
    above: int  # pixels of padding
    left: int


GRID = len(Grid._fields)  # entries of a table


@helper
def _grid(table):
    """A table's first entries."""
    return Grid(
        parameter(table, 0), parameter(table, 1), parameter(table, 2), parameter(table, 3),
        parameter(table, 4), parameter(table, 5), parameter(table, 6), parameter(table, 7),
        parameter(table, 8), parameter(table, 9), parameter(table, 10), parameter(table, 11),
    )  # fmt: skip


@helper
def matrix(rows, vectors):
    """Bytes from the matrix of one product to the next."""
    return rows * vectors * BYTES + GAP


@helper
def _place(grid, t):
    """Tile t: its image, and its first pixel of the output."""
    image, at = divmod(t, grid.rows * grid.columns)
    return image, at // grid.columns * TILE, at % grid.columns * TILE


@helper
def _read_tiles(x, grid, low, high, to, product, vectors, zeros):
    """The left sides of the products of the tiles low ... high: a row of channels per tile."""
    for t in range(low, high):
        image, y0, x0 = _place(grid, t)
        top, left = y0 - grid.above, x0 - grid.left
        place = x + (image * grid.height + top) * grid.row + left * grid.pixel
        inside = top + EDGE <= grid.height and left + EDGE <= grid.width
        if top >= 0 and left >= 0 and inside:
            input_inside(place, grid.row, grid.pixel, to, product, vectors)
        else:
            input_border(
                place, grid.row, grid.pixel, to, product, vectors,
                top, left, grid.height, grid.width, zeros,
            )  # fmt: skip
        to += vectors * BYTES


@compiled
def winograd_filters(table):
    """products, w, inputs, outputs, step from filter to filter along the inputs, the outputs, step
    from cell to cell, scale of each output.

    Of each of the 36 products a matrix (inputs, outputs), packed in panels. A step below 0 from
    cell to cell, with w at the last one, turns the filters round.
    """
    products, w = parameter(table, 0), parameter(table, 1)
    inputs, outputs = parameter(table, 2), parameter(table, 3)
    input_step, output_step = parameter(table, 4), parameter(table, 5)
    cell, scale = parameter(table, 6), parameter(table, 7)
    vectors = (outputs + LANES - 1) // LANES
    product = matrix(inputs, vectors)
    low, high = share(inputs, 1, thread(), threads())
    for i in range(low, high):
        done = 0
        while done < vectors:
            width = panel(vectors - done)
            to = products + packed(i, inputs, vectors, done, width)
            for v in range(width):
                o = (done + v) * LANES
                filter_forward(
                    w + i * input_step + o * output_step, output_step, cell,
                    scale + 4 * o, to + v * BYTES, product, outputs - o,
                )  # fmt: skip
            done += width


@helper
def _write_tile(m, product, y, grid, shift, low, other, other_pixel, mode, channels, height, width):
    """One tile of the output; ``height`` and ``width`` are what is left of the image."""
    row, pixel, other_row = grid.out_row, grid.out_pixel, grid.out_width * other_pixel
    whole = height >= TILE and width >= TILE
    for c in range(0, channels, LANES):
        a, b = m + 4 * c, y + 4 * c
        d, e = shift + 4 * c, other + 4 * c
        if whole and c + LANES <= channels:
            if mode == WRITE:
                write_whole(a, product, b, row, pixel, d, low, e, other_row, other_pixel)
            elif mode == ADD:
                add_whole(a, product, b, row, pixel, d, low, e, other_row, other_pixel)
            else:
                pass_whole(a, product, b, row, pixel, d, low, e, other_row, other_pixel)
        else:
            n = channels - c
            if mode == WRITE:
                write_part(
                    a, product, b, row, pixel, d, low, e, other_row, other_pixel, n, height, width
                )
            elif mode == ADD:
                add_part(
                    a, product, b, row, pixel, d, low, e, other_row, other_pixel, n, height, width
                )
            else:
                pass_part(
                    a, product, b, row, pixel, d, low, e, other_row, other_pixel, n, height, width
                )


@compiled
def winograd_images(table):
    """A Grid; y, x, products of the filters, shift, other, step between pixels of other, mode,
    lowest (a float32), inputs, outputs, images, tiles in a chunk, scratch, bytes of it per thread,
    zeros.

    y = x through the filters + shift [+ other], not below the lowest; or 0 where other <= 0.
    """
    grid, at = _grid(table), table + 8 * GRID
    y, x, filters, shift = parameter(at, 0), parameter(at, 1), parameter(at, 2), parameter(at, 3)
    other, other_pixel, mode = parameter(at, 4), parameter(at, 5), parameter(at, 6)
    inputs, outputs, images = parameter(at, 8), parameter(at, 9), parameter(at, 10)
    chunk, zeros = parameter(at, 11), parameter(at, 14)
    left = parameter(at, 12) + thread() * parameter(at, 13)
    read = (inputs + LANES - 1) // LANES
    made = (outputs + LANES - 1) // LANES
    left_step, right_step = matrix(chunk, read), matrix(inputs, made)
    result, result_step = left + PRODUCTS * left_step, matrix(chunk, made)
    low, high = share(images * grid.rows * grid.columns, 1, thread(), threads())
    for first in range(low, high, chunk):
        last = min(first + chunk, high)
        _read_tiles(x, grid, first, last, left, left_step, read, zeros)
        for f in range(PRODUCTS):
            multiply(
                left + f * left_step, read * BYTES, filters + f * right_step,
                result + f * result_step, made * BYTES, last - first, inputs,
                made * LANES, False,
            )  # fmt: skip
        for t in range(first, last):
            image, y0, x0 = _place(grid, t)
            pixel = (image * grid.out_height + y0) * grid.out_width + x0
            _write_tile(
                result + (t - first) * made * BYTES, result_step, y + pixel * grid.out_pixel, grid,
                shift, at + 8 * 7, other + pixel * other_pixel, other_pixel, mode,
                outputs, grid.out_height - y0, grid.out_width - x0,
            )  # fmt: skip


@helper
def _read_gradients(gy, grid, low, high, to, product, vectors, totals):
    """The right sides of the products of the tiles low ... high; their sums join the totals."""
    for t in range(low, high):
        image, y0, x0 = _place(grid, t)
        place = gy + ((image * grid.out_height + y0) * grid.out_width + x0) * grid.out_pixel
        height, width = grid.out_height - y0, grid.out_width - x0
        row, pixel = grid.out_row, grid.out_pixel
        for v in range(vectors):
            a, b = place + v * BYTES, to + v * BYTES
            sums = totals + 2 * v * BYTES if totals else 0
            if height >= TILE and width >= TILE:
                gradient_whole(a, row, pixel, b, product, sums)
            else:
                gradient_part(a, row, pixel, b, product, sums, height, width)
        to += vectors * BYTES


@compiled
def winograd_sums(table):
    """A Grid; x, gy, sums, bytes of them per thread, inputs, outputs, images, tiles in a chunk,
    scratch, bytes of it per thread, zeros, where a thread's totals lie behind its first sum or 0.

    Each thread's sums over its tiles: 36 matrices (inputs, outputs). The totals, if wanted: gy
    summed over its tiles, a float64 per output.
    """
    grid, at = _grid(table), table + 8 * GRID
    x, gy = parameter(at, 0), parameter(at, 1)
    sums = parameter(at, 2) + thread() * parameter(at, 3)
    inputs, outputs, images = parameter(at, 4), parameter(at, 5), parameter(at, 6)
    chunk, zeros = parameter(at, 7), parameter(at, 10)
    left = parameter(at, 8) + thread() * parameter(at, 9)
    read = (inputs + LANES - 1) // LANES
    made = (outputs + LANES - 1) // LANES
    left_step, right_step = matrix(chunk, read), matrix(chunk, made)
    right, sum_step = left + PRODUCTS * left_step, matrix(inputs, made)
    totals = sums + parameter(at, 11) if parameter(at, 11) else 0
    if totals:
        clear(totals, 2 * made)
    for f in range(PRODUCTS):
        clear(sums + f * sum_step, inputs * made)
    low, high = share(images * grid.rows * grid.columns, 1, thread(), threads())
    for first in range(low, high, chunk):
        last = min(first + chunk, high)
        _read_tiles(x, grid, first, last, left, left_step, read, zeros)
        _read_gradients(gy, grid, first, last, right, right_step, made, totals)
        for f in range(PRODUCTS):
            add_turned(
                left + f * left_step, read * BYTES, right + f * right_step, made * BYTES,
                sums + f * sum_step, made * BYTES, inputs, last - first,
                made * LANES, 0,
            )  # fmt: skip


@compiled
def winograd_filters_back(table):
    """w, sums, bytes of them per thread, inputs, outputs: the gradients (outputs, inputs, 3, 3)."""
    w, sums, of_thread = parameter(table, 0), parameter(table, 1), parameter(table, 2)
    inputs, outputs = parameter(table, 3), parameter(table, 4)
    made = (outputs + LANES - 1) // LANES
    sum_step = matrix(inputs, made)
    low, high = share(inputs, 1, thread(), threads())
    for i in range(low, high):
        row = sums + i * made * BYTES
        for t in range(1, threads()):
            for f in range(PRODUCTS):
                add_vectors(row + f * sum_step, row + f * sum_step + t * of_thread, made)
        for v in range(made):
            o = v * LANES
            filter_back(
                row + v * BYTES, sum_step, w + 36 * (o * inputs + i), 36 * inputs, outputs - o
            )
