"""Captured steps: ``capture`` traces, ``passes`` rewrite, ``arena`` places, ``program`` replays."""

from .capture import Captured, capture
from .program import Program

__all__ = ["Captured", "Program", "capture"]
