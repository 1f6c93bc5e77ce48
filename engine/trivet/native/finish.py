"""What becomes of a convolution's results before they are stored: the rest of a joined chain.

The chain is ``conv[+batch_norm_inference][+add][+relu]``. Its geometry nests: that of ``conv+a+b``
is ``((conv's, a's, place), b's, place)``; its operands are those of the convolution, then of each
link without the result that it takes over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from ..geometry import Convolution
from ..registry import Ahead, Call, Plan
from ..simd import (
    BYTES,
    LANES,
    Launch,
    Operand,
    block,
    float_bits,
    parameter,
    share,
    thread,
    threads,
)
from ..simd import kernel as compiled
from ..spec import CHANNELS_LAST, PLAIN, Spec

OPERANDS = {"batch_norm_inference": 4, "add": 1, "relu": 0}  # beside the result taken over
CHAINS = [
    "+".join(["conv", *(name for name, take in zip(OPERANDS, taken) if take)])
    for taken in product((False, True), repeat=len(OPERANDS))
    if any(taken)
]
WRITE, ADD, PASS = range(3)  # what becomes of the pixels
ALL = float_bits(-math.inf)  # the lowest value allowed: any
RECTIFIED = float_bits(0.0)


@dataclass
class Finish:
    """What is done to results; operands by their numbers among the call's."""

    bias: int | None = None
    normalisation: tuple[int, float] | None = None  # the first of its four operands, eps
    other: int | None = None
    mode: int = WRITE
    lowest: int = ALL

    @property
    def constants(self) -> list[int]:
        """The operands that ``fold`` reads."""
        if self.normalisation is None:
            return []
        first, _ = self.normalisation
        return [*range(first, first + 4), *([] if self.bias is None else [self.bias])]

    def folded(self, channels: int) -> int:
        """Bytes of a normalisation's scale and shift."""
        return 8 * LANES * -(-channels // LANES) if self.normalisation else 0

    def fold(self, at, number: int, channels: int) -> list[tuple]:
        """The stage that puts scale and shift where operand ``number`` begins.

        ``at`` says where the operands of the call are.
        """
        if self.normalisation is None:
            return []
        first, eps = self.normalisation
        bias = zeros(channels) if self.bias is None else Operand(at(self.bias))
        four = (Operand(at(first + k)) for k in range(4))
        return [(fold, (*self.affine(number, channels), *four, bias, channels, float_bits(eps)))]

    def affine(self, number: int, channels: int) -> tuple:
        """Where a launch with one result finds scale and shift."""
        if self.normalisation:
            return Operand(number), Operand(number, self.folded(channels) // 2)
        return ones(channels), zeros(channels) if self.bias is None else Operand(1 + self.bias)

    def over(self, ins: list[Spec], y: Spec) -> tuple:
        """The image that is added may lie where the result will."""
        return ((0, self.other),) if self.other is not None and ins[self.other] == y else ()


def parsed(call: Call) -> tuple[Convolution, Finish] | str:
    """The convolution's geometry, and what follows; or why not."""
    geometry, links = call.geometry, []
    for name in reversed(call.name.split("+")[1:]):
        geometry, own, _ = geometry
        links.insert(0, (name, own))
    at = len(call.ins) - sum(OPERANDS[name] for name, _ in links)
    finish = Finish(bias=2 if at == 3 else None)
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
    return geometry, finish


def image(spec: Spec) -> tuple[Spec, int]:
    """An image as a kernel takes it, and its step from pixel to pixel in bytes."""
    if spec.pixels is None or spec.layout == PLAIN:
        spec = spec.at(CHANNELS_LAST)
    return spec, 4 * spec.pixels[1]


@cache
def _constants(channels: int) -> np.ndarray:
    """Zeros, then ones, for as many channels and a vector more. They live for ever."""
    count = -(-(channels + 2 * LANES) // LANES) * LANES
    return np.repeat(np.float32([0, 1]), count)


def zeros(channels: int) -> int:
    """An address."""
    return _constants(channels).ctypes.data


def ones(channels: int) -> int:
    """An address."""
    both = _constants(channels)
    return both[len(both) // 2 :].ctypes.data


def _plan(stages, takes, outs, workspace: int, **more) -> Plan:
    run = Launch(*stages)
    return Plan(run, tuple(takes), tuple(outs), workspace, bind=run.bind, addressed=True, **more)


def in_two(ahead, rest, constants: list[int], ins, y: Spec, block: int, scratch: int, **more):
    """The plan of stages that make a block of bytes of constants, and of one that reads it.

    Args:
        ahead: From where the operands of the call are, and the number of the operand that begins
            with the block, the stages that make it.
        rest: From that number and the place of the scratch memory the stage that reads it.
        constants: Operands that ``ahead`` reads; a program that does not write them makes the block
            once for all replays.
        block, scratch: Bytes.
    """
    last, made = 1 + len(ins), Spec((block,), "uint8")
    takes = [ins[k] for k in constants]
    first = _plan(ahead(lambda k: 1 + constants.index(k), 0), takes, [made], 0, name=more["name"])
    later = [rest(last, Operand(last + 1))]
    apart = Ahead(tuple(constants), first, _plan(later, [*ins, made], [y], scratch, **more))
    whole = [*ahead(lambda k: 1 + k, last), rest(last, Operand(last, block))]
    return _plan(whole, ins, [y], block + scratch, ahead=apart, **more)


@block
def _fold(emit, scale, shift, weight, bias, mean, variance, before, eps):
    """weight * (y + before - mean) / sqrt(variance + eps) + bias = scale * y + shift."""
    factor = emit.load(weight) / emit.sqrt(emit.load(variance) + emit.broadcast(eps))
    emit.store(scale, factor)
    emit.store(shift, (emit.load(before) - emit.load(mean)) * factor + emit.load(bias))


@compiled
def fold(table):
    """scale, shift; weight, bias, mean, variance; the convolution's bias; channels, eps.

    A batch normalisation as a factor of each result and a shift of it.
    """
    low, high = share(parameter(table, 7), LANES, thread(), threads())
    for c in range(4 * low, 4 * high, BYTES):
        _fold(
            parameter(table, 0) + c, parameter(table, 1) + c, parameter(table, 2) + c,
            parameter(table, 3) + c, parameter(table, 4) + c, parameter(table, 5) + c,
            parameter(table, 6) + c, table + 8 * 8,
        )  # fmt: skip
