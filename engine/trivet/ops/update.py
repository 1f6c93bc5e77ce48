"""Updates of parameters and gradients, in place. Not differentiable; saved values notice them.

What changes from step to step is a Tensor (rate, step), so that a replay sees it; the rest is a
constant of the kernel. Rates are float64 whatever the parameter is. State is of the parameter's
dtype, but float32 for 16-bit parameters, whose squares would underflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..dtypes import HALF
from ..errors import DtypeError, OptionError, ShapeError
from ..launch import launch
from ..tape import Tensor, compute
from . import checks
from .op import Sample, op


@dataclass(frozen=True)
class Sgd:
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adam:
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False  # AdamW: the decay bypasses the moments


@dataclass(frozen=True)
class RmsProp:
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False


def state_dtype(dtype: str) -> str:
    """Of what an optimiser remembers about a parameter of this dtype."""
    return "float32" if dtype in HALF else dtype


def _check(name: str, weight: Tensor, g: Tensor, rate: Tensor, state: Sequence[Tensor]) -> None:
    """What all updates ask of their operands."""
    checks.floats(name, weight, g)
    if any(t.shape != weight.shape for t in (g, *state)) or rate.shape:
        raise ShapeError(
            f"{name}: expected a gradient and state of the weight's shape and a scalar rate; got "
            f"{weight.shape}, {g.shape}, {[t.shape for t in state]} and {rate.shape}.",
            "make the optimiser for these parameters.",
        )
    wanted = state_dtype(weight.dtype)
    if rate.dtype != "float64" or any(t.dtype != wanted for t in state):
        raise DtypeError(
            f"{name}: expected a rate of float64 and state of {wanted}; got {rate.dtype} and "
            f"{[t.dtype for t in state]}.",
            "make the optimiser after net.to(dtype).",
        )


def _update(name: str, geometry, *operands: Tensor) -> Tensor:
    """Launches the kernel, whose operands' dtypes differ on purpose; returns the first."""
    launch(name, *(t.buffer for t in operands), geometry=geometry)
    return operands[0]


def sgd_samples(rng):
    weight, g, velocity = rng.standard_normal((3, 2, 4))
    rate = np.array(0.1)
    yield Sample((weight, g, rate))
    yield Sample((weight, g, rate, velocity), dict(options=Sgd(0.9, True, 0.1)))
    yield Sample((weight, g[:1], rate), error=(ShapeError, "got (2, 4), (1, 4), [] and ()"))
    yield Sample(
        (weight, g, rate.astype("float32")), error=(DtypeError, "rate of float64 and state of")
    )


@op(sgd_samples)
def sgd_(
    weight: Tensor,
    g: Tensor,
    rate: Tensor,
    velocity: Tensor | None = None,
    *,
    options: Sgd = Sgd(),
) -> Tensor:
    """One step of gradient descent, in place.

    ``g += weight_decay * weight;  velocity = momentum * velocity + g;
    weight -= rate * (g + momentum * velocity if nesterov else velocity)``

    Args:
        weight: Written.
        rate: A float64 scalar.
        velocity: Written; None for momentum 0.

    Shapes: weight, g, velocity (any, the same), rate () -> weight.

    Raises:
        ShapeError, DtypeError: Operands that do not belong together.

    Source: Sutskever et al., "On the importance of initialization and momentum", 2013, with
        the rate outside the velocity as in PyTorch.

    >>> w, velocity, rate = Tensor([1.0]), Tensor([1.0]), Tensor(0.1, "float64")
    >>> sgd_(w, Tensor([2.0]), rate, velocity, options=Sgd(momentum=0.5)).numpy()
    array([0.75], dtype=float32)
    """
    state = [] if velocity is None else [velocity]
    _check("sgd_", weight, g, rate, state)
    return _update("sgd_", options, weight, g, rate, *state)


def adam_samples(rng):
    weight, mean, square, g = rng.standard_normal((4, 2, 4))
    rate, step = np.array(0.1), np.array(1)
    yield Sample((weight, mean, square**2, g, rate, step))
    yield Sample((weight, mean[:1], square, g, rate, step), error=(ShapeError, "[(1, 4), (2, 4)]"))
    yield Sample((weight, mean, rate, g, rate, step), error=(ShapeError, "[(2, 4), ()] and ()"))


@op(adam_samples)
def adam_(
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    g: Tensor,
    rate: Tensor,
    step: Tensor,
    *,
    options: Adam = Adam(),
) -> Tensor:
    """One step of Adam, in place; of AdamW if the weight decay is decoupled.

    ``m = b1 * m + (1 - b1) * g;  v = b2 * v + (1 - b2) * g**2;
    weight -= rate * (m / (1 - b1**step)) / (sqrt(v / (1 - b2**step)) + eps)``

    Args:
        weight, mean, square: Written.
        rate: A float64 scalar.
        step: An integer scalar, 1 at the first step.

    Shapes: weight, mean, square, g (any, the same), rate, step () -> weight.

    Raises:
        ShapeError, DtypeError: Operands that do not belong together.

    Source: Kingma and Ba, "Adam", 2015, algorithm 1; Loshchilov and Hutter, "Decoupled weight
        decay regularization", 2019. eps is added after the bias correction, as in PyTorch.

    >>> w, m, v = (Tensor([x]) for x in (1.0, 0.0, 0.0))
    >>> adam_(w, m, v, Tensor([2.0]), Tensor(0.1, "float64"), Tensor(1)).numpy().round(6)
    array([0.9], dtype=float32)
    """
    checks.ids("adam_", step)
    _check("adam_", weight, g, rate, [mean, square])
    return _update("adam_", options, weight, mean, square, g, rate, step)


def rmsprop_samples(rng):
    weight, square, g, mean = rng.standard_normal((4, 2, 4))
    rate = np.array(0.1)
    yield Sample((weight, square**2, g, rate))
    yield Sample(
        (weight, square, g, rate, None, mean),
        error=(OptionError, "got no and a for False and 0.0"),
    )


@op(rmsprop_samples)
def rmsprop_(
    weight: Tensor,
    square: Tensor,
    g: Tensor,
    rate: Tensor,
    mean: Tensor | None = None,
    velocity: Tensor | None = None,
    *,
    options: RmsProp = RmsProp(),
) -> Tensor:
    """One step of RMSprop, in place.

    ``v = alpha * v + (1 - alpha) * g**2;  weight -= rate * g / (sqrt(v) + eps)``; centered
    subtracts the square of the mean gradient from v, momentum lets the change run on.

    Args:
        weight, square, mean, velocity: Written.
        rate: A float64 scalar.
        mean: Given exactly if centered.
        velocity: Given exactly if there is momentum.

    Shapes: weight and its state (any, the same), rate () -> weight.

    Raises:
        OptionError: State that the options do not ask for, or the reverse.
        ShapeError, DtypeError: Operands that do not belong together.

    Source: Hinton, lecture 6e, 2012; Graves, "Generating sequences with recurrent neural
        networks", 2013 (centered); eps outside the root, as in PyTorch.

    >>> w, square, rate = Tensor([1.0]), Tensor([0.0]), Tensor(0.1, "float64")
    >>> rmsprop_(w, square, Tensor([2.0]), rate, options=RmsProp(alpha=0.75)).numpy()
    array([0.8], dtype=float32)
    """
    given = mean is not None, velocity is not None
    if given != (options.centered, bool(options.momentum)):
        raise OptionError(
            "rmsprop_: expected a mean exactly if centered and a velocity exactly if there is "
            f"momentum; got {' and '.join('a' if x else 'no' for x in given)} for "
            f"{options.centered} and {options.momentum}.",
            "pass the state that the options need.",
        )
    state = [t for t in (mean, velocity) if t is not None]
    _check("rmsprop_", weight, g, rate, [square, *state])
    return _update("rmsprop_", options, weight, square, g, rate, *state)


def count_samples(rng):
    yield Sample((np.zeros(3, "int64"), (0, 2)))
    yield Sample((np.zeros(3), (0,)), error=(DtypeError, "int32 or int64; got float64"))


@op(count_samples)
def count_(steps: Tensor, places: tuple[int, ...]) -> Tensor:
    """Adds one to some elements of a vector of integers, in place.

    Shapes: steps (N,) -> the same.

    Raises:
        DtypeError: No integers.

    >>> count_(Tensor([0, 0, 5]), (0, 2)).numpy()
    array([1, 0, 6])
    """
    checks.ids("count_", steps)
    compute("count_", steps, geometry=tuple(places))
    return steps


def global_norm_samples(rng):
    yield Sample(([rng.standard_normal(s) for s in [(2, 3), (), (0, 4)]],), narrow=False)
    yield Sample(([],), error=(ShapeError, "at least one tensor"))


@op(global_norm_samples)
def global_norm(xs: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all elements of all tensors together; not differentiable.

    The sum is taken in float64. The norm of 16-bit tensors is a float32.

    Shapes: xs (any) each -> ().

    Raises:
        ShapeError: No tensors.

    >>> global_norm([Tensor([3.0]), Tensor([[4.0]])]).item()
    5.0
    """
    if not xs:
        raise ShapeError("global_norm: expected at least one tensor; got none.", "pass some.")
    checks.floats("global_norm", *xs)
    return compute("global_norm", *xs)[0]


def clip_norm_samples(rng):
    yield Sample((rng.standard_normal((2, 3)), np.array(2.0)), dict(largest=1.0))
    yield Sample(
        (rng.standard_normal(2), np.array([2.0])), dict(largest=1.0),
        error=(ShapeError, "a scalar norm; got (1,)"),
    )  # fmt: skip


@op(clip_norm_samples)
def clip_norm_(g: Tensor, norm: Tensor, *, largest: float) -> Tensor:
    """Scales a gradient in place: ``g *= min(1, largest / (norm + 1e-6))``.

    Shapes: g (any), norm () -> g.

    Raises:
        ShapeError: The norm is not one number.

    Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013;
        the 1e-6 is PyTorch's.

    >>> clip_norm_(Tensor([3.0, 4.0]), Tensor(5.0), largest=1.0).numpy().round(3)
    array([0.6, 0.8], dtype=float32)
    """
    checks.floats("clip_norm_", g)
    if norm.shape:
        raise ShapeError(f"clip_norm_: expected a scalar norm; got {norm.shape}.", "sum it.")
    return _update("clip_norm_", largest, g, norm)  # 16-bit g, float32 norm


def clip_value_samples(rng):
    yield Sample((rng.standard_normal((2, 3)),), dict(largest=0.5))
    yield Sample((np.arange(2),), dict(largest=0.5), error=(DtypeError, "float tensor; got int64"))


@op(clip_value_samples)
def clip_value_(g: Tensor, *, largest: float) -> Tensor:
    """Cuts a gradient to [-largest, largest], in place.

    Shapes: g (any) -> the same.

    Raises:
        DtypeError: Not floats.

    >>> clip_value_(Tensor([-3.0, 0.5]), largest=1.0).numpy()
    array([-1. ,  0.5], dtype=float32)
    """
    checks.floats("clip_value_", g)
    compute("clip_value_", g, geometry=largest)
    return g


def unscale_samples(rng):
    yield Sample((rng.standard_normal((2, 3)), np.array(False)), dict(scale=2.0))
    yield Sample(
        (rng.standard_normal(2), np.array(0)), dict(scale=2.0),
        error=(DtypeError, "a bool scalar; got int64 ()"),
    )  # fmt: skip


@op(unscale_samples)
def unscale_(g: Tensor, overflow: Tensor, *, scale: float) -> Tensor:
    """Divides a gradient by the scale of the loss, in place, and notes inf and nan.

    Args:
        g: Written.
        overflow: Written: set where an element of g is not finite, else left alone.

    Shapes: g (any), overflow () -> g.

    Raises:
        DtypeError: g holds no floats, or overflow is no bool scalar.

    >>> overflow = Tensor(False)
    >>> unscale_(Tensor([8.0, float("inf")]), overflow, scale=4.0).numpy(), overflow.item()
    (array([ 2., inf], dtype=float32), True)
    """
    checks.floats("unscale_", g)
    if (overflow.dtype, overflow.shape) != ("bool", ()):
        raise DtypeError(
            f"unscale_: expected overflow as a bool scalar; got {overflow.dtype} {overflow.shape}.",
            "make it with Tensor(False).",
        )
    compute("unscale_", g, overflow, geometry=scale)
    return g
