"""Data for training, read and decoded ahead of it."""

from .collate import arrays, tensors
from .loader import Loader
from .order import draws, shuffled
from .sources import Files
from .stream import Stats, Stream

__all__ = ["Files", "Loader", "Stats", "Stream", "arrays", "draws", "shuffled", "tensors"]
