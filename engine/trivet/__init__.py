"""A deep-learning engine: eager tape, exchangeable backends, captured steps."""

from . import nn, ops, optim
from .config import no_grad, recording, using
from .graph import capture
from .ops.dropout import Generator, seed
from .tape import Tensor, grad

__version__ = "0.1.0"
__all__ = [
    "Generator",
    "Tensor",
    "capture",
    "grad",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "recording",
    "seed",
    "using",
]
