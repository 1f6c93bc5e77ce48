"""Normalisation: over the batch, a layer, groups of channels, and neighbouring channels.

Batch, layer and group norm are one computation on different blocks of x. With x seen as blocks,

    normal = (x - mean) * inv_std,  inv_std = 1 / sqrt(variance + eps),  y = normal * weight + bias

where mean and the biased variance are taken over the blocks' ``axes``, in two passes: the mean
first, then the squares of what is left, for a difference of two large sums would cancel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..config import is_recording
from ..dtypes import HALF
from ..errors import DtypeError, OptionError, ShapeError
from ..launch import launch
from ..tape import Tensor, compute, record, records
from . import checks
from .arithmetic import add, div, mul, sub
from .assemble import pad
from .elementwise import pow, sqrt
from .op import Sample, op
from .reduce import kept_shape
from .shape import index, reshape, sum_to


class Blocks(NamedTuple):
    """Geometry of a normalisation."""

    shape: tuple[int, ...]  # of x, seen as blocks
    axes: tuple[int, ...]  # of that shape, over which mean and variance are taken
    affine: tuple[int, ...]  # shape of weight and bias among the blocks
    eps: float


def _launch(name: str, *tensors: Tensor, geometry) -> list[Tensor]:
    """As compute, but statistics of 16-bit tensors are float32 and travel beside them."""
    return [Tensor(b) for b in launch(name, *(t.buffer for t in tensors), geometry=geometry)]


def _normalised(name: str, x: Tensor, weight: Tensor, bias: Tensor, blocks: Blocks):
    """y, and the mean and inv_std of each block, by the kernel of that name."""
    y, mean, inv_std = _launch(name, x, weight, bias, geometry=blocks)

    def gradient(gy, needs, x, weight, mean, inv_std):
        if is_recording():
            return _recorded_gradient(gy, x, weight, blocks)
        return _launch(f"{name}_grad", gy, x, weight, mean, inv_std, geometry=blocks)

    record(y, (x, weight, bias), saved=(x, weight, mean, inv_std), gradient=gradient, name=name)
    return y, mean, inv_std


def _recorded_gradient(gy: Tensor, x: Tensor, weight: Tensor, blocks: Blocks):
    """The same as the fused kernel, in ops that can be differentiated again.

    ``gx = inv_std * (g - mean(g) - normal * mean(g * normal))`` with ``g = gy * weight``.
    """
    block = kept_shape(blocks.shape, blocks.axes)
    part = math.prod(block) / max(x.size, 1)

    def mean(t):
        return mul(sum_to(t, block), part)

    shape, per_weight = x.shape, weight.shape
    x, gy = reshape(x, blocks.shape), reshape(gy, blocks.shape)
    centred = sub(x, mean(x))
    inv_std = div(1.0, sqrt(add(mean(mul(centred, centred)), blocks.eps)))
    normal = mul(centred, inv_std)
    g = mul(gy, reshape(weight, blocks.affine))
    gx = mul(inv_std, sub(sub(g, mean(g)), mul(normal, mean(mul(g, normal)))))
    gweight, gbias = sum_to(mul(gy, normal), blocks.affine), sum_to(gy, blocks.affine)
    return reshape(gx, shape), reshape(gweight, per_weight), reshape(gbias, per_weight)


def _expect(name: str, x: Tensor, shape: tuple[int, ...], **given: Tensor | None) -> None:
    """One number per channel, or per element of a row, in each of what is given."""
    for what, t in given.items():
        if t is not None and t.shape != shape:
            raise ShapeError(
                f"{name}: expected {what} {shape} for x {x.shape}; got {t.shape}.",
                "build the layer for as many channels or elements as x has.",
            )


def _affine(name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, shape):
    """Weight and bias, checked; ones and zeros for those that are not there."""
    checks.floats(name, x, *(t for t in (weight, bias) if t is not None))
    _expect(name, x, shape, weight=weight, bias=bias)
    weight = checks.full(x, 1.0, shape) if weight is None else weight
    return weight, checks.full(x, 0.0, shape) if bias is None else bias


def _channels(name: str, x: Tensor) -> int:
    checks.floats(name, x)
    if x.ndim < 2:
        raise ShapeError(
            f"{name}: expected x (N, C, ...); got {x.shape}.",
            "give it a batch axis and a channel axis.",
        )
    return x.shape[1]


def batch_norm_samples(rng):
    normal = rng.standard_normal
    weight, bias, var = normal(3), normal(3), rng.uniform(0.5, 2, 3)
    training = dict(training=True)
    for shape in [(4, 3), (2, 3, 4), (2, 3, 2, 3)]:
        yield Sample((normal(shape), weight, bias), training, differentiable=(0, 1, 2))
    yield Sample((normal((4, 3)),), dict(training=True, eps=0.1), differentiable=(0,))
    yield Sample((normal((4, 3)), None, bias), training, differentiable=(0, 2))
    yield Sample((normal((0, 3, 2)), weight, bias), training, differentiable=(0, 1, 2))
    for shape in [(4, 3, 2), (1, 3), (0, 3, 2)]:
        args = normal(shape), weight, bias, bias, var
        yield Sample(args, dict(training=False), differentiable=(0, 1, 2))
    yield Sample((normal(3),), training, error=(ShapeError, "expected x (N, C, ...); got (3,)"))
    yield Sample((normal((4, 2)), weight), training, error=(ShapeError, "weight (2,) for x (4, 2)"))
    yield Sample((normal((1, 3, 1)),), training, error=(ShapeError, "more than one value per"))
    missing = OptionError, "running_mean and running_var, both or"
    yield Sample((normal((4, 3)),), dict(training=False), error=missing)
    yield Sample((normal((4, 3)), weight, bias, bias), training, error=missing)
    wrong = normal((4, 3)), None, None, bias, var.astype("float32")
    yield Sample(wrong, training, error=(DtypeError, "running_var of float64; got float32"))


@op(batch_norm_samples)
def batch_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Brings each channel to mean 0 and variance 1 over the batch, then scales and shifts it.

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias`` with the batch's own mean and biased
    variance in training, the running ones in evaluation. Training updates those in place,
    ``running <- (1 - momentum) * running + momentum * batch``, where the variance of the batch is
    the unbiased one. An empty batch leaves them as they are.

    Args:
        running_mean, running_var: Both or neither; of x's dtype, or float32 beside 16-bit x.

    Shapes: x (N, C, ...) -> the same; everything else (C,).

    Raises:
        ShapeError: Not one number per channel, or a single value per channel in training.
        OptionError: No running statistics in evaluation, or one without the other.

    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015; momentum is PyTorch's, which is
        1 - momentum of Keras and of the paper's moving average.

    >>> batch_norm(Tensor([[1.0], [3.0]]), training=True, eps=0.0).numpy()
    array([[-1.],
           [ 1.]], dtype=float32)
    """
    channels = _channels("batch_norm", x)
    weight, bias = _affine("batch_norm", x, weight, bias, (channels,))
    _expect_running(x, running_mean, running_var, training)
    shape = x.shape[0], channels, math.prod(x.shape[2:])
    blocks = Blocks(shape, (0, 2), (1, channels, 1), eps)
    if not training:
        return _inference(x, weight, bias, running_mean, running_var, blocks)
    count = x.size // max(channels, 1)
    if count == 1:
        raise ShapeError(
            f"batch_norm: expected more than one value per channel in training; got x {x.shape}.",
            "use a larger batch, or training=False.",
        )
    y, mean, inv_std = _normalised("batch_norm", x, weight, bias, blocks)
    if running_mean is not None and count:
        operands = running_mean, running_var, mean, inv_std
        _launch("batch_norm_update", *operands, geometry=(count, momentum, eps))
    return y


def _expect_running(x, mean, var, training):
    given = [t for t in (mean, var) if t is not None]
    if len(given) == 1 or not (given or training):
        raise OptionError(
            "batch_norm: expected running_mean and running_var, both or, in training only, "
            f"neither; got {mean} and {var} with training={training}.",
            "keep both as buffers of the layer, or pass training=True.",
        )
    _expect("batch_norm", x, x.shape[1:2], running_mean=mean, running_var=var)
    allowed = (x.dtype, "float32") if x.dtype in HALF else (x.dtype,)
    for what, t in zip(("running_mean", "running_var"), given):
        if t.dtype not in allowed:
            raise DtypeError(
                f"batch_norm: expected {what} of {' or '.join(allowed)}; got {t.dtype}.",
                "convert it with .to(dtype).",
            )


def _inference(x, weight, bias, mean, var, blocks) -> Tensor:
    """With mean and variance given this is linear in x, and its own gradient."""
    (y,) = _launch("batch_norm_inference", x, weight, bias, mean, var, geometry=blocks)

    def gradient(gy, needs, x, weight, mean, var):
        zero, one = (checks.full(weight, value, weight.shape) for value in (0.0, 1.0))
        no_mean, gx, gweight = checks.full(mean, 0.0, mean.shape), None, None
        if needs[0]:
            gx = _inference(gy, weight, zero, no_mean, var, blocks)
        if needs[1]:
            normal = _inference(x, one, zero, mean, var, blocks)
            gweight = _per_channel(mul(gy, normal), blocks)
        return gx, gweight, _per_channel(gy, blocks) if needs[2] else None

    saved = x, weight, mean, var
    return record(y, (x, weight, bias), saved=saved, gradient=gradient, name="batch_norm")


def _per_channel(t: Tensor, blocks: Blocks) -> Tensor:
    return reshape(sum_to(reshape(t, blocks.shape), blocks.affine), (blocks.shape[1],))


def layer_norm_samples(rng):
    normal = rng.standard_normal
    yield Sample((normal((4, 3)), normal(3), normal(3)), differentiable=(0, 1, 2))
    yield Sample((normal((2, 2, 3)),), differentiable=(0,))
    args = normal((3, 2, 4)), normal((2, 4)), normal((2, 4))
    yield Sample(args, dict(axes=2, eps=0.1), differentiable=(0, 1, 2))
    yield Sample((normal((3, 1)), normal(1)), differentiable=(0, 1))
    yield Sample((normal((0, 3)), normal(3), normal(3)), differentiable=(0, 1, 2))
    yield Sample((normal((4, 3)), normal(4)), error=(ShapeError, "weight (3,) for x (4, 3)"))
    yield Sample((normal(3),), dict(axes=2), error=(OptionError, "axes in [1, 1]; got 2"))


@op(layer_norm_samples)
def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    axes: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """Brings each row to mean 0 and variance 1 (biased), then scales and shifts its elements.

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias``.

    Args:
        axes: How many trailing axes make up a row.

    Shapes: x (..., *row) -> the same; weight and bias (*row).

    Raises:
        ShapeError: Not one weight and bias per element of a row.
        OptionError: More axes than x has.

    Source: Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450 (2016).

    >>> layer_norm(Tensor([[1.0, 3.0], [5.0, 5.0]]), eps=0.0001).numpy().round(3)
    array([[-1.,  1.],
           [ 0.,  0.]], dtype=float32)
    """
    checks.floats("layer_norm", x)
    if not isinstance(axes, int) or not 1 <= axes <= x.ndim:
        raise OptionError(
            f"layer_norm: expected a number of trailing axes in [1, {x.ndim}]; got {axes!r}.",
            "axes=1 normalises over the last axis.",
        )
    row = x.shape[-axes:]
    weight, bias = _affine("layer_norm", x, weight, bias, row)
    rows, elements = math.prod(x.shape[:-axes]), math.prod(row)
    blocks = Blocks((rows, elements), (1,), (1, elements), eps)
    return _normalised("layer_norm", x, weight, bias, blocks)[0]


def group_norm_samples(rng):
    normal = rng.standard_normal
    for shape, groups in [((2, 4, 3), 2), ((2, 4), 1), ((1, 2, 2, 3), 2), ((0, 4, 3), 2)]:
        args = normal(shape), groups, normal(shape[1]), normal(shape[1])
        yield Sample(args, differentiable=(0, 2, 3))
    yield Sample((normal((2, 4, 3)), 4), dict(eps=0.1), differentiable=(0,))
    x = normal((2, 4, 3))
    yield Sample((x, 3), error=(OptionError, "groups that divide 4 channels; got 3"))
    yield Sample((x, 2, normal(2)), error=(ShapeError, "weight (4,) for x (2, 4, 3); got (2,)"))


@op(group_norm_samples)
def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
) -> Tensor:
    """Brings each group of channels of each image to mean 0 and variance 1 (biased).

    ``y = (x - mean) / sqrt(variance + eps) * weight + bias``; groups = C is instance norm.

    Shapes: x (N, C, ...) -> the same; weight and bias (C,).

    Raises:
        ShapeError: Not one weight and bias per channel.
        OptionError: The channels do not divide into the groups.

    Source: Wu and He, "Group normalization", ECCV 2018.

    >>> group_norm(Tensor([[1.0, 3.0, 2.0, 6.0]]), 2, eps=0.0).numpy()
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    channels = _channels("group_norm", x)
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise OptionError(
            f"group_norm: expected groups that divide {channels} channels; got {groups!r}.",
            "choose a divisor of the channels.",
        )
    weight, bias = _affine("group_norm", x, weight, bias, (channels,))
    members = channels // groups
    shape = (x.shape[0], groups, members, math.prod(x.shape[2:]))
    blocks = Blocks(shape, (2, 3), (1, groups, members, 1), eps)
    return _normalised("group_norm", x, weight, bias, blocks)[0]


def local_response_norm_samples(rng):
    x = rng.standard_normal((2, 5, 3))
    for size in (1, 3, 4, 12):
        yield Sample((x, size), dict(alpha=0.5), differentiable=(0,))
    yield Sample((x[:, :1], 5), dict(alpha=2.0, beta=0.5, k=2.0), differentiable=(0,))
    yield Sample((x[:0], 5), differentiable=(0,))
    yield Sample((x[0, 0], 5), error=(ShapeError, "expected x (N, C, ...); got (3,)"))
    yield Sample((x, 0), error=(OptionError, "at least one channel; got 0"))


@op(local_response_norm_samples)
def local_response_norm(
    x: Tensor, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divides each value by the strength of its neighbours in ``size`` channels.

    ``y = x * scale ** -beta``, ``scale = k + alpha / size * (sum of x**2 over the window)``. The
    window of channel c is c - size // 2 ... c + (size - 1) // 2, zeros outside.

    Args:
        size: Channels of the window.
        alpha: PyTorch's and ONNX's, of the window's mean square. The AlexNet paper weighs the
            sum: its alpha is alpha / size here, so its 1e-4 over 5 channels is alpha=5e-4 (k=2).

    Shapes: x (N, C, ...) -> the same.

    Raises:
        OptionError: A window without channels.

    Source: Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.3; windows as in PyTorch.

    >>> local_response_norm(Tensor([[1.0, 2.0]]), 1, alpha=1.0, beta=1.0).numpy()
    array([[0.5, 0.4]], dtype=float32)
    """
    _channels("local_response_norm", x)
    if not isinstance(size, int) or size < 1:
        raise OptionError(
            f"local_response_norm: expected a window of at least one channel; got {size!r}.",
            "choose an odd size, 5 in AlexNet.",
        )
    name, geometry = "local_response_norm", (size, alpha, beta, k)
    y, *kept = compute(name, x, geometry=geometry, auxiliaries=records(x))

    def gradient(gy, needs, x, *kept):
        if is_recording():
            return (_recorded_lrn_gradient(gy, x, *geometry),)
        partner = kept[0] if kept else None
        return compute(f"{name}_grad", gy, x, *kept, geometry=geometry, partner=partner)

    return record(y, (x,), saved=(x, *kept), gradient=gradient)


def _recorded_lrn_gradient(gy, x, size, alpha, beta, k):
    """``gx = gy * scale**-beta - 2 * alpha * beta / size * x * sum(gy * x * scale**(-beta - 1))``.

    The sum goes over the outputs whose window holds the channel: the window turned round.
    """
    before, after = size // 2, (size - 1) // 2
    scale = add(mul(_window_sum(mul(x, x), before, after), alpha / size), k)
    power = pow(scale, -beta)
    spread = _window_sum(mul(mul(gy, x), div(power, scale)), after, before)
    return sub(mul(gy, power), mul(mul(x, spread), 2 * alpha * beta / size))


def _window_sum(x: Tensor, before: int, after: int) -> Tensor:
    if not x.size:
        return x
    channels = x.shape[1]
    x = pad(x, [(before, after) if axis == 1 else (0, 0) for axis in range(x.ndim)])
    total = index(x, (slice(None), slice(0, channels)))
    for first in range(1, before + after + 1):
        total = add(total, index(x, (slice(None), slice(first, first + channels))))
    return total
