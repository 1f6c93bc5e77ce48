"""A deep-learning engine: eager tape, exchangeable backends, captured steps."""

from . import ops
from .config import no_grad, recording, using
from .tape import Tensor, grad

__all__ = ["Tensor", "grad", "no_grad", "ops", "recording", "using"]
