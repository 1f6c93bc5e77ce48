"""Matrix products, batched; transposed operands are taken as they lie."""

from __future__ import annotations

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import PLAIN, Spec, row_major
from .common import (
    Recipe,
    Refused,
    describe,
    kernel,
    multiplying_bfloat16,
    operation,
    taken,
)  # fmt: skip


@kernel("matmul", rounds=True)
def matmul(call: Call, rounds: bool) -> Plan | str:
    """a (..., N, K), b (..., K, M)[, bias (M,)] -> (..., N, M)."""
    a, b, *bias = call.ins
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = Spec((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    bias = [s.at(PLAIN) for s in bias]
    try:
        return _plan(*(s if _dense(s) else s.at(PLAIN) for s in (a, b)), bias, y, rounds)
    except Refused:
        if a.layout == b.layout == PLAIN:
            raise
        return _plan(a.at(PLAIN), b.at(PLAIN), bias, y, rounds)


def _dense(s: Spec) -> bool:
    """Whether rows or columns lie in one piece each, as a matrix product wants them."""
    if s.steps is None or s.layout == PLAIN:
        return False  # plain anyway, or to be made so
    (rows, columns), (down, right) = s.shape[-2:], s.steps[-2:]
    return (right == 1 and down >= columns) or (down == 1 and right >= rows)


def _plan(a, b, bias, y, rounds):
    recipe = Recipe((a, b, *bias), (y,))
    rank = max(len(y.shape), 2)
    lie = given = _described(a, rank), _described(b, rank)
    if rounds:
        given = [Descriptor.anyhow(d.shape, K.BF16) for d in lie]
    columns = Descriptor.strided(
        (1,) * (rank - 1) + y.shape[-1:], (y.shape[-1],) * (rank - 1) + (1,)
    )
    made = operation("matmul", *given, columns if bias else None, describe(y), dnnl.attributes())
    if rounds:
        made = multiplying_bfloat16(made)
    wanted = map(made.descriptor, (K.QUERY_SRC_MD, K.QUERY_WEIGHTS_MD))
    src, weights = (taken(recipe, k, *both, rounds) for k, both in enumerate(zip(lie, wanted)))
    last = {"bias": (columns, recipe.of(2))} if bias else {}
    recipe.launch(made, dst=(describe(y), recipe.out(0)), src=src, weights=weights, **last)
    return recipe.plan(made.implementation)


def _described(s: Spec, rank: int) -> Descriptor:
    """With as many axes as the result; what a view repeats along the batch is there once."""
    missing = rank - len(s.shape)
    steps = s.steps or row_major(s.shape)
    shape = [
        n if step or k >= len(steps) - 2 else 1 for k, (n, step) in enumerate(zip(s.shape, steps))
    ]
    if any(step < 1 for n, step in zip(shape, steps) if n > 1):
        raise Refused("a view that repeats elements or walks backwards")
    steps = [step if n > 1 else max(step, 1) for n, step in zip(shape, steps)]
    whole = s.shape[-1] * s.shape[-2]
    return Descriptor.strided((*[1] * missing, *shape), (*[whole] * missing, *steps))
