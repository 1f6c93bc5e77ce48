"""Matrix products by register blocks: a block of C stays in registers over the whole depth.

Blocks of rows x vectors were measured on one thread of Sapphire Rapids with full-width AVX-512
(depth 100, B in the first-level cache): 9x3, 6x4 and 5x5 reach 0.89 of what a loop of nothing but
FMA does, 14x2 0.80, 16x1 0.74. One more register than there are, and LLVM spills: half as fast.
"""

from __future__ import annotations

from functools import partial

from ..simd import BYTES, REGISTERS, block, helper

# Vectors of a panel: rows of C held; rows * vectors + vectors + 1 fit in the registers.
BLOCKS = {1: 16, 2: 14, 3: 9, 4: 6, 5: 5} if REGISTERS == 32 else {1: 12, 2: 6, 3: 4}
WIDEST = max(BLOCKS)  # vectors
HELD = (0, *BLOCKS.values())  # the same for compiled code
SPARE = max(HELD)  # rows of room that a block may need beyond the last


def _register_block(emit, rows, width, a, a_row, a_depth, b, b_depth, c, c_row, depth, adds):
    places = [c + c_row * r + BYTES * v for r in range(rows) for v in range(width)]
    start = [emit.load(place) if adds else emit.constant(0.0) for place in places]

    def step(a, b, *sums):
        vectors = [emit.load(b + BYTES * v) for v in range(width)]
        new = []
        for r in range(rows):
            x = emit.broadcast(a + a_row * r)
            new += [sums[r * width + v] + x * vectors[v] for v in range(width)]
        return [a + a_depth, b + b_depth, *new]

    for place, total in zip(places, emit.loop(depth, [a, b, *start], step)[2:]):
        emit.store(place, total)


def _any_width(emit, vectors, *operands):
    for width, rows in BLOCKS.items():
        fixed = partial(_register_block, emit, rows, width, *operands)
        emit.when(vectors.equals(width), fixed)


@block
def _product(emit, vectors, a, a_row, b, b_depth, c, c_row, depth):
    """C = A B; the depth of A is contiguous."""
    _any_width(emit, vectors, a, a_row, 4, b, b_depth, c, c_row, depth, False)


@block
def _more_turned(emit, vectors, a, a_depth, b, b_depth, c, c_row, depth):
    """C += A B; the rows of A are contiguous."""
    _any_width(emit, vectors, a, 4, a_depth, b, b_depth, c, c_row, depth, True)


@helper
def panel(vectors):
    """Vectors of the next panel: panels as even as can be, none wider than the widest block."""
    panels = (vectors + WIDEST - 1) // WIDEST
    return (vectors + panels - 1) // panels


@helper
def multiply(a, a_row, b, c, c_row, rows, depth, vectors):
    """C (rows, vectors) = A (rows, depth) B (depth, vectors).

    B lies in panels, one after the other: of each row of B the panel's vectors. Steps in bytes.
    The last block of rows repeats some of the one before; with fewer rows than a block holds, A
    and C need room for a whole one, ``SPARE``.
    """
    while vectors > 0:
        width = panel(vectors)
        held = HELD[width]
        for r in range(0, rows, held):
            first = max(min(r, rows - held), 0)
            _product(
                width, a + first * a_row, a_row, b, width * BYTES, c + first * c_row, c_row, depth
            )
        b += depth * width * BYTES
        c += width * BYTES
        vectors -= width


@helper
def add_turned(a, a_depth, b, b_depth, c, c_row, rows, depth, vectors):
    """C (rows, vectors) += A (depth, rows) transposed, times B (depth, vectors).

    Steps in bytes. A and C need room for up to ``SPARE`` rows too many.
    """
    while vectors > 0:
        width = panel(vectors)
        for r in range(0, rows, HELD[width]):
            _more_turned(width, a + 4 * r, a_depth, b, b_depth, c + r * c_row, c_row, depth)
        b += width * BYTES
        c += width * BYTES
        vectors -= width
