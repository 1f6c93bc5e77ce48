"""Sums and means, over the axes that lie innermost or over all but the channels."""

from __future__ import annotations

import math

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor, Operation
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Place, Recipe, describe, kernel, operation

PARTS, MANY = 64, 4096  # sums that threads share, of so many rows or more


@kernel("sum_to")
def sum_to(call: Call) -> Plan | str:
    """geometry = the shape that is left, to which the operand would be broadcast back."""
    (x,), shape = call.ins, call.geometry
    kept = (1,) * (len(x.shape) - len(shape)) + shape
    return _reduced(x, kept, Spec(shape, x.dtype), mean=False)


@kernel("mean")
def mean(call: Call) -> Plan | str:
    """geometry = (axes,); they stay, with size 1."""
    (x,), (axes,) = call.ins, call.geometry
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return _reduced(x, kept, Spec(kept, x.dtype), mean=True)


def _reduced(x: Spec, kept: tuple[int, ...], y: Spec, mean: bool) -> Plan | str:
    """``kept``: x's axes, of size 1 where they are summed over."""
    summed = [i for i, (n, m) in enumerate(zip(x.shape, kept)) if m == 1 != n]
    left = [i for i, m in enumerate(kept) if m > 1]
    if not summed:
        return "nothing to sum"
    if x.layout == CHANNELS_LAST and left == [1]:
        return _over_rows(x, x.shape[1], y, mean)
    x = x.at(PLAIN)
    if not left or max(left) < min(summed):
        return _over_columns(x, y, mean)
    if max(summed) < min(left):
        return _over_rows(x, math.prod(x.shape[min(left) :]), y, mean)
    return "oneDNN has only ref:any unless the axes are all the first or all the last"


def _over_columns(x, y, mean):
    rows = max(y.size, 1)
    source = describe(x, (rows, x.size // rows))
    target = Descriptor.strided((rows, 1), (1, 1))
    algorithm = K.REDUCTION_MEAN if mean else K.REDUCTION_SUM
    made = operation("reduction", algorithm, source, target, 0.0, 0.0, dnnl.attributes())
    recipe = Recipe((x,), (y,))
    recipe.launch(made, dst=(target, recipe.out(0)), src=(source, recipe.of(0)))
    return recipe.plan(made.implementation)


def _over_rows(x, columns, y, mean):
    rows = x.size // columns
    recipe = Recipe((x,), (y,))
    matrix = rows, columns, columns
    made = over_rows(recipe, matrix, recipe.of(0), recipe.out(0), 1 / rows if mean else 1)
    return recipe.plan(made.implementation)


def over_rows(recipe: Recipe, matrix, place: Place, to: Place, factor: float = 1) -> Operation:
    """Adds a row of equal numbers times a matrix, as products that all threads share.

    Many rows are summed in parts first: of a product with few columns oneDNN makes no shares.

    Args:
        matrix: Rows, columns, and the step from row to row in elements.
    """
    rows, columns, step = matrix
    parts = math.gcd(rows, PARTS) if rows >= MANY else 1
    of_part = rows // parts
    left = Descriptor.strided((1, 1, of_part), (of_part, of_part, 1))
    right = Descriptor.strided((parts, of_part, columns), (of_part * step, step, 1))
    target = Descriptor.strided((parts, 1, columns), (columns, columns, 1))
    made = operation("matmul", left, right, None, target, dnnl.attributes())
    weights, value = recipe.memory(4 * of_part), np.float32(factor if parts == 1 else 1)
    sums = to if parts == 1 else recipe.memory(4 * parts * columns)
    recipe.arrays(lambda w: w.fill(value), (weights, (of_part,)))
    recipe.launch(made, dst=(target, sums), src=(left, weights), weights=(right, place))
    return made if parts == 1 else over_rows(recipe, (parts, columns, columns), sums, to, factor)
