"""Files: checkpoints, and weights that others saved."""

from . import checkpoint
from .state import read_state

__all__ = ["checkpoint", "read_state"]
