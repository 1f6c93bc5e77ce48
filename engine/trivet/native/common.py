"""What our own kernels share."""

from __future__ import annotations

from functools import partial

from .. import registry
from ..registry import Call

kernel = partial(registry.kernel, backend=__package__)


def refusal(call: Call, *which: int) -> str | None:
    """Why no kernel of ours may run on these operands (all if none are named); None if one may."""
    for spec in [call.ins[i] for i in which] or call.ins:
        if spec.dtype != "float32":
            return f"float32 only, not {spec.dtype}"
        if not spec.size:
            return "empty"
    return None
