"""What the reference kernels share."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import registry
from ..dtypes import HALF
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec

kernel = partial(registry.kernel, backend=__package__)


def plain(call: Call, run, *outs: Spec, writes=(), workspace=0) -> Plan:
    """A plan that wants every operand plain."""
    ins = tuple(s.at(PLAIN) for s in call.ins)
    return Plan(_wide(run, ins, outs, writes), ins, outs, workspace, writes)


def as_they_lie(call: Call, run, *outs: Spec, writes=()) -> Plan:
    """A plan that takes views and channels-last images as they are: NumPy walks any steps."""
    ins = tuple(s.at(PLAIN) if s.steps is None else s for s in call.ins)
    run = _wide(run, ins, outs, writes)
    last = [len(outs) + i for i, s in enumerate(ins) if s.layout == CHANNELS_LAST]
    if not last:
        return Plan(run, ins, outs, writes=writes)

    def logical(*arrays):
        arrays = list(arrays)
        for i in last:
            arrays[i] = axes_in_order(arrays[i])
        run(*arrays)

    return Plan(logical, ins, outs, writes=writes)


def axes_in_order(array: np.ndarray) -> np.ndarray:
    """The view (N, C, *size) of channels-last memory (N, *size, C)."""
    return np.moveaxis(array, -1, 1)


def _wide(run, ins, outs, writes):
    """``run`` without NumPy's warnings, 16-bit operands widened and results rounded back.

    inf and nan are results, as in every framework.
    """

    def quiet(*arrays):
        with np.errstate(all="ignore"):
            run(*arrays)

    if not any(s.dtype in HALF for s in (*ins, *outs)):
        return quiet
    count = len(outs)

    def widened(*arrays):
        wide = [a.astype(np.float32) if a.dtype.name in HALF else a for a in arrays]
        quiet(*wide)
        with np.errstate(all="ignore"):  # beyond the narrow range is inf
            for i in (*range(count), *(count + i for i in writes)):
                if wide[i] is not arrays[i]:
                    arrays[i][...] = wide[i].astype(arrays[i].dtype)

    return widened
