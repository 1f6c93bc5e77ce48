"""Matrix product, batched over all axes but the last two, plus a bias if there is one."""

from __future__ import annotations

import numpy as np

from ..spec import Spec
from .common import as_they_lie, kernel


@kernel("matmul")
def matmul(call):
    """a (..., N, K), b (..., K, M)[, bias (M,)] -> (..., N, M)."""
    a, b, *_ = call.ins
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])

    def run(y, a, b, bias=None):
        np.matmul(a, b, out=y)
        if bias is not None:
            y += bias

    return as_they_lie(call, run, Spec((*batch, a.shape[-2], b.shape[-1]), a.dtype))
