"""What the reference kernels share."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import registry
from ..dtypes import HALF
from ..registry import Call, Plan
from ..spec import PLAIN, Spec, Strided

kernel = partial(registry.kernel, backend=__package__)


def plain(call: Call, run, *outs: Spec, writes=(), workspace=0) -> Plan:
    """A plan that wants every operand plain."""
    ins = tuple(s.at(PLAIN) for s in call.ins)
    return Plan(_wide(run, ins, outs, writes), ins, outs, workspace, writes)


def as_they_lie(call: Call, run, *outs: Spec, writes=()) -> Plan:
    """A plan that takes views as they are: NumPy walks any steps."""
    ins = tuple(s if isinstance(s.layout, Strided) else s.at(PLAIN) for s in call.ins)
    return Plan(_wide(run, ins, outs, writes), ins, outs, writes=writes)


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
