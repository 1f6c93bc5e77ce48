"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .. import ops
from ..ops.update import Adam as Options
from ..tape import Tensor
from .optimizer import Optimizer


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square; see ops.adam_.

    Each parameter counts its own steps, so that one that gets its first gradient late is
    corrected for as many as it had.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([w], 0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 6)
    0.5
    """

    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, rate)
        self.expect(eps=eps, weight_decay=weight_decay)
        self.expect(below=1.0, beta1=betas[0], beta2=betas[1])
        self.options = Options(tuple(betas), eps, weight_decay, self.decoupled)
        self.means, self.squares = self.remember("mean"), self.remember("square")
        self.steps = Tensor(np.zeros(len(self.parameters), "int64"), device=self.means[0].device)
        self.state["steps"] = self.steps

    def begin(self, places):
        ops.count_(self.steps, places)

    def update(self, i, weight, g):
        mean, square, rate = self.means[i], self.squares[i], self.state["rate"]
        ops.adam_(weight, mean, square, g, rate, self.steps[i], options=self.options)


class AdamW(Adam):
    """Adam whose weight decay bypasses the moments."""

    decoupled = True

    def __init__(self, parameters, rate=1e-3, *, weight_decay: float = 1e-2, **options):
        super().__init__(parameters, rate, weight_decay=weight_decay, **options)
