"""The non-linearities of networks, element by element."""

from __future__ import annotations

import math

from ..errors import OptionError
from ..tape import Tensor
from .arithmetic import add, mul, neg, sub
from .comparison import where
from .elementwise import exp, kink_samples, smooth_samples, tanh, unary
from .op import Sample, op


@op(kink_samples)
def relu(x: Tensor) -> Tensor:
    """Rectifier: ``y = max(x, 0)``; its derivative at 0 counts as 0.

    Shapes: x (any) -> the same.

    >>> relu(Tensor([-1.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
    """
    return unary("relu", x, saves="y")


def _leaky_samples(rng):
    for sample in kink_samples(rng):
        yield sample
        yield Sample(sample.args, dict(negative_slope=-0.5), differentiable=(0,))


@op(_leaky_samples)
def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """Leaky rectifier: ``y = x if x > 0 else negative_slope * x``.

    Its derivative at 0 counts as negative_slope.

    Shapes: x (any) -> the same.

    >>> leaky_relu(Tensor([-1.0, 2.0]), negative_slope=0.5).numpy()
    array([-0.5,  2. ], dtype=float32)
    """
    return unary("leaky_relu", x, saves="x", options=(float(negative_slope),))


def _elu_samples(rng):
    for sample in kink_samples(rng):
        yield sample
        yield Sample(sample.args, dict(alpha=0.3), differentiable=(0,))


@op(_elu_samples)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Exponential linear unit: ``y = x if x > 0 else alpha * (exp(x) - 1)``.

    Its derivative at 0 counts as alpha.

    Shapes: x (any) -> the same.

    Source: Clevert, Unterthiner, Hochreiter, arXiv 1511.07289.

    >>> elu(Tensor([0.0, 2.0])).numpy()
    array([0., 2.], dtype=float32)
    """
    alpha = float(alpha)

    def curvature(x):
        left = where(x > 0, 0.0, x)  # exp of the rest could be inf
        return where(x > 0, 0.0, mul(exp(left), alpha))

    return unary("elu", x, saves="x", curvature=curvature, options=(alpha,))


@op(smooth_samples)
def sigmoid(x: Tensor) -> Tensor:
    """Logistic function: ``y = 1 / (1 + exp(-x))``, without overflow.

    Shapes: x (any) -> the same.

    >>> sigmoid(Tensor([0.0])).numpy()
    array([0.5], dtype=float32)
    """
    return unary("sigmoid", x, saves="y", curvature=lambda y: sub(1.0, mul(y, 2.0)))


@op(smooth_samples)
def softplus(x: Tensor) -> Tensor:
    """Smooth rectifier: ``y = log(1 + exp(x))``, without overflow and exact in the tails.

    Shapes: x (any) -> the same.

    >>> softplus(Tensor([0.0])).numpy()
    array([0.6931472], dtype=float32)
    """

    def curvature(x):
        s = sigmoid(x)
        return mul(s, sub(1.0, s))

    return unary("softplus", x, saves="x", curvature=curvature)


@op(smooth_samples)
def silu(x: Tensor) -> Tensor:
    """Sigmoid-weighted linear unit, also called swish: ``y = x * sigmoid(x)``.

    Shapes: x (any) -> the same.

    Source: Elfwing, Uchibe, Doya, arXiv 1702.03118.

    >>> silu(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """

    def curvature(x):
        s = sigmoid(x)
        return mul(mul(s, sub(1.0, s)), add(2.0, mul(x, sub(1.0, mul(s, 2.0)))))

    return unary("silu", x, saves="x", curvature=curvature)


def _gelu_samples(rng):
    for sample in smooth_samples(rng):
        yield sample
        yield Sample(sample.args, dict(approximate="tanh"), sample.differentiable, sample.error)
    x = rng.standard_normal(3)
    error = OptionError, "'none' or 'tanh'; got 'erf'"
    yield Sample((x,), dict(approximate="erf"), error=error)


@op(_gelu_samples)
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit: ``y = x * (1 + erf(x / sqrt(2))) / 2``.

    Args:
        approximate: "tanh": ``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))`` instead.

    Shapes: x (any) -> the same.

    Raises:
        OptionError: approximate is neither "none" nor "tanh".

    Source: Hendrycks, Gimpel, arXiv 1606.08415.

    >>> gelu(Tensor([0.0])).numpy()
    array([0.], dtype=float32)
    """
    bends = {"none": _gelu_curvature, "tanh": _tanh_gelu_curvature}
    if approximate not in bends:
        raise OptionError(
            f"gelu: expected approximate='none' or 'tanh'; got {approximate!r}.", "pick one."
        )
    return unary("gelu", x, saves="x", curvature=bends[approximate], options=(approximate,))


def _gelu_curvature(x):
    """The normal density times ``2 - x**2``."""
    square = mul(x, x)
    density = mul(exp(mul(square, -0.5)), (2 * math.pi) ** -0.5)
    return mul(density, sub(2.0, square))


def _tanh_gelu_curvature(x):
    """Of ``x/2 (1 + tanh(u))``: ``(1 - t**2) (u' + x/2 (u'' - 2 t u'**2))`` with t = tanh(u)."""
    c, k, square = (2 / math.pi) ** 0.5, 0.044715, mul(x, x)
    t = tanh(mul(mul(x, c), add(1.0, mul(square, k))))
    slope = mul(add(1.0, mul(square, 3 * k)), c)  # u'
    bend = add(mul(x, 6 * k * c), mul(mul(neg(t), 2.0), mul(slope, slope)))
    return mul(sub(1.0, mul(t, t)), add(slope, mul(mul(x, 0.5), bend)))


for function in (relu, leaky_relu, elu, sigmoid, softplus, silu, gelu):
    setattr(Tensor, function.__name__, function)
