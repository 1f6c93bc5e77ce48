"""Initial values, written into tensors that exist.

``rng`` is a NumPy Generator; without one the module's own is used, which ``seed`` starts over.
Numbers are drawn in float64 and rounded, so a float64 network starts where a float32 one does.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import OptionError, ShapeError
from ..tape import Tensor

_RNG = np.random.default_rng(0)

Rng = np.random.Generator | None


def seed(n: int) -> None:
    """Starts the default generator over: networks built after it are the same every time."""
    global _RNG
    _RNG = np.random.default_rng(n)


def constant_(tensor: Tensor, value: float) -> Tensor:
    tensor.write(np.full(tensor.shape, value, tensor.dtype))
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Each element from U[low, high).

    >>> uniform_(Tensor([0.0, 0.0]), 3.0, 4.0, rng=np.random.default_rng(0)).numpy().round(2)
    array([3.64, 3.27], dtype=float32)
    """
    tensor.write((rng or _RNG).uniform(low, high, tensor.shape))
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None) -> Tensor:
    """Each element from N(mean, std**2)."""
    tensor.write((rng or _RNG).normal(mean, std, tensor.shape))
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """U[-a, a) with ``a = gain * sqrt(6 / (fan_in + fan_out))``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010.
    """
    a = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -a, a, rng=rng)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """N(0, std**2) with ``std = gain * sqrt(2 / (fan_in + fan_out))``."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), rng=rng)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
) -> Tensor:
    """U[-b, b) with ``b = gain * sqrt(3 / fan)``.

    Args:
        a: Negative slope of a leaky_relu.
        mode: "fan_in" keeps the variance going forward, "fan_out" going backward.
        nonlinearity: What follows the layer; see ``gain``.

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Rng = None,
) -> Tensor:
    """N(0, std**2) with ``std = gain / sqrt(fan)``; arguments as for kaiming_uniform_."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity), rng=rng)


def _kaiming(tensor, a, mode, nonlinearity):
    modes = dict(zip(("fan_in", "fan_out"), fans(tensor)))
    if mode not in modes:
        raise OptionError(f"kaiming: expected fan_in or fan_out; got {mode!r}.", "pick one.")
    return gain(nonlinearity, a) / math.sqrt(max(modes[mode], 1))  # 0: nothing is drawn


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    """By how much the standard deviation of weights grows for what follows, as in PyTorch.

    >>> gain("relu") == math.sqrt(2)
    True
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
        "selu": 3 / 4,
    }
    if nonlinearity not in gains:
        raise OptionError(
            f"gain: expected one of {', '.join(gains)}; got {nonlinearity!r}.",
            "pass the one most like it.",
        )
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Inputs per output and outputs per input of a weight (O, I, *kernel).

    >>> fans(Tensor(np.zeros((8, 3, 5, 5))))
    (75, 200)
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"fans: expected a weight (O, I, *kernel); got {tensor.shape}.",
            "use uniform_ or normal_ for vectors.",
        )
    cells = math.prod(tensor.shape[2:])
    return tensor.shape[1] * cells, tensor.shape[0] * cells
