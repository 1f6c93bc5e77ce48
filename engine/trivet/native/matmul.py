"""Matrix products of two axes, by register blocks; either operand may be transposed."""

from __future__ import annotations

from dataclasses import replace

from ..lib import openmp
from ..registry import Call, Plan
from ..simd import LANES, Launch, Operand
from ..spec import PLAIN, Spec
from .common import kernel, planned, refusal
from .products import (
    DEPTH,
    WIDEST,
    columns_product,
    pack_right,
    rows_product,
    turned_product,
    turned_scratch,
)

ROWS = 8  # fewer, and packing b takes longer than the product
ALONE = 1 << 19  # products that one thread has done before another would have woken up
FEW = 300  # rows for which B is not worth being packed as a whole
PANEL = DEPTH * WIDEST * LANES  # float32


@kernel("matmul")
def matmul(call: Call) -> list[Plan] | str:
    """a (N, K), b (K, M)[, bias (M,)] -> (N, M)."""
    if why := refusal(call):
        return why
    a, b, *bias = call.ins
    if len(a.shape) != 2 or len(b.shape) != 2:
        return "two axes only"
    (rows, depth), columns = a.shape, b.shape[1]
    if rows < ROWS:
        return f"fewer than {ROWS} rows"
    a, b = (s if s.steps and 1 in s.steps else s.at(PLAIN) for s in (a, b))
    ins = a, b, *(s.at(PLAIN) for s in bias)
    start, workspace = Operand(3) if bias else 0, Operand(1 + len(ins))
    y, row = Spec((rows, columns)), 4 * columns
    threads = 1 if rows * depth * columns < ALONE else openmp.threads()
    if a.steps[1] != 1:
        b = b if b.steps[1] == 1 else b.at(PLAIN)
        stages = {"transposed": [(turned_product, (
            Operand(0), Operand(1), 4 * a.steps[1], Operand(2), 4 * b.steps[0], rows, depth,
            columns, start, workspace,
        ))]}  # fmt: skip
        space = threads * turned_scratch.py_func(rows)
    else:
        ends = Operand(0), row, Operand(1), 4 * a.steps[0]
        right = Operand(2), *(4 * step for step in b.steps)
        sizes = rows, depth, columns
        stages = {
            "columns": [(columns_product, (*ends, *right, *sizes, start, workspace))],
            "rows": [
                (pack_right, (*right, depth, columns, workspace)),
                (rows_product, (*ends, workspace, *sizes, start)),
            ],
        }
        if rows > FEW:
            stages = dict(reversed(stages.items()))
        space = 4 * max(depth * -(-columns // LANES) * LANES, threads * PANEL)
    ins = a, b, *ins[2:]
    plans = {
        name: planned(Launch(*each, on=threads), ins, [y], workspace=space)
        for name, each in stages.items()
    }
    # unmeasured, oneDNN's products are the better guess
    return [replace(plan, name=name, rank=1) for name, plan in plans.items()]
