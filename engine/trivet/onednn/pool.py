"""Pooling on images whose channels lie last.

oneDNN's maximum steps over NaN and starts at the lowest finite number. Where an image holds a NaN,
or a window nothing but -inf, NumPy computes it again as the reference defines it; a look at the
largest pixel and the smallest result tells.
"""

from __future__ import annotations

import numpy as np

from ..geometry import Adaptive, Average, Window, within
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..registry import Call, Plan
from ..spec import Spec
from .common import Recipe, Refused, describe, image, kernel, operation

LOWEST = np.finfo(np.float32).min


def forward(kind: int, algorithm: int, x: Spec, y: Spec, window: Window):
    return operation(
        "pooling_forward", kind, algorithm, describe(x), describe(y), *_slide(window),
        dnnl.attributes(),
    )  # fmt: skip


def backward(algorithm: int, gx: Spec, gy: Spec, window: Window):
    hint = forward(K.FORWARD_TRAINING, algorithm, gx, gy, window)
    made = operation(
        "pooling_backward", algorithm, describe(gx), describe(gy), *_slide(window), hint,
        dnnl.attributes(),
    )  # fmt: skip
    return made, hint


def _slide(window: Window) -> tuple:
    """oneDNN counts the pixels that a dilation leaves out."""
    numbers = (
        window.stride,
        window.kernel,
        [d - 1 for d in window.dilation],
        [before for before, _ in window.padding],
        [after for _, after in window.padding],
    )
    return tuple(dnnl.dims(n) for n in numbers)


def sized(x: Spec, size) -> Spec:
    return image(Spec((*x.shape[:2], *size), x.dtype))


def averaging(geometry: Average | Adaptive) -> tuple[int, Window]:
    """oneDNN's algorithm, and the window."""
    if isinstance(geometry, Adaptive):
        return K.POOLING_AVG_EXCLUDE_PADDING, sliding(geometry)
    window = geometry.window
    if geometry.counted == window.padding:
        return K.POOLING_AVG_INCLUDE_PADDING, window
    if any(map(any, geometry.counted)):
        raise Refused("oneDNN counts all of the padding or none")
    return K.POOLING_AVG_EXCLUDE_PADDING, window


def sliding(geometry: Window | Adaptive) -> Window:
    window = geometry if isinstance(geometry, Window) else geometry.window()
    if window is None:
        raise Refused("oneDNN's windows are all of one size")
    return window


def _average(call: Call) -> Plan | str:
    algorithm, window = averaging(call.geometry)
    x, y = image(call.ins[0]), sized(call.ins[0], window.out_size)
    made = forward(K.FORWARD_INFERENCE, algorithm, x, y, window)
    recipe = Recipe((x,), (y,))
    recipe.launch(made, dst=(describe(y), recipe.out(0)), src=(describe(x), recipe.of(0)))
    return recipe.plan(made.implementation)


def _average_grad(call: Call) -> Plan | str:
    algorithm, window = averaging(call.geometry)
    gy, gx = image(call.ins[0]), sized(call.ins[0], window.size)
    made, _ = backward(algorithm, gx, gy, window)
    recipe = Recipe((gy,), (gx,))
    recipe.launch(
        made, diff_src=(describe(gx), recipe.out(0)), diff_dst=(describe(gy), recipe.of(0))
    )
    return recipe.plan(made.implementation)


def _max_pool(call: Call) -> Plan | str:
    """The auxiliary: for each position which cell of its window won, row by row."""
    window = sliding(call.geometry)
    x, y = image(call.ins[0]), sized(call.ins[0], window.out_size)
    kind = K.FORWARD_TRAINING if call.auxiliaries else K.FORWARD_INFERENCE
    made = forward(kind, K.POOLING_MAX, x, y, window)
    cells = _cells(made, y) if call.auxiliaries else None
    kept = [Spec((cells.nbytes,), "uint8")] if cells else []
    if kept:
        backward(K.POOLING_MAX, x, y, window)  # else nobody could: what is kept is private
    recipe = Recipe((x,), (y, *kept))
    given = {"workspace": (cells, recipe.out(1))} if cells else {}
    recipe.launch(made, dst=(describe(y), recipe.out(0)), src=(describe(x), recipe.of(0)), **given)
    places = [(recipe.of(0), x.physical), (recipe.out(0), y.physical)]
    dtypes = ["float32", "float32"]
    if cells:
        places.append((recipe.out(1), y.physical))
        dtypes.append(_dtype(cells, y))

    def repair(x, y, winner=None):
        if not x.max() <= np.inf or y.min() <= LOWEST:
            _largest(window, x, y, winner)

    recipe.arrays(repair, *places, dtypes=dtypes)
    return recipe.plan(made.implementation)


def _cells(made, y: Spec):
    """The descriptor of the winners, which lie as the result does."""
    cells = made.descriptor(K.QUERY_WORKSPACE_MD)
    if cells.steps != y.steps:
        raise Refused("oneDNN keeps the winners in blocks")
    return cells


def _dtype(cells, y: Spec) -> str:
    return f"uint{8 * cells.nbytes // y.size}"


def _largest(window: Window, x, y, winner):
    """x (N, *size, C) -> y (N, *out, C) and which cell won; the first, but NaN before numbers."""
    tables = [window.pixels(axis) for axis in range(len(window.size))]
    seen = np.zeros(y.shape, bool)
    for place, cell in enumerate(np.ndindex(*window.kernel)):
        pixels = [table[:, c] for table, c in zip(tables, cell)]
        inside = [within(p, 0, n) for p, n in zip(pixels, window.size)]
        there = np.logical_and.reduce(np.meshgrid(*inside, indexing="ij"))[None, ..., None]
        at = np.ix_(*(np.where(ok, p, 0) for ok, p in zip(inside, pixels)))
        value = x[(slice(None), *at)]
        better = there & (~seen | (value > y) | np.isnan(value))
        np.copyto(y, value, where=better)
        if winner is not None:
            np.copyto(winner, place, where=better, casting="unsafe")
        seen |= there


def _max_pool_grad(call: Call) -> Plan | str:
    """gy to the winners: (gy, cells) -> gx."""
    gy, kept = image(call.ins[0]), call.ins[1]
    window = sliding(call.geometry)
    gx = sized(gy, window.size)
    made, hint = backward(K.POOLING_MAX, gx, gy, window)
    recipe = Recipe((gy, kept), (gx,))
    recipe.launch(
        made,
        diff_src=(describe(gx), recipe.out(0)),
        diff_dst=(describe(gy), recipe.of(0)),
        workspace=(_cells(hint, gy), recipe.of(1)),
    )
    return recipe.plan(made.implementation)


def _max_pool_gather(call: Call) -> Plan | str:
    """v from the winners' places: (v, cells) -> y. In NumPy; only second derivatives ask for it."""
    v, kept = image(call.ins[0]), call.ins[1]
    window = sliding(call.geometry)
    y = sized(v, window.out_size)
    recipe = Recipe((v, kept), (y,))
    tables = [window.pixels(axis) for axis in range(len(window.size))]

    def gather(y, v, winner):
        cell = np.unravel_index(winner, window.kernel)
        at = np.indices(y.shape, sparse=True)
        pixels = [table[p, c] for table, p, c in zip(tables, at[1:-1], cell)]
        y[...] = v[(at[0], *pixels, at[-1])]

    places = (recipe.out(0), y.physical), (recipe.of(0), v.physical), (recipe.of(1), y.physical)
    winner = f"uint{8 * kept.size // y.size}"
    recipe.arrays(gather, *places, dtypes=("float32", "float32", winner))
    return recipe.plan("numpy")


for kind in ("", "adaptive_"):
    kernel(f"{kind}avg_pool")(_average)
    kernel(f"{kind}avg_pool_grad")(_average_grad)
    kernel(f"{kind}max_pool")(_max_pool)
    kernel(f"{kind}max_pool_grad", private=True)(_max_pool_grad)
    kernel(f"{kind}max_pool_gather", private=True)(_max_pool_gather)
