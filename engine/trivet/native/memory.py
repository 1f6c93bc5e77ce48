"""Sums over what was broadcast, and values moved to another layout."""

from __future__ import annotations

from ..simd import Launch, Operand, double_bits
from ..simd.sums import ColumnSums, add_parts, sum_parts, sum_rows
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Walk, is_image, kernel, lies_channels_last, planned, refusal, team, walk_order

SUM = ColumnSums("sum", lambda emit, x: x.widened(), lambda emit, total: total.narrowed())


@kernel("sum_to")
def sum_to(call):
    if why := refusal(call):
        return why
    (x,), shape = call.ins, call.geometry
    out = Spec(shape)
    if x.steps is None or len(walked(x, out).sizes) > 2:
        x = x.at(CHANNELS_LAST if is_image(x) else PLAIN)
    walk = walked(x, out)
    on, (steps, kept) = team(x.size), walk.steps
    if len(walk.sizes) == 1 and steps[0] == 1 and (not kept[0] or x.size == 1):
        parts = Operand(2)
        stages = (
            (sum_parts, (x.size, Operand(1), parts)),
            (add_parts, (parts, on, Operand(0), double_bits(1.0))),
        )
        return planned(Launch(*stages, on=on), [x], [out], workspace=64 * on)
    if len(walk.sizes) != 2 or steps[1] != 1 or bool(kept[0]) == bool(kept[1]):
        return "sums over axes that lie in too many pieces"
    rows, columns = walk.sizes
    if kept[0]:
        table = rows, columns, Operand(0), Operand(1), 4 * steps[0]
        return planned(Launch((sum_rows, table), on=on), [x], [out])
    operands = [(Operand(1), steps[0])]
    stages = SUM.stages(rows, columns, operands, Operand(2), [Operand(0)], [], [], on)
    return planned(Launch(*stages, on=on), [x], [out], workspace=SUM.workspace(columns, on))


def walked(x: Spec, out: Spec) -> Walk:
    """x's axes, merged, and the steps of the sum, 0 along what is summed."""
    order = walk_order(CHANNELS_LAST if lies_channels_last(x) else PLAIN, len(x.shape))
    return Walk.over(x.shape, order, x, out)
