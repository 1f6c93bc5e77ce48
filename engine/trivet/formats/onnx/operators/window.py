"""Windows sliding over images: convolution and pooling."""

from __future__ import annotations

import math

from .... import ops
from ....dtypes import is_float
from ..operator import Node, operator

AUTO_PAD = {"auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")}


def _image_axes(node: Node, x) -> int:
    if not 3 <= x.ndim <= 5:
        raise node.refuse("images of 1 to 3 axes", f"x {x.shape}", "reshape x.")
    return x.ndim - 2


def _padding(size, kernel, strides, dilations, auto_pad, pads):
    """(before, after) per axis; SAME puts an odd one at the end (UPPER) or the start (LOWER)."""
    n = len(size)
    if auto_pad in ("NOTSET", ""):
        return list(zip(pads[:n], pads[n:])) if pads else [(0, 0)] * n
    if auto_pad == "VALID":
        return [(0, 0)] * n
    padding = []
    for m, k, s, d in zip(size, kernel, strides, dilations):
        whole = max((-(-m // s) - 1) * s + (k - 1) * d + 1 - m, 0)
        less, more = whole // 2, whole - whole // 2
        padding.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return padding


def _settled(x, kernel, strides, dilations, auto_pad, pads):
    """Strides, dilations and padding written out."""
    n = len(kernel)
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    return strides, dilations, _padding(x.shape[2:], kernel, strides, dilations, auto_pad, pads)


@operator("Conv", only=AUTO_PAD)
def conv(x, weight, bias=None, *, kernel_shape=None, strides=None, dilations=None, pads=None,
         group=1, auto_pad="NOTSET", node):  # fmt: skip
    run = (ops.conv1d, ops.conv2d, ops.conv3d)[_image_axes(node, x) - 1]
    settled = _settled(x, weight.shape[2:], strides, dilations, auto_pad, pads)
    stride, dilation, padding = settled
    return run(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=group
    )  # (N, O, *out)


@operator("ConvTranspose", only=AUTO_PAD)
def conv_transpose(x, weight, bias=None, *, kernel_shape=None, strides=None, dilations=None,
                   pads=None, group=1, auto_pad="NOTSET", output_padding=None,
                   output_shape=None, node):  # fmt: skip
    n = _image_axes(node, x)
    run = (ops.conv_transpose1d, ops.conv_transpose2d, ops.conv_transpose3d)[n - 1]
    kernel = weight.shape[2:]
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    extra = output_padding or (0,) * n
    padding = list(zip(pads[:n], pads[n:])) if pads else [(0, 0)] * n
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        same = tuple(m * s for m, s in zip(x.shape[2:], strides))
        wanted = output_shape[-n:] if output_shape else same
        padding, extra = [], []
        for m, s, k, d, out in zip(x.shape[2:], strides, kernel, dilations, wanted):
            cut = s * (m - 1) + (k - 1) * d + 1 - out
            half, rest = max(cut, 0) // 2, max(cut, 0) - max(cut, 0) // 2
            padding.append((half, rest) if auto_pad == "SAME_UPPER" else (rest, half))
            extra.append(max(-cut, 0))
    over = [max(e - max(s, d) + 1, 0) for e, s, d in zip(extra, strides, dilations)]
    extra = [e - o for e, o in zip(extra, over)]
    y = run(x, weight, None, stride=strides, padding=padding, output_padding=extra,
            dilation=dilations, groups=group)  # fmt: skip  # (N, O, *out)
    y = ops.pad(y, [(0, 0), (0, 0), *((0, o) for o in over)]) if any(over) else y
    return y if bias is None else ops.add(y, ops.reshape(bias, (bias.size, *(1,) * n)))


@operator("MaxPool", only={**AUTO_PAD, "storage_order": (0,)})
def max_pool(x, *, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET",
             ceil_mode=0, storage_order=0, node):  # fmt: skip
    run = (ops.max_pool1d, ops.max_pool2d, ops.max_pool3d)[_image_axes(node, x) - 1]
    stride, dilation, padding = _settled(x, kernel_shape, strides, dilations, auto_pad, pads)
    images = x if is_float(x.dtype) else ops.cast(x, "float64")
    y = run(images, tuple(kernel_shape), stride=stride, padding=padding, dilation=dilation,
            ceil=bool(ceil_mode))  # fmt: skip
    return ops.cast(y, x.dtype)  # (N, C, *out)


DENSE = {"dilations": (None, (1,), (1, 1), (1, 1, 1))}


@operator("AveragePool", only={**AUTO_PAD, **DENSE})
def average_pool(x, *, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET",
                 ceil_mode=0, count_include_pad=0, node):  # fmt: skip
    run = (ops.avg_pool1d, ops.avg_pool2d, ops.avg_pool3d)[_image_axes(node, x) - 1]
    stride, _, padding = _settled(x, kernel_shape, strides, None, auto_pad, pads)
    return run(x, tuple(kernel_shape), stride=stride, padding=padding, ceil=bool(ceil_mode),
               count_padding=bool(count_include_pad))  # fmt: skip  # (N, C, *out)


@operator("LpPool", only={**AUTO_PAD, **DENSE, "ceil_mode": (0,)})
def lp_pool(x, *, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET",
            ceil_mode=0, p=2, node):  # fmt: skip
    mean = average_pool(ops.pow(ops.abs(x), p), kernel_shape=kernel_shape, strides=strides,
                        pads=pads, auto_pad=auto_pad, count_include_pad=1, node=node)  # fmt: skip
    return ops.pow(ops.mul(mean, math.prod(kernel_shape)), 1 / p)


@operator("GlobalAveragePool")
def global_average_pool(x):
    return ops.global_avg_pool(x)


@operator("GlobalMaxPool")
def global_max_pool(x):
    return ops.global_max_pool(x)


@operator("GlobalLpPool")
def global_lp_pool(x, *, p=2):
    axes = tuple(range(2, x.ndim))
    return ops.pow(ops.sum(ops.pow(ops.abs(x), p), axis=axes, keepdims=True), 1 / p)
