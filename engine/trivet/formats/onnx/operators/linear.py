"""Matrix products."""

from __future__ import annotations

from .... import ops
from ..operator import operator


@operator("MatMul")
def matmul(a, b):
    return ops.matmul(a, b)


@operator("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=0):
    a = ops.transpose(a) if transA else a
    if transB and alpha == beta == 1 and (c is None or c.shape == b.shape[:1]):
        return ops.linear(a, b, c)
    y = ops.matmul(a, ops.transpose(b) if transB else b)
    y = y if alpha == 1 else ops.mul(y, alpha)
    if c is None:
        return y
    return ops.add(y, c if beta == 1 else ops.mul(c, beta))
