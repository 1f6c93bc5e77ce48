"""A deep-learning engine: eager tape, exchangeable backends, captured steps."""

from . import formats, loader, nn, ops, optim, zoo
from .config import no_grad, recording, using
from .explain import explain, libraries
from .formats.checkpoint import load, save
from .graph import capture
from .ops.dropout import Generator, seed
from .tape import Tensor, grad

__version__ = "0.1.0"
__all__ = [
    "Generator",
    "Tensor",
    "capture",
    "explain",
    "formats",
    "grad",
    "libraries",
    "load",
    "loader",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "recording",
    "save",
    "seed",
    "using",
    "zoo",
]
