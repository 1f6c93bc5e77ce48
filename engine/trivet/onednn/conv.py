"""Convolution in all three directions, on images whose channels lie last."""

from __future__ import annotations

from ..geometry import Convolution, Ints
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor, Operation
from ..registry import Call, Plan
from ..spec import PLAIN, Spec
from . import pixelwise
from .common import Recipe, alternatives, describe, image, kernel, layout, operation, reordered


def refusal(geometry: Convolution) -> str | None:
    if geometry.algo not in ("auto", "direct"):
        return f"oneDNN sums directly, not by {geometry.algo}"
    return "oneDNN does not turn filters round" if geometry.flip else None


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
    x: Spec, w: Spec, y: Spec, geometry: Convolution, bias: bool, *post_ops, as_it_lies=False
) -> Operation:
    """The operation, with filters in the layout that oneDNN likes best, or as they lie."""
    b = Descriptor.strided(w.shape[:1], (1,)) if bias else None
    shape = filters(w, geometry)
    return operation(
        "convolution_forward", K.FORWARD_TRAINING, K.CONVOLUTION_DIRECT, describe(x),
        describe(w, shape) if as_it_lies else Descriptor.anyhow(shape), b, describe(y),
        *slide(geometry), dnnl.attributes(*post_ops),
    )  # fmt: skip


def result(x: Spec, w: Spec, geometry: Convolution) -> Spec:
    return image(Spec((x.shape[0], w.shape[0], *geometry.window.out_size), x.dtype))


@kernel("conv")
def conv(call: Call) -> list[Plan] | str:
    """x (N, C, *size), w (O, C/groups, *kernel)[, bias (O,)] -> (N, O, *out_size)."""
    geometry, (x, w, *bias) = call.geometry, call.ins
    if why := refusal(geometry):
        return why
    lies, x, y = x, image(x), result(x, w, geometry)
    best = forward(x, w, y, geometry, bool(bias))
    plans = [_conv_plan(made, x, w, y, bias) for made in alternatives(best)]
    if pixelwise.applies(geometry):
        return pixelwise.ordered(pixelwise.forward(lies, w, bias, y), *plans)
    return plans


def _conv_plan(made, x, w, y, bias):
    wanted = made.descriptor(K.QUERY_WEIGHTS_MD)
    bias = [b.at(PLAIN) for b in bias]
    recipe = Recipe((x, w.at(layout(wanted, w.shape)), *bias), (y,))
    given = {"bias": (describe(bias[0]), recipe.of(2))} if bias else {}
    recipe.launch(
        made,
        dst=(describe(y), recipe.out(0)),
        src=(describe(x), recipe.of(0)),
        weights=(wanted, recipe.of(1)),
        **given,
    )
    return recipe.plan(made.implementation)


@kernel("conv_grad_input")
def conv_grad_input(call: Call) -> list[Plan] | str:
    """gy (N, O, *out_size), w (O, C/groups, *kernel) -> (N, C, *size)."""
    geometry, (gy, w) = call.geometry, call.ins
    if why := refusal(geometry):
        return why
    lies, gy = gy, image(gy)
    gx = image(Spec((gy.shape[0], w.shape[1] * geometry.groups, *geometry.window.size), gy.dtype))
    best = operation(
        "convolution_backward_data", K.CONVOLUTION_DIRECT, describe(gx),
        Descriptor.anyhow(filters(w, geometry)), describe(gy), *slide(geometry),
        forward(gx, w, gy, geometry, False), dnnl.attributes(),
    )  # fmt: skip
    plans = []
    for made in alternatives(best):
        wanted = made.descriptor(K.QUERY_WEIGHTS_MD)
        recipe = Recipe((gy, w.at(layout(wanted, w.shape))), (gx,))
        recipe.launch(
            made,
            diff_src=(describe(gx), recipe.out(0)),
            diff_dst=(describe(gy), recipe.of(0)),
            weights=(wanted, recipe.of(1)),
        )
        plans.append(recipe.plan(made.implementation))
    if pixelwise.applies(geometry):
        return pixelwise.ordered(pixelwise.grad_input(lies, w, gx), *plans)
    return plans


@kernel("conv_grad_weight")
def conv_grad_weight(call: Call) -> list[Plan] | str:
    """x (N, C, *size), gy (N, O, *out_size) -> (O, C/groups, *kernel), plain as parameters are."""
    geometry, (x, gy) = call.geometry, call.ins
    if why := refusal(geometry):
        return why
    lie, x, gy = (x, gy), image(x), image(gy)
    gw = Spec((gy.shape[1], x.shape[1] // geometry.groups, *geometry.window.kernel), x.dtype)
    direct = _grad_weight(describe(x), gw, describe(gy), geometry)
    plans = [_grad_weight_plan(made, x, gy, gw, geometry) for made in alternatives(direct)]
    if pixelwise.applies(geometry):
        return pixelwise.ordered(pixelwise.grad_weight(*lie, gw), *plans)
    free = Descriptor.anyhow(x.shape), Descriptor.anyhow(gy.shape)
    blocked = _grad_weight(free[0], gw, free[1], geometry)
    if blocked.descriptor(K.QUERY_SRC_MD).steps is None:
        plans.append(_grad_weight_plan(blocked, x, gy, gw, geometry, " blocked"))
    return plans


def _grad_weight(x: Descriptor, gw: Spec, gy: Descriptor, geometry) -> Operation:
    w, attributes = Descriptor.anyhow(filters(gw, geometry)), dnnl.attributes()
    moves = slide(geometry)
    hint = operation(
        "convolution_forward", K.FORWARD_TRAINING, K.CONVOLUTION_DIRECT, x, w, None, gy, *moves,
        attributes,
    )  # fmt: skip
    return operation(
        "convolution_backward_weights", K.CONVOLUTION_DIRECT, x, w, None, gy, *moves, hint,
        attributes,
    )  # fmt: skip


def _grad_weight_plan(made, x, gy, gw, geometry, suffix=""):
    """Operands and result go through the workspace where oneDNN wants them in blocks."""
    recipe = Recipe((x, gy), (gw,))
    operands = {}
    for k, (name, query) in enumerate([("src", K.QUERY_SRC_MD), ("diff_dst", K.QUERY_DIFF_DST_MD)]):
        wanted, place = made.descriptor(query), recipe.of(k)
        if wanted.steps is None:
            place = recipe.memory(wanted.nbytes)
            reordered(recipe, (describe(recipe.ins[k]), recipe.of(k)), (wanted, place))
        operands[name] = wanted, place
    wanted = made.descriptor(K.QUERY_DIFF_WEIGHTS_MD)
    direct = layout(wanted, gw.shape) == PLAIN
    place = recipe.out(0) if direct else recipe.memory(wanted.nbytes)
    recipe.launch(made, diff_weights=(wanted, place), **operands)
    if not direct:
        plain = describe(gw, filters(gw, geometry))
        reordered(recipe, (wanted, place), (plain, recipe.out(0)))
    return recipe.plan(made.implementation + suffix)
