"""Losses, their reduction in the same launch: geometry = "mean", "sum" or "none"."""

from __future__ import annotations

from ..simd import Launch, Operand, double_bits, float_bits
from ..simd.maps import Map
from ..simd.rows import Rows
from ..simd.sums import add_parts, sum_parts
from ..spec import PLAIN, Spec
from .common import Checked, followed, kernel, map_stage, planned, refusal, team
from .softmax import each, peak, sum_of


def in_range(emit, ids, columns, flag=None):
    """The id of a row; outside [0, columns) it is 0 and the flag is set."""
    chosen = emit.entry(ids, 0)
    wrong = (chosen < 0) | (chosen >= columns)
    if flag is not None:
        emit.when(wrong, lambda: emit.store_integer(flag, emit.number(1)))
    return wrong.choose(emit.number(0), chosen)


def loss_of_row(emit, columns, loss, z, ids, flag):
    """log(sum of exp(z - peak)) + peak - the chosen z, which is never below 0."""
    chosen = emit.broadcast(z + in_range(emit, ids, columns, flag) * 4)
    top = peak(emit, columns, z)
    total = sum_of(emit, columns, lambda v: emit.exp(v - top), [z])
    emit.store_one(loss, emit.log(total) - (chosen - top))


def slope_of_row(emit, columns, gz, gy, z, ids, part):
    """(softmax - one at the id) times the row's share of gy; ``part`` of it, as float32."""
    share = emit.broadcast(gy) * emit.spread_bits(part)
    top = peak(emit, columns, z)
    total = sum_of(emit, columns, lambda v: emit.exp(v - top), [z])
    each(emit, columns, lambda v: emit.exp(v - top) / total * share, gz, [z])
    at = in_range(emit, ids, columns) * 4
    chosen = emit.exp(emit.broadcast(z + at) - top) / total
    emit.store_one(gz + at, (chosen - 1.0) * share)


CROSS_ENTROPY = Rows("cross_entropy", loss_of_row, operands=4)
CROSS_ENTROPY_GRAD = Rows("cross_entropy_grad", slope_of_row, operands=4, options=1)


def total(values: Operand, size: int, result: Operand, parts: Operand, reduction: str, on: int):
    """Stages that reduce values in the workspace."""
    factor = double_bits(1 / size if reduction == "mean" else 1.0)
    return (sum_parts, (size, values, parts)), (add_parts, (parts, on, result, factor))


def classes(call, logits: Spec, ids: Spec) -> str | None:
    """Why not, if so."""
    if len(logits.shape) != 2 or ids.dtype != "int64":
        return "rows of logits and int64 ids only"
    return None


@kernel("cross_entropy")
def cross_entropy(call):
    """logits (N, K), ids (N,) -> () or (N,)."""
    logits, ids = call.ins
    if why := refusal(call, 0) or classes(call, logits, ids):
        return why
    rows, columns = logits.shape
    on, single = team(logits.size), call.geometry == "none"
    flag, parts, values = Operand(3), Operand(3, 64), Operand(3, 64 + 64 * on)
    loss = Operand(0) if single else values
    places = [(loss, 4), (Operand(1), 4 * columns), (Operand(2), 8), (flag, 0)]
    stages = [CROSS_ENTROPY.stage(rows, columns, places)]
    if not single:
        stages += total(values, rows, Operand(0), parts, call.geometry, on)
    launch = Launch(*stages, on=on)
    run = Checked(launch, "cross_entropy", flag, Operand(2), ids, columns)
    out, workspace = Spec(ids.shape if single else ()), 64 + 64 * on + 4 * rows
    return planned(run, [logits.at(PLAIN), ids.at(PLAIN)], [out], workspace=workspace)


@kernel("cross_entropy_grad")
def cross_entropy_grad(call):
    """gy, logits, ids -> (N, K)."""
    _, logits, ids = call.ins
    if why := refusal(call, 0, 1) or classes(call, logits, ids):
        return why
    rows, columns = logits.shape
    part = float_bits(1 / rows if call.geometry == "mean" else 1.0)
    step = 4 if call.geometry == "none" else 0
    places = [(Operand(0), 4 * columns), (Operand(1), step), (Operand(2), 4 * columns)]
    stage = CROSS_ENTROPY_GRAD.stage(rows, columns, [*places, (Operand(3), 8)], [part])
    ins = [s.at(PLAIN) for s in call.ins]
    return planned(Launch(stage, on=team(logits.size)), ins, [ins[1]])


def logistic(emit, z, t):
    """log(1 + exp(z)) - z t; exp never gets a positive number, nor is inf taken from inf."""
    slope = (z > 0.0).choose(1.0 - t, 0.0 - t)
    return z * slope + emit.log1p(emit.exp(0.0 - emit.absolute(z)))


LOGISTIC = Map("logistic", logistic)
LOGISTIC_GRAD = Map(
    "logistic_grad",
    lambda emit, gy, z, t, part: (emit.sigmoid(z) - t) * (gy * part),
    options=1,
)


@kernel("binary_cross_entropy_with_logits")
def logistic_loss(call):
    if why := refusal(call):
        return why
    x, target = (s.at(followed(*call.ins)) for s in call.ins)
    on, single = team(x.size), call.geometry == "none"
    parts, values = Operand(3), Operand(3, 64 * on)
    out = x.at(PLAIN) if single else Spec(())
    if single:
        x, target = x.at(PLAIN), target.at(PLAIN)
    places = Operand(0) if single else values, Operand(1), Operand(2)
    stages = [map_stage(LOGISTIC, [x], [x, target], places)]
    if not single:
        stages += total(values, x.size, Operand(0), parts, call.geometry, on)
    workspace = 0 if single else 64 * on + 4 * x.size
    return planned(Launch(*stages, on=on), [x, target], [out], workspace=workspace)


@kernel("binary_cross_entropy_with_logits_grad")
def logistic_loss_grad(call):
    if why := refusal(call):
        return why
    layout = followed(*call.ins[1:])
    x, target = (s.at(layout) for s in call.ins[1:])
    gy = call.ins[0].at(layout if call.geometry == "none" else PLAIN)
    part = 1 / x.size if call.geometry == "mean" else 1.0
    stage = map_stage(LOGISTIC_GRAD, [x], [gy, x, target], map(Operand, range(4)), [part])
    return planned(Launch(stage, on=team(x.size)), [gy, x, target], [x])
