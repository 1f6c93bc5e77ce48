"""Settings that hold inside a `with`: what kernels may do, and whether the tape records."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Means:
    """Permissions, part of every call: a cached choice never outlives a change of them."""

    precision: str = "full"  # "reduced": products may be rounded to fewer bits (TF32, bfloat16)
    strict: bool = False  # True: products are summed as they stand, without Winograd's detour
    tuned: bool = False  # True: where several kernels can, the one that measures fastest runs


DEFAULT = Means()
_MEANS = ContextVar("means", default=DEFAULT)
_RECORDING = ContextVar("recording", default=True)
means, is_recording = _MEANS.get, _RECORDING.get


@contextmanager
def held(variable: ContextVar, value):
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def using(**changes):
    """``with using(strict=True):`` changes the means of all launches inside."""
    return held(_MEANS, replace(means(), **changes))


def recording(on: bool):
    """``with recording(False):`` runs ops that no gradient will be asked of."""
    return held(_RECORDING, on)


def no_grad():
    """``with no_grad():`` records nothing: no gradient flows through what is computed inside."""
    return recording(False)
