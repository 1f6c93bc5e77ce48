"""Convolution in all three directions, on images whose channels lie last."""

from __future__ import annotations

from ..geometry import Convolution, Ints, Window
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor, Operation
from ..registry import Call, Plan
from ..spec import PLAIN, Spec
from . import pixelwise
from .common import (
    DTYPES,
    Recipe,
    alternatives,
    describe,
    factors,
    image,
    kernel,
    layout,
    multiplying_bfloat16,
    operation,
    reordered,
    taken,
)  # fmt: skip


def refusal(geometry: Convolution, inputs: int, rounds: bool) -> str | None:
    """Why not; ``inputs``: channels of a group."""
    if geometry.algo not in ("auto", "direct"):
        return f"oneDNN sums directly, not by {geometry.algo}"
    if geometry.flip:
        return "oneDNN does not turn filters round"
    if rounds and geometry.groups > 1 and inputs == 1:
        return "depthwise: rounding takes longer than the products"
    if rounds and not all(map(_meets_pixels, *_axes(geometry.window))):
        return "some windows, or some of the filters' cells, meet nothing but padding"
    return None


def _axes(window: Window):
    return (
        window.size, window.out_size, window.kernel, window.stride, window.dilation, window.padding
    )  # fmt: skip


def _meets_pixels(size, out_size, kernel, stride, dilation, padding) -> bool:
    """Whether along an axis each window and each cell does; oneDNN 3.2 crashes on some else."""
    reach = (kernel - 1) * dilation
    return reach < size and max(padding) <= reach and all(
        any(0 <= i * stride + cell * dilation - padding[0] < size for i in range(out_size))
        for cell in range(kernel)
    )  # fmt: skip


def filters(w: Spec, geometry: Convolution) -> Ints:
    """The shape of the filters as oneDNN has it: groups are an axis of their own."""
    o, c, *kernel_size = w.shape
    g = geometry.groups
    return (g, o // g, c, *kernel_size) if g > 1 else w.shape


def slide(geometry: Convolution) -> tuple:
    """Strides, dilations, and padding before and after; oneDNN counts the pixels left out."""
    window = geometry.window
    numbers = (
        window.stride,
        [d - 1 for d in window.dilation],
        [before for before, _ in window.padding],
        [after for _, after in window.padding],
    )
    return tuple(dnnl.dims(n) for n in numbers)


def forward(
    x: Spec, w: Spec, y: Spec, geometry: Convolution, bias: bool, *post_ops, as_it_lies=False,
    rounds=False,
) -> Operation:  # fmt: skip
    """The operation, with filters in the layout that oneDNN likes best, or as they lie."""
    b = Descriptor.strided(w.shape[:1], (1,)) if bias else None
    shape, (x, w) = filters(w, geometry), factors(rounds, image(x), w)
    made = operation(
        "convolution_forward", K.FORWARD_TRAINING, K.CONVOLUTION_DIRECT, describe(x),
        describe(w, shape) if as_it_lies else Descriptor.anyhow(shape, DTYPES[w.dtype]), b,
        describe(y), *slide(geometry), dnnl.attributes(*post_ops),
    )  # fmt: skip
    return multiplying_bfloat16(made) if rounds else made


def arriving(made: Operation, x: Spec, w: Spec, rounds: bool) -> tuple[Spec, Spec]:
    """Image and filters as a plan wants them: what it rounds, it takes as it lies."""
    if rounds:
        return pixelwise.lying(x), w.at(PLAIN)
    return image(x), w.at(layout(made.descriptor(K.QUERY_WEIGHTS_MD), w.shape))


def multiplied(recipe: Recipe, made: Operation, geometry: Convolution, rounds: bool) -> list:
    """Where the operation finds image and filters, the recipe's first two operands."""
    x, w = recipe.ins[:2]
    lie = describe(x), describe(w, filters(w, geometry))
    forwards = made.name == "convolution_forward"
    queries = K.QUERY_SRC_MD if forwards else K.QUERY_DIFF_DST_MD, K.QUERY_WEIGHTS_MD
    wanted = map(made.descriptor, queries)
    return [taken(recipe, k, *both, rounds) for k, both in enumerate(zip(lie, wanted))]


def result(x: Spec, w: Spec, geometry: Convolution) -> Spec:
    return image(Spec((x.shape[0], w.shape[0], *geometry.window.out_size), x.dtype))


@kernel("conv", rounds=True)
def conv(call: Call, rounds: bool) -> list[Plan] | str:
    """x (N, C, *size), w (O, C/groups, *kernel)[, bias (O,)] -> (N, O, *out_size)."""
    geometry, (x, w, *bias) = call.geometry, call.ins
    if why := refusal(geometry, w.shape[1], rounds):
        return why
    y, bias = result(x, w, geometry), [b.at(PLAIN) for b in bias]
    best = forward(x, w, y, geometry, bool(bias), rounds=rounds)
    plans = []
    for made in alternatives(best):
        recipe = Recipe((*arriving(made, x, w, rounds), *bias), (y,))
        given = {"bias": (describe(bias[0]), recipe.of(2))} if bias else {}
        src, weights = multiplied(recipe, made, geometry, rounds)
        recipe.launch(made, dst=(describe(y), recipe.out(0)), src=src, weights=weights, **given)
        plans.append(recipe.plan(made.implementation))
    if pixelwise.applies(geometry) and not rounds:
        return pixelwise.ordered(pixelwise.forward(x, w, bias, y), *plans)
    return plans


@kernel("conv_grad_input", rounds=True)
def conv_grad_input(call: Call, rounds: bool) -> list[Plan] | str:
    """gy (N, O, *out_size), w (O, C/groups, *kernel) -> (N, C, *size)."""
    geometry, (gy, w) = call.geometry, call.ins
    if why := refusal(geometry, w.shape[1], rounds):
        return why
    gx = image(Spec((gy.shape[0], w.shape[1] * geometry.groups, *geometry.window.size), gy.dtype))
    given, filter_ = factors(rounds, image(gy), w)
    best = operation(
        "convolution_backward_data", K.CONVOLUTION_DIRECT, describe(gx),
        Descriptor.anyhow(filters(w, geometry), DTYPES[filter_.dtype]), describe(given),
        *slide(geometry), forward(gx, w, image(gy), geometry, False, rounds=rounds),
        dnnl.attributes(),
    )  # fmt: skip
    plans = []
    for made in alternatives(multiplying_bfloat16(best) if rounds else best):
        recipe = Recipe(arriving(made, gy, w, rounds), (gx,))
        diff_dst, weights = multiplied(recipe, made, geometry, rounds)
        gradient = describe(gx), recipe.out(0)
        recipe.launch(made, diff_src=gradient, diff_dst=diff_dst, weights=weights)
        plans.append(recipe.plan(made.implementation))
    if pixelwise.applies(geometry) and not rounds:
        return pixelwise.ordered(pixelwise.grad_input(gy, w, gx), *plans)
    return plans


@kernel("conv_grad_weight", rounds=True)
def conv_grad_weight(call: Call, rounds: bool) -> list[Plan] | str:
    """x (N, C, *size), gy (N, O, *out_size) -> (O, C/groups, *kernel)[, a bias' gradient (O,)].

    Both are plain, as parameters are.
    """
    geometry, (x, gy) = call.geometry, call.ins
    if why := refusal(geometry, x.shape[1] // geometry.groups, rounds):
        return why
    lie = x, gy
    x, gy = map(pixelwise.lying if rounds else image, lie)
    gw = Spec((gy.shape[1], x.shape[1] // geometry.groups, *geometry.window.kernel), x.dtype)
    outs = gw, *[Spec(gw.shape[:1], x.dtype)] * geometry.bias
    given = factors(rounds, image(x), image(gy))
    direct = _grad_weight(*map(describe, given), gw, geometry, rounds)
    made = alternatives(direct)
    plans = [_grad_weight_plan(each, (x, gy), outs, geometry, rounds) for each in made]
    if rounds:
        return plans
    if pixelwise.applies(geometry):
        return pixelwise.ordered(pixelwise.grad_weight(*lie, *outs), *plans)
    blocked = _grad_weight(*(Descriptor.anyhow(s.shape) for s in given), gw, geometry)
    if blocked.descriptor(K.QUERY_SRC_MD).steps is None:
        plans.append(_grad_weight_plan(blocked, (x, gy), outs, geometry, suffix=" blocked"))
    return plans


def _grad_weight(x: Descriptor, gy: Descriptor, gw: Spec, geometry, rounds=False) -> Operation:
    shape, attributes, moves = filters(gw, geometry), dnnl.attributes(), slide(geometry)
    w = Descriptor.anyhow(shape, K.BF16 if rounds else K.F32)
    b = Descriptor.strided(gw.shape[:1], (1,)) if geometry.bias and rounds else None
    hint = operation(
        "convolution_forward", K.FORWARD_TRAINING, K.CONVOLUTION_DIRECT, x, w, b, gy, *moves,
        attributes,
    )  # fmt: skip
    made = operation(
        "convolution_backward_weights", K.CONVOLUTION_DIRECT, x, Descriptor.anyhow(shape), b,
        gy, *moves, hint, attributes,
    )  # fmt: skip
    return multiplying_bfloat16(made) if rounds else made


def _grad_weight_plan(made, ins, outs, geometry, rounds=False, suffix=""):
    """Operands and filters go through the workspace where oneDNN wants them in blocks.

    A bias' gradient is a sum of its own in float32, where the primitive takes longer for it.
    """
    recipe, (gw, *gb) = Recipe(ins, outs), outs
    operands = {}
    for k, (name, query) in enumerate([("src", K.QUERY_SRC_MD), ("diff_dst", K.QUERY_DIFF_DST_MD)]):
        wanted, place = made.descriptor(query), recipe.of(k)
        if rounds or wanted.steps is None:
            place = recipe.memory(wanted.nbytes)
            reordered(recipe, (describe(recipe.ins[k]), recipe.of(k)), (wanted, place))
        operands[name] = wanted, place
    if gb and rounds:
        operands["diff_bias"] = describe(gb[0]), recipe.out(1)
    elif gb:
        pixelwise.grad_bias(recipe)
    wanted = made.descriptor(K.QUERY_DIFF_WEIGHTS_MD)
    direct = layout(wanted, gw.shape) == PLAIN
    place = recipe.out(0) if direct else recipe.memory(wanted.nbytes)
    recipe.launch(made, diff_weights=(wanted, place), **operands)
    if not direct:
        plain = describe(gw, filters(gw, geometry))
        reordered(recipe, (wanted, place), (plain, recipe.out(0)))
    return recipe.plan(made.implementation + suffix)
