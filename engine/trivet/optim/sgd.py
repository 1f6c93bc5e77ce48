"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

from .. import ops
from ..errors import OptionError
from ..ops.update import Sgd
from ..tape import Tensor
from .optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent with momentum, Nesterov's too, and L2 decay; see ops.sgd_.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], 0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.5
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, rate)
        self.expect(momentum=momentum, weight_decay=weight_decay)
        if nesterov and not momentum:
            raise OptionError(
                f"SGD: expected momentum > 0 with nesterov; got {momentum}.",
                "pass momentum=0.9.",
            )
        self.options = Sgd(momentum, nesterov, weight_decay)
        self.velocities = self.remember("velocity") if momentum else [None] * len(self.parameters)

    def update(self, i, weight, g):
        ops.sgd_(weight, g, self.state["rate"], self.velocities[i], options=self.options)
