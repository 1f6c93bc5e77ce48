"""Optimizer: what all update rules share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import GradientError, OptionError, ShapeError
from ..ops.update import state_dtype
from ..tape import Tensor


class Optimizer:
    """Parameters, their rate, and what the rule remembers about each.

    A subclass makes its state with ``remember`` and updates one parameter in ``update``.

    Args:
        parameters: Tensors with ``requires_grad``, each once: ``net.parameters()``.
        rate: Learning rate. ``optimizer.rate = 0.01`` writes the Tensor that kernels read.

    Raises:
        OptionError: No parameters, one twice, or a negative rate.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float):
        name, self.parameters = type(self).__name__, list(parameters)
        if not self.parameters or not all(isinstance(p, Tensor) for p in self.parameters):
            kinds = sorted({type(p).__name__ for p in self.parameters}) or "none"
            raise OptionError(
                f"{name}: expected parameters, at least one; got {kinds}.",
                "pass net.parameters().",
            )
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise OptionError(
                f"{name}: expected each parameter once; got one twice.",
                "pass net.parameters(), which names shared ones once.",
            )
        device = self.parameters[0].device
        self.state = {"rate": Tensor(np.float64(self._checked(rate)), device=device)}

    @property
    def rate(self) -> float:
        """The learning rate; reading it inside a captured step is refused, as any reading is."""
        return self.state["rate"].item()

    @rate.setter
    def rate(self, value: float) -> None:
        self.state["rate"].write(np.float64(self._checked(value)))

    def remember(self, name: str) -> list[Tensor]:
        """Zeros like each parameter, listed in ``state`` as "name.0", "name.1", ..."""
        made = [
            Tensor(np.zeros(p.shape, state_dtype(p.dtype)), device=p.device)
            for p in self.parameters
        ]
        self.state |= {f"{name}.{i}": t for i, t in enumerate(made)}
        return made

    def expect(self, least: float = 0.0, below: float = math.inf, **options: float) -> None:
        """Raises OptionError for an option outside [least, below), nan among them."""
        for name, value in options.items():
            if not least <= value < below:
                raise OptionError(
                    f"{type(self).__name__}: expected {name} in [{least:g}, {below:g}); got "
                    f"{value!r}.",
                    "compare it with the default.",
                )

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Updates every parameter that has a gradient.

        Raises:
            GradientError: None of them has.
        """
        places = tuple(i for i, p in enumerate(self.parameters) if p.grad is not None)
        if not places:
            raise GradientError(
                f"{type(self).__name__}.step: expected a gradient; got None for all "
                f"{len(self.parameters)} parameters.",
                "call loss.backward() before it, on a loss made from these parameters.",
            )
        self.begin(places)
        for i in places:
            self.update(i, self.parameters[i], self.parameters[i].grad)

    def begin(self, places: tuple[int, ...]) -> None:
        """Before the updates of the parameters at these places."""

    def update(self, i: int, weight: Tensor, g: Tensor) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the rate and all state, by name."""
        return {name: t.numpy() for name, t in self.state.items()}

    def load_state_dict(self, state: Mapping) -> None:
        """Writes the state in place; a captured step goes on with it.

        Raises:
            OptionError: Other names, so other options or another number of parameters.
            ShapeError: An array of another shape. Nothing has been written then.
        """
        if state.keys() != self.state.keys():
            different = sorted(state.keys() ^ self.state.keys())
            raise OptionError(
                f"{type(self).__name__}.load_state_dict: expected {len(self.state)} arrays; got "
                f"{len(state)}; only on one side: {', '.join(different[:6])}.",
                "make the optimiser with the same options, for the same network.",
            )
        for name, t in self.state.items():
            if np.shape(state[name]) != t.shape:
                raise ShapeError(
                    f"{type(self).__name__}.load_state_dict: expected {name} {t.shape}; "
                    f"got {np.shape(state[name])}.",
                    "make the optimiser for the same network.",
                )
        for name, t in self.state.items():
            t.write(state[name])

    def _checked(self, rate: float) -> float:
        if not rate >= 0:
            raise OptionError(
                f"{type(self).__name__}: expected a rate >= 0; got {rate!r}.",
                "pass a positive number, such as 1e-3.",
            )
        return rate
