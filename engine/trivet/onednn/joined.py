"""Convolutions joined with what follows them: ``conv[+batch_norm_inference][+add][+relu]``.

oneDNN does the rest to each result before it is stored. The geometry of a chain nests: that of
``conv+a+b`` is ``((conv's, a's, place), b's, place)``; its operands are those of the convolution,
then of each link without the result that it takes over.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ..geometry import Convolution
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import PLAIN, Spec
from .common import (
    Opaque,
    Place,
    Recipe,
    Refused,
    alternatives,
    describe,
    image,
    kernel,
)  # fmt: skip
from .conv import arriving, forward, multiplied, refusal, result
from .elementwise import RELU

OPERANDS = {"batch_norm_inference": 4, "add": 1, "relu": 0}  # beside the result taken over


SUM = "sum", ctypes.c_float(1.0), 0, K.F32  # to what the result's memory holds


def _argument(at: int) -> int:
    """What the operand of a binary post-op at that place is called."""
    return K.ARG_ATTR_MULTIPLE_POST_OP_BASE * (at + 1) | K.ARG_SRC_1


def links(call: Call) -> tuple[Convolution, list[tuple[str, object]]]:
    """The convolution's geometry, and name and geometry of each link."""
    geometry, found = call.geometry, []
    for name in reversed(call.name.split("+")[1:]):
        geometry, own, _ = geometry
        found.append((name, own))
    return geometry, found[::-1]


@dataclass
class Chain:
    """Post-ops, the operands they read, and how each arrives."""

    y: Spec
    ins: list[Spec]
    post_ops: list[tuple] = field(default_factory=list)
    arguments: list[tuple[int, Descriptor, object]] = field(default_factory=list)
    folded: list[tuple[int, float]] = field(default_factory=list)  # first operand, eps
    image: tuple[int, int] | None = None  # place among post-ops, operand: an image that is added

    def per_channel(self) -> Descriptor:
        shape = [n if axis == 1 else 1 for axis, n in enumerate(self.y.shape)]
        return describe(Spec(tuple(shape)))

    def binary(self, algorithm: int, d: Descriptor, source) -> None:
        self.arguments.append((_argument(len(self.post_ops)), d, source))
        self.post_ops.append(("binary", algorithm, d))

    def batch_norm_inference(self, first: int, geometry) -> None:
        """weight, bias, mean, var: y = slope * x + shift, both put into the workspace before."""
        _, axes, _, eps = geometry
        if axes != (0, 2):
            raise Refused("not a batch normalisation")
        self.ins[first : first + 4] = [s.at(PLAIN) for s in self.ins[first : first + 4]]
        fold = len(self.folded)
        self.folded.append((first, eps))
        for algorithm, which in (K.BINARY_MUL, 0), (K.BINARY_ADD, 1):
            self.binary(algorithm, self.per_channel(), (fold, which))

    def add(self, first: int, geometry) -> None:
        other, d = self.ins[first], self.per_channel()
        if other.shape == self.y.shape:
            self.ins[first] = image(other)
            self.image = len(self.post_ops), first
            self.binary(K.BINARY_ADD, describe(self.y), first)
        elif (1,) * (len(self.y.shape) - len(other.shape)) + other.shape == d.shape:
            self.ins[first] = other.at(PLAIN)
            self.binary(K.BINARY_ADD, d, first)
        else:
            raise Refused("adds neither an image nor a number per channel")

    def relu(self, first: int, geometry) -> None:
        self.post_ops += RELU

    def in_place(self) -> list[tuple]:
        """Post-ops for where the image that is added lies in the result's memory.

        What is read need not be fetched again to be written: a third less to move.
        """
        at, _ = self.image
        return [*self.post_ops[:at], SUM, *self.post_ops[at + 1 :]]


def answer(call: Call, rounds: bool) -> list[Plan] | str:
    geometry, found = links(call)
    own = len(call.ins) - sum(OPERANDS[name] for name, _ in found)
    x, w, *bias = call.ins[:own]
    if why := refusal(geometry, w.shape[1], rounds):
        return why
    y = result(x, w, geometry)
    chain, at = Chain(y, [x, w, *(b.at(PLAIN) for b in bias), *call.ins[own:]]), own
    for name, link in found:
        getattr(chain, name)(at, link)
        at += OPERANDS[name]
    lies = isinstance(w.layout, Opaque) and not rounds  # as the convolution alone would have it

    def made(post_ops):
        best = forward(x, w, y, geometry, bool(bias), *post_ops, as_it_lies=lies, rounds=rounds)
        return {one.implementation: one for one in alternatives(best)}

    inside = made(chain.in_place()) if chain.image else {}
    return [
        _plan(apart, inside.get(name), chain, geometry, bool(bias), rounds)
        for name, apart in made(chain.post_ops).items()
    ]


def _plan(made, inside, chain: Chain, geometry: Convolution, bias: bool, rounds: bool) -> Plan:
    ins = (*arriving(made, *chain.ins[:2], rounds), *chain.ins[2:])
    recipe = Recipe(ins, (chain.y,))
    channels = chain.y.shape[1]
    folded = [_fold(recipe, first, eps, channels) for first, eps in chain.folded]
    src, weights = multiplied(recipe, made, geometry, rounds)
    operands = {
        K.ARG_DST: (describe(chain.y), recipe.out(0)),
        K.ARG_SRC: src,
        K.ARG_WEIGHTS: weights,
    }
    if bias:
        operands[K.ARG_BIAS] = describe(ins[2]), recipe.of(2)
    for argument, d, source in chain.arguments:
        place = recipe.of(source) if isinstance(source, int) else folded[source[0]][source[1]]
        operands[argument] = d, place
    if inside is None or not _same_filters(made, inside):
        recipe.launch_numbered(made, operands)
        return recipe.plan(made.implementation)
    at, first = chain.image
    fewer = {a: place for a, place in operands.items() if a != _argument(at)}
    recipe.launch_over((recipe.out(0), recipe.of(first)), (inside, fewer), (made, operands))
    return recipe.plan(made.implementation, over=((0, first),))


def _same_filters(*made) -> bool:
    a, b = (one.descriptor(K.QUERY_WEIGHTS_MD) for one in made)
    return a.key == b.key


def _fold(recipe: Recipe, first: int, eps: float, channels: int) -> tuple[Place, Place]:
    """Slope and shift of a batch normalisation, in the workspace."""
    slope, shift = (recipe.memory(4 * channels) for _ in range(2))
    places = slope, shift, *(recipe.of(first + k) for k in range(4))

    def fold(slope, shift, weight, bias, mean, var):
        np.divide(weight, np.sqrt(var + np.float32(eps)), out=slope)
        np.subtract(bias, mean * slope, out=shift)

    recipe.arrays(fold, *((place, (channels,)) for place in places))
    return slope, shift


for taken in product((False, True), repeat=3):
    chosen = [name for name, take in zip(OPERANDS, taken) if take]
    if chosen:
        kernel("+".join(["conv", *chosen]), rounds=True)(answer)
