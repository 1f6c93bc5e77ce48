"""Initial values of whole networks, where a layer's own are not what the network starts from."""

from __future__ import annotations

from typing import TypeVar

from .. import nn
from ..nn import init

Net = TypeVar("Net", bound=nn.Module)


def he(net: Net, *, mode: str = "fan_out") -> Net:
    """Convolutions N(0, 2 / fan) for the ReLUs behind them, their biases zero.

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    for module in net.named_modules().values():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            no_bias(module)
    return net


def small(module: Net) -> Net:
    """The last layers: N(0, 0.01**2), biases zero, so that no class is preferred at first."""
    for layer in module.named_modules().values():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            init.normal_(layer.weight, 0.0, 0.01)
            no_bias(layer)
    return module


def glorot(net: Net) -> Net:
    """What the suite starts from: matrices and windows Glorot uniform, all biases zero.

    Batch normalisation keeps its 1 and 0, the only vectors that are called weight.
    """
    for name, parameter in net.named_parameters().items():
        if parameter.ndim > 1:
            init.xavier_uniform_(parameter)
        elif not name.endswith("weight"):
            init.zeros_(parameter)
    return net


def no_bias(layer) -> None:
    if layer.bias is not None:
        init.zeros_(layer.bias)
