"""Values moved from one layout to another, and joined along an axis."""

from __future__ import annotations

import ctypes

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Opaque, Recipe, describe, image, kernel, operation


@kernel("reorder")
def reorder(call: Call) -> Plan | str:
    """geometry = the layout wanted."""
    (x,), y = call.ins, call.ins[0].at(call.geometry)
    own = [s for s in (x, y) if isinstance(s.layout, Opaque)]
    shape = describe(own[0]).shape if own else x.shape  # filters of groups have an axis more
    source, target = describe(x, shape), describe(y, shape)
    if source.shape != target.shape:
        return "filters of groups, by way of plain only"
    made = operation("reorder", source, target, dnnl.attributes())
    recipe = Recipe((x,), (y,))
    recipe.launch(made, **{"from": (source, recipe.of(0)), "to": (target, recipe.out(0))})
    return recipe.plan(made.implementation)


@kernel("concat")
def concat(call: Call) -> Plan | str:
    """geometry = the axis."""
    first, axis = call.ins[0], call.geometry
    shape = list(first.shape)
    shape[axis] = sum(s.shape[axis] for s in call.ins)
    last = any(s.layout == CHANNELS_LAST for s in call.ins)
    ins = tuple(image(s) if last else s.at(PLAIN) for s in call.ins)
    y = Spec(tuple(shape), first.dtype, CHANNELS_LAST if last else PLAIN)
    parts, target = [describe(s) for s in ins], describe(y)
    table = (ctypes.c_void_p * len(parts))(*(p._as_parameter_.value for p in parts))
    made = operation("concat", target, len(parts), axis, table, dnnl.attributes())
    recipe = Recipe(ins, (y,))
    operands = {K.ARG_DST: (target, recipe.out(0))}
    for k, part in enumerate(parts):
        operands[K.ARG_MULTIPLE_SRC + k] = part, recipe.of(k)
    recipe.launch_numbered(made, operands)
    return recipe.plan(made.implementation)
