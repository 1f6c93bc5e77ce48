"""Matrix products of two axes, by register blocks; either operand may be transposed."""

from __future__ import annotations

from ..lib import openmp
from ..registry import Call, Plan
from ..simd import LANES, Launch, Operand
from ..spec import PLAIN, Spec
from .common import kernel, planned, refusal
from .products import pack_right, rows_product, turned_product, turned_scratch

ROWS = 8  # fewer, and packing b takes longer than the product


@kernel("matmul")
def matmul(call: Call) -> Plan | str:
    """a (N, K), b (K, M)[, bias (M,)] -> (N, M)."""
    if why := refusal(call):
        return why
    a, b, *bias = call.ins
    if len(a.shape) != 2 or len(b.shape) != 2:
        return "two axes only"
    (rows, depth), columns = a.shape, b.shape[1]
    if rows < ROWS:
        return f"fewer than {ROWS} rows"
    if call.means.strict:
        return "sums in another order than the reference"
    a, b = (s if s.steps and 1 in s.steps else s.at(PLAIN) for s in (a, b))
    ins = a, b, *(s.at(PLAIN) for s in bias)
    start, workspace = Operand(3) if bias else 0, Operand(1 + len(ins))
    if a.steps[1] == 1:
        vectors = -(-columns // LANES)
        steps = (4 * step for step in b.steps)
        run = Launch(
            (pack_right, (Operand(2), *steps, depth, columns, workspace)),
            (rows_product, (
                Operand(0), 4 * columns, Operand(1), 4 * a.steps[0], workspace, rows, depth,
                columns, start,
            )),
        )  # fmt: skip
        space = 4 * depth * vectors * LANES
    else:
        b = b if b.steps[1] == 1 else b.at(PLAIN)
        run = Launch(
            (turned_product, (
                Operand(0), Operand(1), 4 * a.steps[1], Operand(2), 4 * b.steps[0], rows, depth,
                columns, start, workspace,
            )),
        )  # fmt: skip
        space = openmp.threads() * turned_scratch.py_func(rows)
    return planned(run, (a, b, *ins[2:]), [Spec((rows, columns))], workspace=space)
