"""Resampling of images whose channels lie last."""

from __future__ import annotations

from ..geometry import Resampling
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..registry import Call, Plan
from .common import Recipe, Refused, describe, image, kernel, operation
from .pool import sized


def _algorithm(geometry: Resampling) -> int:
    """oneDNN's, where it means the same pixels.

    Raises:
        Refused: Other pixels, or NaN where one that does not count is inf.
    """
    sizes = list(zip(geometry.size, geometry.out_size))
    if geometry.align_corners:
        raise Refused("oneDNN's corners are not aligned")
    if any(out % n for n, out in sizes):
        raise Refused("oneDNN means other pixels unless the size grows n-fold")
    if geometry.mode == "nearest":
        return K.RESAMPLING_NEAREST
    if any(out // n % 2 for n, out in sizes):  # here a pixel of y lies on one of x
        raise Refused("oneDNN multiplies pixels that do not count by 0: inf * 0 is NaN")
    return K.RESAMPLING_LINEAR


def _forward(algorithm, x, y):
    return operation(
        "resampling_forward", K.FORWARD_TRAINING, algorithm, None, describe(x), describe(y),
        dnnl.attributes(),
    )  # fmt: skip


@kernel("resample")
def resample(call: Call) -> Plan | str:
    """geometry = Resampling."""
    x, y = image(call.ins[0]), sized(call.ins[0], call.geometry.out_size)
    made, recipe = _forward(_algorithm(call.geometry), x, y), Recipe((x,), (y,))
    recipe.launch(made, dst=(describe(y), recipe.out(0)), src=(describe(x), recipe.of(0)))
    return recipe.plan(made.implementation)


@kernel("resample_grad")
def resample_grad(call: Call) -> Plan | str:
    """geometry = Resampling."""
    algorithm = _algorithm(call.geometry)
    gy, gx = image(call.ins[0]), sized(call.ins[0], call.geometry.size)
    made = operation(
        "resampling_backward", algorithm, None, describe(gx), describe(gy),
        _forward(algorithm, gx, gy), dnnl.attributes(),
    )  # fmt: skip
    recipe = Recipe((gy,), (gx,))
    recipe.launch(
        made, diff_src=(describe(gx), recipe.out(0)), diff_dst=(describe(gy), recipe.of(0))
    )
    return recipe.plan(made.implementation)
