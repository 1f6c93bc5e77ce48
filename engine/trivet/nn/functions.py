"""Modules without parameters around single ops, the losses among them; arguments are PyTorch's."""

from __future__ import annotations

from .. import ops
from ..ops.dropout import Generator
from ..tape import Tensor
from .module import Module


class Function(Module):
    """Calls one op with fixed options; a subclass names the op."""

    op: str

    def __init__(self, **options):
        self.options = options

    def forward(self, *inputs: Tensor) -> Tensor:
        return getattr(ops, self.op)(*inputs, **self.options)


class ReLU(Function):
    """``max(x, 0)``; see ops.relu."""

    op = "relu"


class LeakyReLU(Function):
    """``x if x > 0 else negative_slope * x``; see ops.leaky_relu."""

    op = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01):
        super().__init__(negative_slope=negative_slope)


class ELU(Function):
    """``x if x > 0 else alpha * (exp(x) - 1)``; see ops.elu."""

    op = "elu"

    def __init__(self, alpha: float = 1.0):
        super().__init__(alpha=alpha)


class GELU(Function):
    """x times the normal distribution's share below it; see ops.gelu."""

    op = "gelu"

    def __init__(self, approximate: str = "none"):
        super().__init__(approximate=approximate)


class SiLU(Function):
    """``x * sigmoid(x)``; see ops.silu."""

    op = "silu"


class Sigmoid(Function):
    """``1 / (1 + exp(-x))``; see ops.sigmoid."""

    op = "sigmoid"


class Tanh(Function):
    """Hyperbolic tangent; see ops.tanh."""

    op = "tanh"


class Softmax(Function):
    """Weights along an axis that add up to 1; see ops.softmax."""

    op = "softmax"

    def __init__(self, dim: int = -1):
        super().__init__(axis=dim)


class Flatten(Function):
    """Merges the axes from ``start_dim`` on: (N, ...) -> (N, M); see ops.flatten."""

    op = "flatten"

    def __init__(self, start_dim: int = 1):
        super().__init__(start=start_dim)


class Dropout(Module):
    """Zeroes elements at random in training, and nothing in evaluation; see ops.dropout.

    Args:
        p: Probability of a zero.
        generator: Where the random numbers come from; the default one of ops.dropout unless given.
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None):
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, training=self.training, generator=self.generator)


class _Loss(Function):
    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)


class CrossEntropyLoss(_Loss):
    """Of logits (N, K, ...) and class ids (N, ...); see ops.cross_entropy."""

    op = "cross_entropy"


class BCEWithLogitsLoss(_Loss):
    """Of log-odds and probabilities of one shape; see ops.binary_cross_entropy_with_logits."""

    op = "binary_cross_entropy_with_logits"


class MSELoss(_Loss):
    """Squared error; see ops.mse_loss."""

    op = "mse_loss"
