"""Sums and means, over the axes that lie innermost or over all but the channels."""

from __future__ import annotations

import math

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Recipe, describe, kernel, operation


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
    """A row of equal numbers times the rows: a matrix product, which all threads share."""
    rows = x.size // columns
    left = Descriptor.strided((1, rows), (rows, 1))
    right = Descriptor.strided((rows, columns), (columns, 1))
    target = Descriptor.strided((1, columns), (columns, 1))
    made = operation("matmul", left, right, None, target, dnnl.attributes())
    recipe = Recipe((x,), (y,))
    weights = recipe.memory(4 * rows)
    value = np.float32(1 / rows if mean else 1)
    recipe.arrays(lambda w: w.fill(value), (weights, (rows,)))
    recipe.launch(
        made,
        dst=(target, recipe.out(0)),
        src=(left, weights),
        weights=(right, recipe.of(0)),
    )
    return recipe.plan(made.implementation)
