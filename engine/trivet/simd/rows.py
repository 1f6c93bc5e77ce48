"""Rows: kernels that do one row after the other, several passes over each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from .kernels import Kernel, block, parameter, share, thread, threads, variant


class Rows:
    """``body(emit, columns, *addresses, *options)`` for each row.

    Args:
        name: No other kernel's.
        body: Gets the int64 number of columns, the address of each operand's row, and the
            options: int64, as they stand in the table.
        operands, options: How many.
    """

    def __init__(self, name: str, body: Callable, *, operands: int, options: int = 0):
        self.name, self.body, self.operands, self.options = name, body, operands, options

    def stage(self, rows: int, columns: int, operands, options=()) -> tuple[Kernel, tuple]:
        """As a stage of a Launch; operands: (Operand, bytes from row to row) each."""
        flat = (entry for pair in operands for entry in pair)
        return self.kernel, (rows, columns, *options, *flat)

    @cached_property
    def kernel(self) -> Kernel:
        return variant(_template, f"{self.name}_by_rows", [self.body], _row=_row_block(self))


_row = None  # each variant of the template brings its own


def _template(table):
    low, high = share(parameter(table, 0), 1, thread(), threads())
    for row in range(low, high):
        _row(table, row)


def _row_block(made: Rows):
    @block
    def one(emit, table, row):
        first = 2 + made.options
        at = [
            emit.entry(table, first + 2 * k) + row * emit.entry(table, first + 2 * k + 1)
            for k in range(made.operands)
        ]
        options = [emit.entry(table, 2 + k) for k in range(made.options)]
        made.body(emit, emit.entry(table, 1), *at, *options)

    return one
