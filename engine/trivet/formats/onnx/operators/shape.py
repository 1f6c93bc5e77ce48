"""The same values in another arrangement."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .... import ops
from ....tape import Tensor
from ..operator import from_host, operator


def integers(values) -> tuple[int, ...]:
    """Of an array or an attribute."""
    return tuple(int(v) for v in np.ravel(values))


@operator("Reshape", host=("shape",))
def reshape(x, shape, *, allowzero=0, consumed_inputs=None):
    shape = integers(shape)
    if not allowzero:
        shape = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(shape))
    return ops.reshape(x, shape)


@operator("Flatten")
def flatten(x, *, axis=1):
    rows = math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim])
    return ops.reshape(x, (rows, x.size // rows if rows else math.prod(x.shape[axis:])))


@operator("Transpose")
def transpose(x, *, perm=None):
    return ops.permute(x, tuple(perm) if perm else tuple(range(x.ndim))[::-1])


@operator("Squeeze", host=("axes",))
def squeeze(x, axes=None):
    if axes is None:
        return ops.squeeze(x)
    for axis in sorted({a % x.ndim for a in integers(axes)}, reverse=True):
        x = ops.squeeze(x, axis)
    return x


@operator("Unsqueeze", host=("axes",))
def unsqueeze(x, axes):
    axes = integers(axes)
    for axis in sorted(a % (x.ndim + len(axes)) for a in axes):
        x = ops.unsqueeze(x, axis)
    return x


@operator("Concat")
def concat(*xs, axis=1):
    return ops.concat(list(xs), axis=axis)


@operator("Split", host=("split",), outputs=10**6)
def split(x, split=None, *, axis=0, num_outputs=None, node):
    if split is None:
        size = x.shape[axis]
        each = -(-size // len(node.outputs))
        split = np.diff([min(i * each, size) for i in range(len(node.outputs) + 1)])
    ends = np.cumsum([0, *integers(split)]).tolist()
    lead = (slice(None),) * (axis % x.ndim)
    return tuple(ops.index(x, (*lead, slice(a, b))) for a, b in pairwise(ends))


@operator("Slice", host=("starts", "ends", "axes", "steps"))
def cut(x, starts, ends, axes=None, steps=None):
    starts, ends = integers(starts), integers(ends)
    axes = range(len(starts)) if axes is None else integers(axes)
    steps = [1] * len(starts) if steps is None else integers(steps)
    items = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        size = x.shape[axis]
        start, end = (v + size if v < 0 else v for v in (start, end))
        if step < 0 and end < 0:
            end = None  # before the first element; -1 would be the last for Python
        items[axis] = slice(min(max(start, 0), size), end if end is None else max(end, 0), step)
    return ops.index(x, tuple(items))


@operator(
    "Pad",
    host=("pads", "constant_value", "axes"),
    only={"mode": ("constant", "reflect", "edge", "wrap")},
)
def pad(x, pads=None, constant_value=None, axes=None, *, mode="constant", value=0.0, paddings=None):
    pads = integers(paddings if pads is None else pads)
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(range(x.ndim) if axes is None else integers(axes)):
        widths[axis] = pads[i], pads[i + len(pads) // 2]
    # a negative width cuts
    cuts = [slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths)]
    x, widths = ops.index(x, tuple(cuts)), [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        return ops.pad(x, widths, value=value if constant_value is None else constant_value.item())
    for axis, width in enumerate(widths):
        if any(width):
            ids = np.pad(np.arange(x.shape[axis]), width, mode=mode)
            x = picked(x, ids, axis)
    return x


def picked(x: Tensor, ids: np.ndarray, axis: int) -> Tensor:
    """Slices of x by ids that the host knows."""
    return ops.take(x, from_host(ids.astype("int64"), x.device), axis=axis)


@operator("Expand", host=("shape",))
def expand(x, shape):
    return ops.broadcast_to(x, np.broadcast_shapes(x.shape, integers(shape)))


@operator("Tile", host=("repeats",))
def tile(x, repeats):
    repeats = integers(repeats)
    pairs = [pair for n in x.shape for pair in (1, n)]
    wide = [pair for n, r in zip(x.shape, repeats) for pair in (r, n)]
    x = ops.broadcast_to(ops.reshape(x, tuple(pairs)), tuple(wide))
    return ops.reshape(x, tuple(n * r for n, r in zip(wide[1::2], repeats)))


def counted_from_the_front(ids: Tensor, size: int) -> Tensor:
    """Negative ids count from the end in ONNX."""
    return ops.where(ops.less(ids, 0), ops.add(ids, size), ids)


@operator("Gather")
def gather(x, ids, *, axis=0):
    return ops.take(x, counted_from_the_front(ids, x.shape[axis]), axis=axis)


@operator("GatherElements")
def gather_elements(x, ids, *, axis=0):
    ids = counted_from_the_front(ids, x.shape[axis])
    for other, n in enumerate(ids.shape):  # the other axes of x may be longer
        if other != axis % x.ndim:
            x = ops.index(x, (slice(None),) * other + (slice(n),))
    return ops.take_along(x, ids, axis=axis)


@operator("DepthToSpace", only={"mode": ("DCR", "CRD")})
def depth_to_space(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b, c = blocksize, c // blocksize**2
    if mode == "DCR":
        x = ops.permute(ops.reshape(x, (n, b, b, c, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = ops.permute(ops.reshape(x, (n, c, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return ops.reshape(x, (n, c, h * b, w * b))  # (N, C/b^2, H*b, W*b)


@operator("SpaceToDepth", only={"mode": ("DCR", "CRD")})
def space_to_depth(x, *, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b = blocksize
    x = ops.reshape(x, (n, c, h // b, b, w // b, b))
    x = ops.permute(x, (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4))
    return ops.reshape(x, (n, c * b * b, h // b, w // b))  # (N, C*b^2, H/b, W/b)
