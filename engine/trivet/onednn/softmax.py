"""Softmax along the axis whose elements lie side by side.

oneDNN's exp takes NaN for a large number, so a NaN or an inf does not reach the other elements of
its row. NumPy computes again what holds one; the largest element tells.
"""

from __future__ import annotations

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import PLAIN, Spec
from .common import Recipe, Refused, image, kernel, operation
from .elementwise import REFUSED


def _rows(call: Call) -> tuple[list[Spec], tuple[int, int]]:
    """The operands with the elements along the axis side by side, and rows and columns."""
    like, axis = call.ins[-1], call.geometry % max(len(call.ins[-1].shape), 1)
    if axis == len(like.shape) - 1:
        ins = [s.at(PLAIN) for s in call.ins]
    elif axis == 1 and len(like.shape) > 2:
        ins = [image(s) for s in call.ins]
    else:
        raise Refused("oneDNN has only ref:any along an axis that is neither last nor channels")
    columns = like.shape[axis]
    return ins, (like.size // columns, columns)


def _softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _repair(x, y):
    if not x.max() < np.inf:
        y[...] = _softmax(x)


@kernel("softmax")
def softmax(call: Call) -> Plan | str:
    """geometry = the axis."""
    (x,), shape = _rows(call)
    d = Descriptor.strided(shape, (shape[1], 1))
    made = operation("softmax_forward", K.FORWARD_INFERENCE, K.SOFTMAX_ACCURATE, d, d, 1,
                     dnnl.attributes())  # fmt: skip
    recipe = Recipe((x,), (x,))
    recipe.launch(made, dst=(d, recipe.out(0)), src=(d, recipe.of(0)))
    recipe.arrays(_repair, (recipe.of(0), shape), (recipe.out(0), shape))
    return recipe.plan(made.implementation)


@kernel("log_softmax")
def log_softmax(call: Call) -> Plan | str:
    return REFUSED["log"]


def gradient(name: str, algorithm: int):
    @kernel(f"{name}_grad")
    def backward(call: Call) -> Plan | str:
        """gy, y -> gx."""
        (gy, y), shape = _rows(call)
        d, attributes = Descriptor.strided(shape, (shape[1], 1)), dnnl.attributes()
        hint = operation("softmax_forward", K.FORWARD_TRAINING, algorithm, d, d, 1, attributes)
        made = operation("softmax_backward", algorithm, d, d, d, 1, hint, attributes)
        recipe = Recipe((gy, y), (y,))
        recipe.launch(
            made, diff_src=(d, recipe.out(0)), diff_dst=(d, recipe.of(0)), dst=(d, recipe.of(1))
        )
        if algorithm == K.SOFTMAX_LOG:  # whose gradient takes exp(y)
            places = [(place, shape) for place in (recipe.out(0), recipe.of(0), recipe.of(1))]
            recipe.arrays(_repair_log_grad, *places)
        return recipe.plan(made.implementation)


def _repair_log_grad(gx, gy, y):
    if not y.max() <= 0:
        gx[...] = gy - np.exp(y) * gy.sum(1, keepdims=True)


gradient("softmax", K.SOFTMAX_ACCURATE)
gradient("log_softmax", K.SOFTMAX_LOG)
