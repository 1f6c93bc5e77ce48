"""Normalisation. Channels are columns: images lie channels last, slices of them as they are.

Sums are taken in float64, where the difference of the mean square and the squared mean is exact
enough: for a variance that float32 can tell from 0, nothing cancels that matters.
"""

from __future__ import annotations

import math

from ..simd import Launch, Operand, double_bits
from ..simd.maps import Map
from ..simd.sums import ColumnSums, padded
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import is_image, kernel, map_stage, planned, refusal, team, update_plan


def statistics(emit, total, squares, part, eps):
    """Mean and 1 / standard deviation of columns; options: 1 / rows, eps."""
    mean = total * part
    variance = emit.maximum(squares * part - mean * mean, 0.0)
    return mean.narrowed(), (1.0 / emit.sqrt(variance + eps)).narrowed()


def gradient_sums(emit, total, along, inv, part):
    """gbias, gweight; mean of gy, and what of x's deviation is taken off; option: 1 / rows."""
    inv = inv.widened()
    shares = total * part, along * part * inv * inv
    return total.narrowed(), (along * inv).narrowed(), *(s.narrowed() for s in shares)


def squares(emit, x):
    x = x.widened()
    return x, x * x


def along(emit, gy, x, mean):
    """gy, and gy along the deviation of x."""
    gy = gy.widened()
    return gy, gy * (x.widened() - mean.widened())


def normalised(emit, x, mean, inv, weight, bias):
    return (x - mean) * (inv * weight) + bias


STATISTICS = ColumnSums("batch_norm", squares, statistics, sums=2, results=2, options=2)
GRADIENT = ColumnSums(
    "batch_norm_grad", along, gradient_sums, kinds="mmc", sums=2, results=4, columns=1, options=1
)
NORMALISED = Map("normalised", normalised)
INPUT_GRADIENT = Map(
    "batch_norm_input_gradient",
    lambda emit, gy, x, weight, mean, inv, less, slope: (
        (gy - less - (x - mean) * slope) * (inv * weight)
    ),
)
SLOPE = Map("batch_norm_slope", lambda emit, w, var, eps: w / emit.sqrt(var + eps), options=1)
AFFINE = Map("batch_norm_inference", lambda emit, x, m, slope, b: (x - m) * slope + b)
AFFINE_RELU = Map(
    "batch_norm_inference_relu",
    lambda emit, x, m, slope, b: emit.maximum((x - m) * slope + b, 0.0),
)


def by_channel(shape: tuple[int, ...]) -> Spec:
    """How one number per channel is broadcast to images."""
    return Spec((shape[1], *(1,) * (len(shape) - 2)))


def in_rows(x: Spec) -> Spec:
    """As it lies if its channels lie side by side, else in the layout where they do."""
    return x if x.pixels else x.at(CHANNELS_LAST if is_image(x) else PLAIN)


@kernel("batch_norm")
def batch_norm(call):
    """x, weight, bias -> y, mean, inv_std."""
    if why := refusal(call):
        return why
    x = in_rows(call.ins[0])
    rows, step = x.pixels
    channels, on = x.shape[1], team(x.size)
    y, each = x.at(CHANNELS_LAST if is_image(x) else PLAIN), Spec((channels,))
    at_y, mean, inv, at_x, weight, bias, parts = map(Operand, range(7))
    options = double_bits(1 / rows), double_bits(call.geometry[3])
    stages = STATISTICS.stages(rows, channels, [(at_x, step)], parts, [mean, inv], [], options, on)
    c = by_channel(x.shape)
    places = at_y, at_x, mean, inv, weight, bias
    stage = map_stage(NORMALISED, [y], [x, c, c, c, c], places)
    if isinstance(stage, str):
        return stage
    run = Launch(*stages, stage, on=on)
    ins = x, each, each
    return planned(run, ins, [y, each, each], workspace=STATISTICS.workspace(channels, on))


@kernel("batch_norm_grad")
def batch_norm_grad(call):
    """gy, x, weight, mean, inv_std -> gx, gweight, gbias."""
    if why := refusal(call):
        return why
    gy, x = map(in_rows, call.ins[:2])
    (rows, x_step), (_, gy_step) = x.pixels, gy.pixels
    channels, on = x.shape[1], team(x.size)
    gx, each = x.at(CHANNELS_LAST if is_image(x) else PLAIN), Spec((channels,))
    at_gx, gweight, gbias, at_gy, at_x, weight, mean, inv = map(Operand, range(8))
    sums = GRADIENT.workspace(channels, on)
    parts, less = Operand(8), Operand(8, sums)
    slope = Operand(8, sums + 4 * padded(channels))
    operands = [(at_gy, gy_step), (at_x, x_step), (mean, 0)]
    results = [gbias, gweight, less, slope]
    stages = GRADIENT.stages(
        rows, channels, operands, parts, results, [inv], [double_bits(1 / rows)], on
    )
    places = at_gx, at_gy, at_x, weight, mean, inv, less, slope
    stage = map_stage(INPUT_GRADIENT, [gx], [gy, x, *[by_channel(x.shape)] * 5], places)
    if isinstance(stage, str):
        return stage
    run = Launch(*stages, stage, on=on)
    ins, workspace = (gy, x, each, each, each), sums + 8 * padded(channels)
    over = [(0, i) for i in (0, 1) if ins[i] == gx]
    return planned(run, ins, [gx, each, each], workspace=workspace, over=over)


def inference(call, made: Map, eps: float):
    """x, weight, bias, mean, var -> y."""
    if why := refusal(call):
        return why
    x = in_rows(call.ins[0])
    y, each = x.at(CHANNELS_LAST if is_image(x) else PLAIN), Spec(x.shape[1:2])
    at_y, at_x, weight, bias, mean, var, slope = map(Operand, range(7))
    first = map_stage(SLOPE, [each], [each, each], (slope, weight, var), [eps])
    places = at_y, at_x, mean, slope, bias
    second = map_stage(made, [y], [x, *[by_channel(x.shape)] * 3], places)
    if isinstance(second, str):
        return second
    run = Launch(first, second, on=team(x.size))
    over = [(0, 0)] if x == y else []
    return planned(run, (x, *[each] * 4), [y], workspace=4 * padded(x.shape[1]), over=over)


@kernel("batch_norm_inference")
def batch_norm_inference(call):
    return inference(call, AFFINE, call.geometry[3])


@kernel("batch_norm_inference+relu")
def batch_norm_inference_relu(call):
    return inference(call, AFFINE_RELU, call.geometry[0][3])


def running(emit, mean, var, batch, inv, left, momentum, correction, eps):
    """The variance comes back out of inv_std; ``correction`` makes it the unbiased one."""
    deviation = 1.0 / inv
    unbiased = emit.maximum(deviation * deviation - eps, 0.0) * correction
    return mean * left + batch * momentum, var * left + unbiased * momentum


RUNNING = Map("batch_norm_update", running, results=2, options=4)


@kernel("batch_norm_update")
def batch_norm_update(call):
    count, momentum, eps = call.geometry
    options = 1 - momentum, momentum, count / (count - 1), eps
    return update_plan(call, RUNNING, (0, 1), (0, 1, 2, 3), options)
