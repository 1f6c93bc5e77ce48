"""What makes a function an op: an entry in OPS, with samples for the sweep over all ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..errors import GradientError


@dataclass(frozen=True)
class Sample:
    """One call that tests/engine/test_ops.py makes. Arrays become Tensors, the rest is passed on.

    Float arrays are float64; the sweep converts them to the dtype it is at.
    """

    args: tuple
    kwargs: dict = field(default_factory=dict)
    differentiable: tuple[int, ...] = ()  # positions in args
    error: tuple[type, str] | None = None  # expected exception and a part of its text
    tolerance: float = 1e-6  # of the gradient against central differences
    twice: bool = True  # has a second derivative
    narrow: bool = True  # makes sense in float32 and 16 bits too


OPS: dict[str, tuple[Callable, Callable[[np.random.Generator], Iterator[Sample]]]] = {}


def op(samples):
    """Lists the decorated function. A trailing underscore says that it writes its operands."""

    def register(function):
        OPS[function.__name__] = function, samples
        return function

    return register


def no_second_derivative(name: str):
    """The gradient of an op's gradient while nobody has written it: an error, not silent zeros."""

    def gradient(gy, needs, *saved):
        raise GradientError(
            f"Expected ops that can be differentiated twice; {name} has no second derivative yet.",
            "leave create_graph=False, or build the model from other ops.",
        )

    return gradient
