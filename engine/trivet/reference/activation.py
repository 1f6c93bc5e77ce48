"""The non-linearities of networks, and what they make of the incoming gradient."""

from __future__ import annotations

import numpy as np

from .elementwise import unary
from .erf import erfc


def sigmoid(x):
    """Never takes the exponential of a positive number, which could overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x):
    return np.logaddexp(x, x.dtype.type(0))


def leaky_relu(x, slope):
    return np.where(x > 0, x, slope * x)


def leaky_relu_grad(gy, x, slope):
    return np.where(x > 0, gy, slope * gy)


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_grad(gy, x, alpha):
    return np.where(x > 0, gy, gy * alpha * np.exp(np.minimum(x, 0)))


def silu_grad(gy, x):
    s = sigmoid(x)
    return gy * s * (1 + x * (1 - s))


def gelu(x, approximate):
    if approximate == "tanh":
        return x * (1 + np.tanh(_inner(x))) / 2
    return x * erfc(-x / 2**0.5) / 2  # 1 + erf would lose the left tail


def gelu_grad(gy, x, approximate):
    if approximate == "tanh":
        t = np.tanh(_inner(x))
        slope = (2 / np.pi) ** 0.5 * (1 + 3 * 0.044715 * x * x)
        return gy * ((1 + t) + x * (1 - t * t) * slope) / 2
    density = np.exp(-x * x / 2) / (2 * np.pi) ** 0.5
    return gy * (erfc(-x / 2**0.5) / 2 + x * density)


def _inner(x):
    """The cubic inside the tanh of the approximation."""
    return (2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)


unary("relu", lambda x: np.maximum(x, 0), lambda gy, y: np.where(y <= 0, 0, gy))
unary("leaky_relu", leaky_relu, leaky_relu_grad)
unary("elu", elu, elu_grad)
unary("sigmoid", sigmoid, lambda gy, y: gy * y * (1 - y))
unary("silu", lambda x: x * sigmoid(x), silu_grad)
unary("softplus", softplus, lambda gy, x: gy * sigmoid(x))
unary("gelu", gelu, gelu_grad)
