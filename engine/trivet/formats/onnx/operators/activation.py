"""The non-linearities of networks."""

from __future__ import annotations

import numpy as np

from .... import ops
from ..operator import operator


@operator("Relu")
def relu(x, *, consumed_inputs=None):
    return ops.relu(x)


@operator("LeakyRelu")
def leaky_relu(x, *, alpha=0.01, consumed_inputs=None):
    return ops.leaky_relu(x, negative_slope=alpha)


@operator("Elu")
def elu(x, *, alpha=1.0, consumed_inputs=None):
    return ops.elu(x, alpha=alpha)


@operator("Selu")
def selu(x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875,
         consumed_inputs=None):  # fmt: skip
    return ops.mul(ops.elu(x, alpha=alpha), gamma)


@operator("Celu")
def celu(x, *, alpha=1.0):
    return ops.mul(ops.elu(ops.div(x, alpha)), alpha)


@operator("Gelu", only={"approximate": ("none", "tanh")})
def gelu(x, *, approximate="none"):
    return ops.gelu(x, approximate=approximate)


@operator("Sigmoid")
def sigmoid(x, *, consumed_inputs=None):
    return ops.sigmoid(x)


@operator("HardSigmoid")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5, consumed_inputs=None):
    return ops.clip(ops.add(ops.mul(x, alpha), beta), 0.0, 1.0)


@operator("HardSwish")
def hard_swish(x):
    return ops.mul(x, hard_sigmoid(x, alpha=1 / 6))


@operator("Swish")
def swish(x, *, alpha=1.0):
    return ops.silu(x) if alpha == 1 else ops.mul(x, ops.sigmoid(ops.mul(x, alpha)))


@operator("Mish")
def mish(x):
    return ops.mul(x, ops.tanh(ops.softplus(x)))


@operator("Softplus")
def softplus(x):
    return ops.softplus(x)


@operator("Softsign")
def softsign(x):
    return ops.div(x, ops.add(ops.abs(x), 1.0))


@operator("ThresholdedRelu")
def thresholded_relu(x, *, alpha=1.0):
    return ops.where(ops.greater(x, alpha), x, 0.0)


@operator("Shrink")
def shrink(x, *, bias=0.0, lambd=0.5):
    above = ops.where(ops.greater(x, lambd), ops.sub(x, bias), 0.0)
    return ops.where(ops.less(x, -lambd), ops.add(x, bias), above)


@operator("PRelu")
def prelu(x, slope, *, node, consumed_inputs=None):
    if node.opset < 7 and slope.ndim == 1 and slope.size > 1:  # one per channel
        slope = ops.reshape(slope, (slope.size, *[1] * (x.ndim - 2)))
    return ops.where(ops.greater(x, 0), x, ops.mul(x, slope))


def _along(function, x, axis, node):
    """Along one axis; before opset 13 over all axes from ``axis`` on at once."""
    if node.opset >= 13:
        return function(x, -1 if axis is None else axis)
    first = (1 if axis is None else axis) % max(x.ndim, 1)
    rows = int(np.prod(x.shape[:first]))
    flat = ops.reshape(x, (rows, x.size // max(rows, 1)))
    return ops.reshape(function(flat, -1), x.shape)


@operator("Softmax")
def softmax(x, *, axis=None, node):
    return _along(lambda x, axis: ops.softmax(x, axis=axis), x, axis, node)


@operator("LogSoftmax")
def log_softmax(x, *, axis=None, node):
    return _along(lambda x, axis: ops.log_softmax(x, axis=axis), x, axis, node)


@operator("Hardmax")
def hardmax(x, *, axis=None, node):
    return _along(_hardmax, x, axis, node)


def _hardmax(x, axis):
    hot = ops.one_hot(ops.argmax(x, axis=axis), x.shape[axis], x.dtype)  # (..., n)
    order = list(range(x.ndim - 1))
    order.insert(axis % x.ndim, x.ndim - 1)
    return ops.permute(hot, tuple(order))
