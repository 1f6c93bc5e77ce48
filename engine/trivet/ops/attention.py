"""Scaled dot-product attention, from matmul and softmax."""

from __future__ import annotations

import math

import numpy as np

from ..errors import DtypeError, ShapeError
from ..geometry import broadcast
from ..tape import Tensor, compute
from . import checks
from .arithmetic import add, mul
from .matmul import matmul
from .op import Sample, op
from .shape import transpose
from .softmax import safe_softmax


def attention_samples(rng):
    normal = rng.standard_normal
    q, k, v = normal((2, 3, 4)), normal((2, 5, 4)), normal((2, 5, 2))
    allowed = rng.random((2, 3, 5)) < 0.7
    allowed[0, 1] = False  # a query that may look at nothing
    yield Sample((q, k, v), differentiable=(0, 1, 2))
    yield Sample((q, k, v), dict(causal=True), differentiable=(0, 1, 2))
    yield Sample((q, k, v, normal((3, 5))), dict(scale=0.3), differentiable=(0, 1, 2, 3))
    yield Sample((q, k, v, allowed), dict(causal=True), differentiable=(0, 1, 2))
    yield Sample((q[0], k, v, allowed[0, :, :1]), differentiable=(0, 1, 2))
    yield Sample((q[:0], k[:0], v[:0]), differentiable=(0, 1, 2))
    yield Sample((q, k[..., :3], v), error=(ShapeError, "got (2, 3, 4), (2, 5, 3) and (2, 5, 2)"))
    yield Sample((q, k, v[:, 1:]), error=(ShapeError, "k (..., M, E), v (..., M, D)"))
    yield Sample((q[0, 0], k, v), error=(ShapeError, "got (4,), (2, 5, 4)"))
    yield Sample((q, k, v, normal((4, 3, 5))), error=(ShapeError, "(2, 3, 5) and (4, 3, 5)"))
    yield Sample((q, k, v, normal((1, 2, 3, 5))), error=(ShapeError, "broadcasts to (2, 3, 5)"))
    yield Sample((q, k, v, allowed * 1), error=(DtypeError, "a float tensor; got int64"))


@op(attention_samples)
def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Mean of the values, weighed by how well each key fits the query.

    ``y = softmax(scale q @ k.T + mask) @ v``

    A query that may attend to no key, all of its row masked, gives 0 and passes no gradient on.

    Args:
        mask: Bool, True where a query may attend to a key; or floats that are added to the
            scores. Broadcasts to (..., N, M).
        causal: Query i attends to keys 0 to i only, both counted from 0; goes with a mask too.
        scale: Of the products; 1 / sqrt(E) unless given.

    Shapes: q (..., N, E), k (..., M, E), v (..., M, D) -> (..., N, D).

    Raises:
        ShapeError: Sizes that do not fit each other.
        DtypeError: Not floats of one dtype.

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.1; conventions of
        ``torch.nn.functional.scaled_dot_product_attention``.

    >>> q, k = Tensor([[0.0]]), Tensor([[1.0], [2.0]])
    >>> scaled_dot_product_attention(q, k, Tensor([[2.0], [4.0]])).numpy()
    array([[3.]], dtype=float32)
    """
    name = "scaled_dot_product_attention"
    checks.floats(name, q, k, v)
    fits = min(q.ndim, k.ndim, v.ndim) >= 2
    if not fits or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"{name}: expected q (..., N, E), k (..., M, E), v (..., M, D); "
            f"got {q.shape}, {k.shape} and {v.shape}.",
            "transpose or reshape them.",
        )
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    scores = matmul(mul(q, scale), transpose(k))  # (..., N, M)
    if mask is not None:
        scores = add(scores, _added(name, mask, scores))
    if causal:
        scores = add(scores, *compute("causal_mask", q, geometry=scores.shape[-2:]))
    return matmul(safe_softmax(scores), v)  # (..., N, D)


def _added(name: str, mask: Tensor, scores: Tensor) -> Tensor:
    """The mask as floats to be added: -inf where a bool forbids."""
    if isinstance(mask, Tensor) and mask.dtype == "bool":
        zero, never = checks.full(scores, 0.0), checks.full(scores, -np.inf)
        (mask,) = compute("where", mask, zero, never)
    checks.floats(name, scores, mask)
    if broadcast(name, scores.shape, mask.shape) != scores.shape:
        raise ShapeError(
            f"{name}: expected a mask that broadcasts to {scores.shape}; got {mask.shape}.",
            "drop its leading axes, or give q or k the same ones.",
        )
    return mask
