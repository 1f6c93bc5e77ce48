"""Convolutions, alone and joined with what follows: which of our two ways may do them."""

from __future__ import annotations

from ..registry import Call, Plan
from . import pixelwise, winograd
from .common import kernel
from .finish import CHAINS, Finish, parsed


@kernel("conv")
def conv(call: Call) -> list[Plan] | str:
    """x (N, C, H, W), w (O, C, 3, 3)[, bias (O,)] -> (N, O, *out_size)."""
    return winograd.forward(call, call.geometry, Finish(bias=2 if len(call.ins) == 3 else None))


def chain(call: Call) -> Plan | list[Plan] | str:
    """As ``finish`` says; filters of one pixel or of three by three."""
    found = parsed(call)
    if isinstance(found, str):
        return found
    geometry, finish = found
    way = pixelwise if geometry.window.cells == 1 else winograd
    return way.forward(call, geometry, finish)


for name in CHAINS:
    kernel(name)(chain)
