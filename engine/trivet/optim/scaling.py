"""Loss scaling, which keeps small float16 gradients from vanishing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import ops
from ..dtypes import HALF
from ..errors import OptionError
from ..tape import Tensor
from .optimizer import Optimizer


class LossScaler:
    """Multiplies the loss, divides the gradients, and skips steps whose gradients overflowed.

    Meant for float32 parameters that the forward pass converts with ``.to("float16")``: their
    gradients arrive in float32, where dividing loses nothing. The host reads one flag per step,
    so a step with it cannot be captured. A step may change the scale: where one backward serves
    two optimisers, unscale both before the first step.

    Args:
        scale: To start from; the default is the largest power of two in float16.
        growth, interval: The scale is multiplied by growth after that many good steps in a row.
        backoff: What the scale is multiplied by after an overflow.

    Source: Micikevicius et al., "Mixed precision training", 2018.

    >>> from trivet.optim import SGD
    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = SGD([w], 0.25), LossScaler()
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(optimizer), w.item()
    (True, 0.5)
    """

    def __init__(
        self,
        scale: float = 2.0**15,
        *,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
    ):
        self.value, self.growth, self.backoff = scale, growth, backoff
        self.interval, self.good_steps = interval, 0
        # of each optimiser since its last step: what was divided, and whether that overflowed
        self._divided: dict[Optimizer, tuple[list[Tensor], Tensor]] = {}

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times the scale, of a 16-bit loss in float32: call backward on this."""
        return (loss.to("float32") if loss.dtype in HALF else loss) * self.value

    def unscale(self, optimizer: Optimizer) -> None:
        """Divides the gradients, for clipping before the step.

        Raises:
            OptionError: They were divided already.
        """
        gradients = [p.grad for p in optimizer.parameters if p.grad is not None]
        before, _ = self._divided.get(optimizer, ([], None))
        if {id(g) for g in gradients} & {id(g) for g in before}:
            raise OptionError(
                "LossScaler.unscale: expected gradients as backward left them; got some that "
                "were divided already.",
                "call it once before each step; to skip a step, call optimizer.zero_grad().",
            )
        overflow = Tensor(np.array(False), device=optimizer.parameters[0].device)
        for g in gradients:
            ops.unscale_(g, overflow, scale=self.value)
        self._divided[optimizer] = gradients, overflow

    def step(self, optimizer: Optimizer) -> bool:
        """Divides unless that was done, steps if every gradient is finite, and adapts the scale.

        Returns:
            Whether the step was made.
        """
        if optimizer not in self._divided:
            self.unscale(optimizer)
        _, overflow = self._divided.pop(optimizer)
        if overflow.item():
            self.value, self.good_steps = self.value * self.backoff, 0
            return False
        optimizer.step()
        self.good_steps += 1
        if self.good_steps == self.interval:
            self.value, self.good_steps = self.value * self.growth, 0
        return True

    def state_dict(self) -> dict[str, float | int]:
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping) -> None:
        self.value, self.good_steps = float(state["value"]), int(state["good_steps"])
