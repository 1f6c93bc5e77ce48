"""Learning rates as functions of the number of steps (or epochs) done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .optimizer import Optimizer

Rate = Callable[[int], float]


def constant(rate: float) -> Rate:
    """The same rate always."""
    return lambda step: rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Rate:
    """``rate * factor ** (step // every)``

    >>> [step_decay(8.0, every=2, factor=0.5)(step) for step in range(5)]
    [8.0, 8.0, 4.0, 4.0, 2.0]
    """
    return lambda step: rate * factor ** (step // every)


def cosine(rate: float, steps: int, end: float = 0.0) -> Rate:
    """Half a cosine wave from rate to end, which it keeps after ``steps``.

    Source: Loshchilov and Hutter, "SGDR", 2017, without restarts.

    >>> [round(cosine(1.0, steps=4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    return lambda step: end + (rate - end) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def polynomial(rate: float, steps: int, power: float = 1.0, end: float = 0.0) -> Rate:
    """``end + (rate - end) * (1 - step / steps) ** power``; a straight line for power 1.

    >>> [polynomial(1.0, steps=4)(step) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return lambda step: end + (rate - end) * (1 - min(step / steps, 1)) ** power


def warmup(steps: int, then: Rate) -> Rate:
    """A straight line up to ``then(0)``, reached by the last of ``steps``; then ``then``.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> [warmup(4, then=constant(1.0))(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return lambda step: then(0) * (step + 1) / steps if step < steps else then(step - steps)


class Schedule:
    """Sets an optimiser's rate: to ``f(0)`` at once, then anew by every ``step``.

    Call ``step`` outside of a captured step, once per optimiser step or once per epoch.

    >>> from trivet import Tensor
    >>> from trivet.optim import SGD
    >>> optimizer = SGD([Tensor([1.0], requires_grad=True)], 1.0)
    >>> schedule = Schedule(optimizer, polynomial(1.0, steps=4))
    >>> schedule.step()
    >>> optimizer.rate
    0.75
    """

    def __init__(self, optimizer: Optimizer, f: Rate):
        self.optimizer, self.f, self.count = optimizer, f, 0
        optimizer.rate = f(0)

    def step(self) -> None:
        self.count += 1
        self.optimizer.rate = self.f(self.count)

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping) -> None:
        self.count = int(state["count"])
        self.optimizer.rate = self.f(self.count)
