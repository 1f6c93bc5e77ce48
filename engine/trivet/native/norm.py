"""Normalisation. Channels are columns: images lie channels last, slices of them as they are.

Statistics are summed in float64, where the difference of the mean square and the squared mean is
exact enough: for a variance that float32 can tell from 0, nothing cancels that matters. A gradient
sums deviations from the mean, of which nothing cancels: a few of them in float32, then in float64.
"""

from __future__ import annotations

from ..simd import DOUBLES, Launch, Operand, double_bits
from ..simd.maps import Map
from ..simd.rows import Rows
from ..simd.sums import ColumnSums, padded
from ..spec import PLAIN, Spec
from .common import image, kernel, map_stage, planned, refusal, team, update_plan
from .softmax import each


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
    return gy, gy * (x - mean)


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
    return x if x.pixels else image(x)


@kernel("batch_norm")
def batch_norm(call):
    return forward(call, NORMALISED, call.geometry[3])


def forward(call, made: Map, eps: float):
    """x, weight, bias -> what the map makes of the normalised x, mean, inv_std."""
    if why := refusal(call):
        return why
    x = in_rows(call.ins[0])
    rows, step = x.pixels
    channels, on = x.shape[1], team(x.size)
    y, per_channel = image(x), Spec((channels,))
    at_y, mean, inv, at_x, weight, bias, parts = map(Operand, range(7))
    options = double_bits(1 / rows), double_bits(eps)
    stages = STATISTICS.stages(rows, channels, [(at_x, step)], parts, [mean, inv], [], options, on)
    c = by_channel(x.shape)
    places = at_y, at_x, mean, inv, weight, bias
    stage = map_stage(made, [y], [x, c, c, c, c], places)
    if isinstance(stage, str):
        return stage
    run = Launch(*stages, stage, on=on)
    ins = x, per_channel, per_channel
    more = {"workspace": STATISTICS.workspace(channels, on), "contested": False}
    return planned(run, ins, [y, per_channel, per_channel], **more)


@kernel("batch_norm_grad")
def batch_norm_grad(call):
    """gy, x, weight, mean, inv_std -> gx, gweight, gbias."""
    if why := refusal(call):
        return why
    gy, x = map(in_rows, call.ins[:2])
    (rows, x_step), (_, gy_step) = x.pixels, gy.pixels
    channels, on = x.shape[1], team(x.size)
    gx, per_channel = image(x), Spec((channels,))
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
    ins, workspace = (gy, x, per_channel, per_channel, per_channel), sums + 8 * padded(channels)
    over = [(0, i) for i in (0, 1) if ins[i] == gx]
    return planned(
        run, ins, [gx, per_channel, per_channel], workspace=workspace, over=over, contested=False
    )


def inference(call, made: Map, eps: float):
    """x, weight, bias, mean, var -> y."""
    if why := refusal(call):
        return why
    x = in_rows(call.ins[0])
    y, per_channel = image(x), Spec(x.shape[1:2])
    at_y, at_x, weight, bias, mean, var, slope = map(Operand, range(7))
    first = map_stage(SLOPE, [per_channel], [per_channel, per_channel], (slope, weight, var), [eps])
    places = at_y, at_x, mean, slope, bias
    second = map_stage(made, [y], [x, *[by_channel(x.shape)] * 3], places)
    if isinstance(second, str):
        return second
    run = Launch(first, second, on=team(x.size))
    over = [(0, 0)] if x == y else []
    return planned(run, (x, *[per_channel] * 4), [y], workspace=4 * padded(x.shape[1]), over=over)


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


def over_row(emit, columns, terms, operands):
    """Sums of terms(*vectors), vectors in float64, over a row; each in every lane."""

    def body(at, *sums, mask):
        vectors = terms(*(emit.load(place + at, mask) for place in operands))
        held = (v if mask is None else mask.choose(v, 0.0) for v in vectors)
        return [s + v.widened() for s, v in zip(sums, held)]

    count = len(terms(*(emit.constant(0.0) for _ in operands)))
    return [*map(emit.total, emit.sweep(columns, [emit.zeros(DOUBLES)] * count, body))]


def layer_norm_row(emit, columns, y, mean, inv_std, x, weight, bias, part, eps):
    """Two passes for the statistics: the row is in the cache; options: 1 / columns, eps."""
    part, eps = emit.spread_double(part), emit.spread_double(eps)
    (total,) = over_row(emit, columns, lambda v: [v], [x])
    m = (total * part).narrowed()
    (squares,) = over_row(emit, columns, lambda v: [(v - m) * (v - m)], [x])
    inv = (1.0 / emit.sqrt(squares * part + eps)).narrowed()
    emit.store_one(mean, m)
    emit.store_one(inv_std, inv)
    each(emit, columns, lambda v, w, b: (v - m) * inv * w + b, y, [x, weight, bias])


def layer_norm_grad_row(emit, columns, gx, gy, x, weight, mean, inv_std, part):
    part, m, inv = emit.spread_double(part), emit.broadcast(mean), emit.broadcast(inv_std)

    def terms(g, v, w):
        return [g * w, g * w * ((v - m) * inv)]

    sums = over_row(emit, columns, terms, [gy, x, weight])
    a, b = ((s * part).narrowed() for s in sums)
    each(emit, columns, lambda g, v, w: (g * w - a - (v - m) * inv * b) * inv, gx, [gy, x, weight])


def along_rows(emit, gy, x, mean, inv):
    wide = gy.widened()
    return wide, (gy * ((x - mean) * inv)).widened()


LAYER_NORM = Rows("layer_norm", layer_norm_row, operands=6, options=2)
LAYER_NORM_GRAD = Rows("layer_norm_grad", layer_norm_grad_row, operands=6, options=1)
AFFINE_SUMS = ColumnSums(
    "layer_norm_affine_grad",
    along_rows,
    lambda emit, total, along: (along.narrowed(), total.narrowed()),
    kinds="mmrr",
    sums=2,
    results=2,
)


@kernel("layer_norm")
def layer_norm(call):
    """x, weight, bias -> y, mean, inv_std."""
    if why := refusal(call):
        return why
    (rows, columns), _, _, eps = call.geometry
    ins = [s.at(PLAIN) for s in call.ins]
    wide, one, same = 4 * columns, 4, 0
    places = [*zip(map(Operand, range(6)), (wide, one, one, wide, same, same))]
    options = double_bits(1 / columns), double_bits(eps)
    stage = LAYER_NORM.stage(rows, columns, places, options)
    each_row = Spec((rows,))
    return planned(Launch(stage, on=team(ins[0].size)), ins, [ins[0], each_row, each_row])


@kernel("layer_norm_grad")
def layer_norm_grad(call):
    """gy, x, weight, mean, inv_std -> gx, gweight, gbias."""
    if why := refusal(call):
        return why
    (rows, columns), *_ = call.geometry
    ins = [s.at(PLAIN) for s in call.ins]
    gx, gweight, gbias, gy, x, weight, mean, inv = map(Operand, range(8))
    wide, on = 4 * columns, team(ins[0].size)
    operands = [(gx, wide), (gy, wide), (x, wide), (weight, 0), (mean, 4), (inv, 4)]
    stage = LAYER_NORM_GRAD.stage(rows, columns, operands, [double_bits(1 / columns)])
    summed = [(gy, columns), (x, columns), (mean, 1), (inv, 1)]
    stages = AFFINE_SUMS.stages(rows, columns, summed, Operand(8), [gweight, gbias], [], [], on)
    outs, workspace = [ins[1], ins[2], ins[2]], AFFINE_SUMS.workspace(columns, on)
    return planned(Launch(stage, *stages, on=on), ins, outs, workspace=workspace)
