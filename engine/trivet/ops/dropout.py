"""Dropout, and the generator of its masks: a counter in a Tensor, so that replays draw anew."""

from __future__ import annotations

from ..errors import OptionError
from ..launch import launch, reorder
from ..spec import PLAIN
from ..tape import Tensor, compute, record
from .checks import floats
from .op import Sample, op

__all__ = ["Generator", "dropout", "seed"]


def _checked(seed: int) -> int:
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise OptionError(
            f"Generator: expected a seed in [0, 2**63); got {seed!r}.", "pass an integer there."
        )
    return seed


class Generator:
    """Where random numbers come from: a seed, and how many draws were made from it.

    Args:
        seed: In [0, 2**63); the same seed gives the same numbers on every backend.
        device: Where the state lies, and so the tensors it is used with.

    Attributes:
        state: int64 (2,) = [seed, draws so far]. Save it, or write to it, to resume.

    Raises:
        OptionError: Not an integer, or outside that range.

    >>> generator = Generator(7)
    >>> y = dropout(Tensor([1.0, 2.0]), generator=generator)
    >>> generator.state.numpy()
    array([7, 1])
    """

    def __init__(self, seed: int, *, device: str = "cpu"):
        self.state = Tensor([_checked(seed), 0], "int64", device=device)

    def draw(self) -> Tensor:
        """The key of the next draw: a copy of the state, which moves on."""
        key = Tensor(reorder(self.state.buffer, PLAIN))
        launch("advance", self.state.buffer)
        return key

    def seed(self, seed: int) -> None:
        """Starts over, in place: a captured step sees it too."""
        self.state.write([_checked(seed), 0])


DEFAULT = Generator(0)


def seed(seed: int) -> None:
    """Starts the default generator over.

    >>> seed(1)
    """
    DEFAULT.seed(seed)


class _Repeating(Generator):
    """Every draw the same: samples are called several times and compared."""

    def draw(self) -> Tensor:
        return Tensor(reorder(self.state.buffer, PLAIN))


def dropout_samples(rng):
    x = rng.standard_normal((3, 4, 5))
    for p in (0.25, 0.5, 1):
        yield Sample((x, p), dict(generator=_Repeating(3)), differentiable=(0,))
    yield Sample((x[:0],), dict(generator=_Repeating(3)), differentiable=(0,))
    yield Sample((rng.standard_normal((1, 1)),), dict(generator=_Repeating(3)), differentiable=(0,))
    yield Sample((x, 0), differentiable=(0,))
    yield Sample((x,), dict(training=False), differentiable=(0,))
    yield Sample((x, 1.5), error=(OptionError, "a probability p in [0, 1]; got 1.5"))


@op(dropout_samples)
def dropout(
    x: Tensor, p: float = 0.5, *, training: bool = True, generator: Generator | None = None
) -> Tensor:
    """Zeroes elements at random and scales the rest: ``y = x * (u >= p) / (1 - p)``.

    u is the Philox uniform of the element's row-major index in this draw, so eager, captured and
    every memory layout drop the same elements. Nothing but the draw's key is kept for the
    gradient. What is dropped is 0 even where x is inf or nan.

    Args:
        p: Probability of a zero; 1 gives zeros. 0 keeps every element and runs the kernels of any
            other p all the same: what is checked without dropout is what runs with it.
        training: False returns x itself.
        generator: Moves on by one draw; the default one, see ``seed``, unless given.

    Shapes: x (any) -> the same.

    Raises:
        OptionError: p outside [0, 1].

    Source: Srivastava et al., "Dropout", JMLR 15 (2014), scaled in training instead of evaluation.

    >>> dropout(Tensor([1.0, 2.0, 3.0, 4.0]), 0.5, generator=Generator(0)).numpy()
    array([0., 4., 6., 8.], dtype=float32)
    """
    floats("dropout", x)
    if not 0 <= p <= 1:
        raise OptionError(
            f"dropout: expected a probability p in [0, 1]; got {p!r}.",
            "p is the part to drop, not the part to keep.",
        )
    if not training:
        return x
    return _masked(x, (generator or DEFAULT).draw(), float(p))


def _masked(x: Tensor, key: Tensor, p: float) -> Tensor:
    (y,) = compute("dropout", x, key, geometry=p)

    def gradient(gy, needs, key):
        return (_masked(gy, key, p),)

    return record(y, (x,), saved=(key,), gradient=gradient, name="dropout")
