"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable

from .. import ops
from ..ops.update import RmsProp
from ..tape import Tensor
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """Steps scaled by a running mean of the squared gradient; see ops.rmsprop_.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([w], 0.05)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 3)
    0.5
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        super().__init__(parameters, rate)
        self.expect(alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        self.options = RmsProp(alpha, eps, weight_decay, momentum, centered)
        none = [None] * len(self.parameters)
        self.squares = self.remember("square")
        self.means = self.remember("mean") if centered else none
        self.velocities = self.remember("velocity") if momentum else none

    def update(self, i, weight, g):
        square, mean, velocity = self.squares[i], self.means[i], self.velocities[i]
        ops.rmsprop_(weight, square, g, self.state["rate"], mean, velocity, options=self.options)
