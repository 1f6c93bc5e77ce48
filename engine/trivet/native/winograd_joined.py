"""Winograd convolutions joined with what follows: the rest is done to each tile as it is written.

The geometry of a chain nests: that of ``conv+a+b`` is ``((conv's, a's, place), b's, place)``; its
operands are those of the convolution, then of each link without the result that it takes over.
"""

from __future__ import annotations

from functools import partial
from itertools import product

from ..registry import Call, Plan
from ..simd import float_bits
from .common import kernel
from .winograd import Finish, backward, forward
from .winograd_kernels import ADD, PASS

OPERANDS = {"batch_norm_inference": 4, "add": 1, "relu": 0}  # beside the result taken over
RECTIFIED = float_bits(0.0)


def chain(call: Call) -> list[Plan] | str:
    """``conv[+batch_norm_inference][+add][+relu]``."""
    geometry, links = call.geometry, []
    for name in reversed(call.name.split("+")[1:]):
        geometry, own, _ = geometry
        links.insert(0, (name, own))
    at = own_operands = len(call.ins) - sum(OPERANDS[name] for name, _ in links)
    finish = Finish()
    for name, own in links:
        if name == "batch_norm_inference":
            _, axes, _, eps = own
            if axes != (0, 2):
                return "not a batch normalisation"
            finish.normalisation = at, eps
        elif name == "add":
            finish.other, finish.mode = at, ADD
        else:
            finish.lowest = RECTIFIED
        at += OPERANDS[name]
    return forward(call, geometry, finish, own_operands)


for taken in product((False, True), repeat=len(OPERANDS)):
    chosen = [name for name, take in zip(OPERANDS, taken) if take]
    if chosen:
        kernel("+".join(["conv", *chosen]))(chain)


def gradient(call: Call, mode: int) -> list[Plan] | str:
    """gy, w, another image of the size of the gradient."""
    if mode == PASS and call.geometry[2] != 0:
        return "the gradient is that of the rectifier's result"
    return backward(call, call.geometry[0], Finish(other=2, mode=mode))


kernel("conv_grad_input+add")(partial(gradient, mode=ADD))
kernel("conv_grad_input+relu_grad")(partial(gradient, mode=PASS))
