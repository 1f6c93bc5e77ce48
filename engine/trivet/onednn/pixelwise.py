"""Convolutions whose filters have one pixel, as products of matrices with a row per pixel.

They take a slice of the channels of a larger image as it lies, and filters and their gradient
plain.
"""

from __future__ import annotations

from ..geometry import Convolution
from ..lib import dnnl
from ..lib.dnnl import Descriptor
from ..registry import Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Place, Recipe, describe, image, operation
from .reduce import over_rows


def applies(geometry: Convolution) -> bool:
    window = geometry.window
    whole = window.cells == 1 and window.size == window.out_size
    return whole and geometry.groups == 1 and not any(map(any, window.padding))


def lying(s: Spec) -> Spec:
    """As it lies where every pixel's channels are side by side, else channels last."""
    return s if s.pixels else image(s)


def ordered(first: Plan, *others: Plan) -> list[Plan]:
    """The product before the others where it alone takes an operand as it lies."""
    if all(s.layout in (PLAIN, CHANNELS_LAST) for s in first.ins):
        return [*others, first]
    return [first, *others]


def _rows(s: Spec) -> Descriptor:
    rows, step = s.pixels
    return Descriptor.strided((rows, s.shape[1]), (step, 1))


def _turned(s: Spec) -> Descriptor:
    rows, step = s.pixels
    return Descriptor.strided((s.shape[1], rows), (1, step))


def _product(recipe: Recipe, a, b, y, bias=None) -> Plan:
    """Each a descriptor and a place."""
    made = operation("matmul", a[0], b[0], bias and bias[0], y[0], dnnl.attributes())
    given = {"bias": bias} if bias else {}
    recipe.launch(made, dst=y, src=a, weights=b, **given)
    return recipe.plan(f"matmul {made.implementation}")


def forward(x: Spec, w: Spec, bias: list[Spec], y: Spec) -> Plan:
    x, w, o = lying(x), w.at(PLAIN), w.shape[0]
    recipe = Recipe((x, w, *(b.at(PLAIN) for b in bias)), (y,))
    filters = Descriptor.strided((w.shape[1], o), (1, w.shape[1]))
    column = (Descriptor.strided((1, o), (o, 1)), recipe.of(2)) if bias else None
    operands = (_rows(x), recipe.of(0)), (filters, recipe.of(1)), (_rows(y), recipe.out(0))
    return _product(recipe, *operands, column)


def grad_input(gy: Spec, w: Spec, gx: Spec) -> Plan:
    gy, w = lying(gy), w.at(PLAIN)
    recipe = Recipe((gy, w), (gx,))
    filters = describe(w, w.shape[:2]), recipe.of(1)
    return _product(recipe, (_rows(gy), recipe.of(0)), filters, (_rows(gx), recipe.out(0)))


def grad_weight(x: Spec, gy: Spec, gw: Spec, *gb: Spec) -> Plan:
    x, gy = lying(x), lying(gy)
    recipe = Recipe((x, gy), (gw, *gb))
    if gb:
        grad_bias(recipe)
    made: tuple[Descriptor, Place] = describe(gw, gw.shape[:2]), recipe.out(0)
    return _product(recipe, (_turned(gy), recipe.of(1)), (_rows(x), recipe.of(0)), made)


def grad_bias(recipe: Recipe) -> None:
    """Adds the sum of the second operand's pixels, the second result."""
    gy = recipe.ins[1]
    rows, step = gy.pixels
    over_rows(recipe, (rows, gy.shape[1], step), recipe.of(1), recipe.out(1))
