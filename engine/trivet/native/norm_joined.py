"""Batch normalisation with what stands before or behind it in a network, in one pass less each.

Forward: the rectifier behind it, and statistics that a layer before it took of the same channels.
Backward: the rectifier's gradient before it, and behind it the sum with the gradient that came
another way (a dense block's, a residual's).
"""

from __future__ import annotations

from ..simd import Launch, Operand, double_bits
from ..simd.maps import Map
from ..simd.sums import ColumnSums, padded
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import is_image, kernel, map_stage, planned, refusal, team
from .norm import (
    GRADIENT,
    NORMALISED,
    STATISTICS,
    along,
    by_channel,
    forward,
    gradient_sums,
    in_rows,
    normalised,
)

NORMALISED_RELU = Map(
    "normalised_relu", lambda emit, *operands: emit.maximum(normalised(emit, *operands), 0.0)
)


@kernel("batch_norm+relu")
def batch_norm_relu(call):
    """x, weight, bias -> max(y, 0), mean, inv_std."""
    return forward(call, NORMALISED_RELU, call.geometry[0][3])


COPY = Map("statistics_known", lambda emit, known: known)


def onward(call, made: Map, eps: float):
    """x, weight, bias, mean, inv_std of its first channels -> y, mean, inv_std of all.

    In a dense block a layer reads the channels that the last one read, and some more: only those
    are summed anew.
    """
    if why := refusal(call):
        return why
    x = in_rows(call.ins[0])
    (rows, step), channels, known = x.pixels, x.shape[1], call.ins[3].shape[0]
    fresh, on = channels - known, team(x.size)
    y, each = x.at(CHANNELS_LAST if is_image(x) else PLAIN), Spec((channels,))
    at_y, mean, inv, at_x, weight, bias, old_mean, old_inv, parts = map(Operand, range(9))
    behind = [Operand(at, 4 * known) for at in (at_x, mean, inv)]
    options = double_bits(1 / rows), double_bits(eps)
    sums = STATISTICS.stages(rows, fresh, [(behind[0], step)], parts, behind[1:], [], options, on)
    few, c = Spec((known,)), by_channel(x.shape)
    copies = [map_stage(COPY, [few], [few], pair) for pair in ((mean, old_mean), (inv, old_inv))]
    stage = map_stage(made, [y], [x, c, c, c, c], (at_y, at_x, mean, inv, weight, bias))
    if isinstance(stage, str):
        return stage
    run = Launch(*copies, *sums, stage, on=on)
    more = {"workspace": STATISTICS.workspace(fresh, on), "contested": False}
    return planned(run, (x, each, each, few, few), [y, each, each], **more)


@kernel("batch_norm_onward")
def batch_norm_onward(call):
    return onward(call, NORMALISED, call.geometry[3])


@kernel("batch_norm_onward+relu")
def batch_norm_onward_relu(call):
    return onward(call, NORMALISED_RELU, call.geometry[0][3])


def rectified(emit, gy, y):
    """What of gy went through the rectifier; NaN of y lets it through, as in relu_grad."""
    return (y <= 0.0).choose(emit.zeros(), gy)


def pulled(emit, gy, x, weight, mean, inv, less, slope):
    return (gy - less - (x - mean) * slope) * (inv * weight)


def along_kept(emit, gy, y, x, mean):
    return along(emit, rectified(emit, gy, y), x, mean)


def along_again(emit, gy, x, mean, inv, weight, bias):
    return along(emit, rectified_again(emit, gy, x, mean, inv, weight, bias), x, mean)


def rectified_again(emit, gy, x, *known):
    return rectified(emit, gy, normalised(emit, x, *known))


# By what tells where the rectifier was closed: nothing (there is none), its result, or the bias,
# with which that result is computed again: cheaper than reading it.
SUMS = {
    None: GRADIENT,
    **{
        by: ColumnSums(
            f"relu_grad_batch_norm_grad_by_{by}",
            terms,
            gradient_sums,
            kinds=kinds,
            sums=2,
            results=4,
            columns=1,
            options=1,
        )
        for by, terms, kinds in [("y", along_kept, "mmmc"), ("bias", along_again, "mmcccc")]
    },
}


def _pulled_kept(emit, gy, y, *rest):
    return pulled(emit, rectified(emit, gy, y), *rest)


def _pulled_again(emit, gy, x, weight, mean, inv, less, slope, bias):
    gy = rectified_again(emit, gy, x, mean, inv, weight, bias)
    return pulled(emit, gy, x, weight, mean, inv, less, slope)


PULLED = {None: pulled, "y": _pulled_kept, "bias": _pulled_again}
MAPS = {by: Map(f"batch_norm_grad_by_{by}", function) for by, function in PULLED.items()}
ADDING = {
    by: Map(
        f"batch_norm_grad_add_by_{by}",
        lambda emit, other, *rest, function=function: function(emit, *rest) + other,
    )
    for by, function in PULLED.items()
}


def backward(call, *, by: str | None, addend: bool):
    """gy[, y], x, weight, mean, inv_std[, bias][, other] -> gx, gweight, gbias.

    gx may come to lie over the addend, also where that is a slice of the channels.
    """
    if why := refusal(call):
        return why
    gy, *more = call.ins
    y = [in_rows(more.pop(0))] if by == "y" else []
    other = [in_rows(more.pop())] if addend else []
    gy, x = in_rows(gy), in_rows(more[0])
    images, shape = [gy, *y, x], x.shape
    if any(s.shape != shape for s in other):
        return "an addend that is broadcast"
    channels, on, each = shape[1], team(x.size), Spec((shape[1],))
    ins = *images, *[each] * len(more[1:]), *other
    at = [Operand(3 + k) for k in range(len(ins))]
    n = len(images)
    weight, mean, inv, *bias = at[n : n + len(more[1:])]
    sums = SUMS[by]
    size = sums.workspace(channels, on)
    scratch = 3 + len(ins)
    less, slope = Operand(scratch, size), Operand(scratch, size + 4 * padded(channels))
    rows = [(place, spec.pixels[1]) for place, spec in zip(at, images)]
    columns = [mean, inv, weight, *bias] if bias else [mean]
    stages = sums.stages(
        x.pixels[0],
        channels,
        [*rows, *((place, 0) for place in columns)],
        Operand(scratch),
        [Operand(2), Operand(1), less, slope],
        [inv],
        [double_bits(1 / x.pixels[0])],
        on,
    )
    dense = x.at(CHANNELS_LAST if is_image(x) else PLAIN)
    made, more_ins = (ADDING, at[-1:]) if addend else (MAPS, [])
    places = Operand(0), *more_ins, *at[:n], weight, mean, inv, less, slope, *bias
    each_column = [by_channel(shape)] * (5 + len(bias))
    plans = []
    for gx in dict.fromkeys([dense, *other]):
        stage = map_stage(made[by], [gx], [*other, *images, *each_column], places)
        if isinstance(stage, str):  # one channel of several: not to be written as it lies
            continue
        over = [(0, i) for i, s in enumerate(ins) if s == gx]
        more = {"workspace": size + 8 * padded(channels), "over": over}
        plans.append(planned(Launch(*stages, stage, on=on), ins, [gx, each, each], **more))
    return plans or stage


@kernel("relu_grad+batch_norm_grad")
def relu_grad_batch_norm_grad(call):
    return backward(call, by="y", addend=False) if call.geometry[2] == 0 else "not gy"


@kernel("batch_norm_grad+add")
def batch_norm_grad_add(call):
    return backward(call, by=None, addend=True)


@kernel("relu_grad+batch_norm_grad+add")
def relu_grad_batch_norm_grad_add(call):
    return backward(call, by="y", addend=True)


@kernel("batch_norm_relu_grad")
def batch_norm_relu_grad(call):
    return backward(call, by="bias", addend=False)


@kernel("batch_norm_relu_grad+add")
def batch_norm_relu_grad_add(call):
    return backward(call, by="bias", addend=True)
