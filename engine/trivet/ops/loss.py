"""Losses. Each runs as one kernel, reduction included, and so does its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..config import is_recording
from ..errors import DtypeError, IdError, OptionError, ShapeError
from ..tape import Tensor, compute, record
from . import checks
from .arithmetic import add, mul, neg, sub
from .elementwise import tanh
from .embedding import one_hot
from .op import Sample, op
from .shape import broadcast_to, permute, unsqueeze
from .softmax import softmax

REDUCTIONS = ("mean", "sum", "none")


def _expect_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise OptionError(
            f"{name}: expected a reduction out of {', '.join(REDUCTIONS)}; got {reduction!r}.",
            "pass reduction='mean'.",
        )


def _share(gy: Tensor, shape: tuple[int, ...], reduction: str) -> Tensor:
    """What flows back to each of the values that were reduced, in recorded ops."""
    if reduction == "mean":
        gy = mul(gy, 1 / max(math.prod(shape), 1))
    return gy if reduction == "none" else broadcast_to(gy, shape)


def cross_entropy_samples(rng):
    logits, target = rng.standard_normal((4, 3)), np.array([2, 0, 1, 1])
    for reduction in REDUCTIONS:
        yield Sample((logits, target), dict(reduction=reduction), differentiable=(0,))
        images, ids = rng.standard_normal((2, 3, 2, 1)), rng.integers(0, 3, (2, 2, 1))
        yield Sample((images, ids.astype("int32")), dict(reduction=reduction), differentiable=(0,))
        yield Sample((logits[:0], target[:0]), dict(reduction=reduction), differentiable=(0,))
    yield Sample((logits[:, :1], 0 * target), differentiable=(0,))
    yield Sample((logits, target[:3]), error=(ShapeError, "ids (N, ...); got (4, 3) and (3,)"))
    yield Sample((logits[0], target[:3]), error=(ShapeError, "got (3,) and (3,)"))
    yield Sample((logits, target / 1.0), error=(DtypeError, "int32 or int64; got float64"))
    yield Sample((logits, target + 1), error=(IdError, "[0, 3); got 3 at position (0,)"))
    yield Sample((logits, target - 1), error=(IdError, "[0, 3); got -1 at position (1,)"))
    yield Sample((logits, target), dict(reduction="avg"), error=(OptionError, "got 'avg'"))


@op(cross_entropy_samples)
def cross_entropy(logits: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood of the target classes under softmax.

    ``loss[n] = -log(exp(logits[n, target[n]]) / sum_k exp(logits[n, k]))``

    Args:
        logits: Unnormalised log-probabilities.
        target: Class ids in [0, K), int32 or int64. No id is ignored, -100 included.
        reduction: "mean" over all ids (nan if there are none), "sum", or "none".

    Shapes: logits (N, K, ...), target (N, ...) -> (), or (N, ...) unreduced.

    Raises:
        ShapeError: Not one id per row of logits.
        IdError: An id outside [0, K).
        DtypeError: Ids that are not integers.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1])).numpy()
    array(0.6931472, dtype=float32)
    """
    checks.floats("cross_entropy", logits)
    checks.ids("cross_entropy", target)
    _expect_reduction("cross_entropy", reduction)
    if logits.ndim < 2 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ShapeError(
            "cross_entropy: expected logits (N, K, ...) and ids (N, ...); "
            f"got {logits.shape} and {target.shape}.",
            "put the classes on axis 1 and give one id per row.",
        )
    (loss,) = compute("cross_entropy", logits, target, geometry=reduction)

    def gradient(gy, needs, logits, target):
        if is_recording():
            hot = one_hot(target, logits.shape[1], logits.dtype)  # (N, ..., K)
            hot = permute(hot, (0, hot.ndim - 1, *range(1, hot.ndim - 1)))  # (N, K, ...)
            each = unsqueeze(_share(gy, target.shape, reduction), 1)  # (N, 1, ...)
            return mul(sub(softmax(logits, axis=1), hot), each), None
        return *compute("cross_entropy_grad", gy, logits, target, geometry=reduction), None

    return record(loss, (logits, target), saved=(logits, target), gradient=gradient)


def _pointwise(
    name: str,
    x: Tensor,
    target: Tensor,
    reduction: str,
    slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    """A loss of each pair of elements, reduced: kernels ``name`` and ``name_grad`` (by x).

    Args:
        slopes: The loss's derivatives by x and by target, in recorded ops: for a gradient that
            is to be differentiated again, or that the target asks for.
    """
    checks.floats(name, x, target)
    _expect_reduction(name, reduction)
    if x.shape != target.shape:
        raise ShapeError(
            f"{name}: expected two tensors of one shape; got {x.shape} and {target.shape}.",
            "reshape one of them, or repeat it with broadcast_to.",
        )
    (loss,) = compute(name, x, target, geometry=reduction)

    def gradient(gy, needs, x, target):
        if is_recording() or needs[1]:
            each = _share(gy, x.shape, reduction)
            pairs = zip(slopes(x, target), needs)
            return [mul(slope, each) if need else None for slope, need in pairs]
        return *compute(f"{name}_grad", gy, x, target, geometry=reduction), None

    return record(loss, (x, target), saved=(x, target), gradient=gradient, name=name)


def _pointwise_samples(rng):
    x, target = rng.standard_normal((3, 4)), rng.uniform(0.1, 0.9, (3, 4))
    for reduction in REDUCTIONS:
        yield Sample((x, target), dict(reduction=reduction), differentiable=(0, 1))
        yield Sample((x, target), dict(reduction=reduction), differentiable=(0,))
        yield Sample((x[:0], target[:0]), dict(reduction=reduction), differentiable=(0, 1))
    yield Sample((x[0, 0], target[0, 0]), error=(DtypeError, "a Tensor; got float64"))
    yield Sample((x, target[:, :1]), error=(ShapeError, "one shape; got (3, 4) and (3, 1)"))
    yield Sample((x, target.astype("float32")), error=(DtypeError, "got float32 and float64"))
    yield Sample((x, target), dict(reduction="avg"), error=(OptionError, "got 'avg'"))


@op(_pointwise_samples)
def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of yes or no under the logistic function, for large logits too.

    ``loss = -t log s(z) - (1 - t) log(1 - s(z)) = max(z, 0) - z t + log(1 + exp(-|z|))``

    Args:
        logits: Log-odds z.
        target: Floats, as a rule in [0, 1]: probabilities t of yes.
        reduction: "mean" over all elements (nan if there are none), "sum", or "none".

    Shapes: logits (any), target (the same) -> (), or that shape unreduced.

    Raises:
        ShapeError: The shapes differ; nothing is broadcast.
        DtypeError: Not floats of one dtype.

    >>> binary_cross_entropy_with_logits(Tensor([0.0]), Tensor([1.0])).numpy()
    array(0.6931472, dtype=float32)
    """

    def slopes(z, t):
        sigmoid = add(mul(tanh(mul(z, 0.5)), 0.5), 0.5)
        return sub(sigmoid, t), neg(z)

    return _pointwise("binary_cross_entropy_with_logits", logits, target, reduction, slopes)


@op(_pointwise_samples)
def mse_loss(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Squared error: ``loss = (x - target)^2``.

    Args, Raises: as for binary_cross_entropy_with_logits.

    Shapes: x (any), target (the same) -> (), or that shape unreduced.

    >>> mse_loss(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).numpy()
    array(2., dtype=float32)
    """

    def slopes(x, t):
        twice = mul(sub(x, t), 2.0)
        return twice, neg(twice)

    return _pointwise("mse_loss", x, target, reduction, slopes)


@op(_pointwise_samples)
def l1_loss(x: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Absolute error: ``loss = |x - target|``.

    Its derivative where x equals target counts as 0; where the difference is nan it is nan
    (PyTorch gives 0).

    Args, Raises: as for binary_cross_entropy_with_logits.

    Shapes: x (any), target (the same) -> (), or that shape unreduced.

    >>> l1_loss(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).numpy()
    array(1., dtype=float32)
    """

    def slopes(x, t):
        one = checks.full(x, 1.0)
        (sign,) = compute("l1_loss_grad", one, x, t, geometry="sum")  # flat: nothing to record
        return sign, neg(sign)

    return _pointwise("l1_loss", x, target, reduction, slopes)
