"""Matrix product, and the linear layer's function made of it."""

from __future__ import annotations

import math

from ..errors import ShapeError
from ..geometry import broadcast
from ..tape import Tensor, compute, record
from .checks import floats
from .op import Sample, op
from .shape import reshape, squeeze, sum_to, transpose, unsqueeze


def matmul_samples(rng):
    normal = rng.standard_normal
    for a, b in [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (3, 4, 2))]:
        yield Sample((normal(a), normal(b)), differentiable=(0, 1))
    yield Sample((normal((4, 3)).T, normal((5, 4)).T), differentiable=(0, 1))
    yield Sample((normal(4), normal(4)), differentiable=(0, 1))
    yield Sample((normal((0, 4)), normal((4, 2))), differentiable=(0, 1))
    yield Sample((normal((3, 0)), normal((0, 2))), differentiable=(0, 1))
    yield Sample((normal((3, 4)), normal((3, 4))), error=(ShapeError, "got (3, 4) and (3, 4)"))


@op(matmul_samples)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Product of matrices, batched over all axes but the last two: ``y = a @ b``.

    Shapes: a (..., N, K), b (..., K, M) -> (..., N, M); the leading axes broadcast. A vector
        counts as a row on the left, as a column on the right.

    Raises:
        ShapeError: The inner sizes differ.
        DtypeError: Not floats of one dtype; 16-bit floats are summed in float32.

    >>> (Tensor([[1.0, 2.0]]) @ Tensor([[3.0], [4.0]])).numpy()
    array([[11.]], dtype=float32)
    """
    floats("matmul", a, b)
    if a.ndim == 1:
        return squeeze(matmul(unsqueeze(a, 0), b), -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        return squeeze(matmul(a, unsqueeze(b, 1)), -1)
    if min(a.ndim, b.ndim) < 1 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: expected matrices (..., N, K) and (..., K, M) that agree on K; "
            f"got {a.shape} and {b.shape}.",
            "transpose one of them: x.T.",
        )
    broadcast("matmul", a.shape[:-2], b.shape[:-2])
    (y,) = compute("matmul", a, b)  # (..., N, M)
    shapes = a.shape, b.shape

    def gradient(gy, needs, a, b):
        ga = sum_to(matmul(gy, transpose(b)), shapes[0]) if needs[0] else None
        gb = sum_to(matmul(transpose(a), gy), shapes[1]) if needs[1] else None
        return ga, gb

    saved = a if b.requires_grad else None, b if a.requires_grad else None
    return record(y, (a, b), saved=saved, gradient=gradient)


def linear_samples(rng):
    normal = rng.standard_normal
    yield Sample((normal((3, 4)), normal((5, 4)), normal(5)), differentiable=(0, 1, 2))
    yield Sample((normal((2, 3, 4)), normal((5, 4))), differentiable=(0, 1))
    yield Sample((normal((2, 3, 0)), normal((5, 0)), normal(5)), differentiable=(0, 1, 2))
    yield Sample((normal((3, 4)), normal((4, 5))), error=(ShapeError, "weight (O, I)"))
    yield Sample((normal((3, 4)), normal((5, 4)), normal(4)), error=(ShapeError, "bias (O,)"))


@op(linear_samples)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Affine map of each row: ``y = x @ weight.T + bias``.

    Shapes: x (..., I), weight (O, I), bias (O,) -> (..., O).

    Raises:
        ShapeError: x has not I columns, or there is not one bias per output.

    >>> linear(Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0]]), Tensor([5.0])).numpy()
    array([[16.]], dtype=float32)
    """
    floats("linear", x, weight, *([] if bias is None else [bias]))
    fits = x.ndim >= 1 and weight.ndim == 2 and x.shape[-1] == weight.shape[1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        raise ShapeError(
            "linear: expected x (..., I), weight (O, I) and bias (O,); "
            f"got {x.shape}, {weight.shape} and {None if bias is None else bias.shape}.",
            "build the layer for as many inputs as x has columns.",
        )
    if x.ndim != 2:
        rows = reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        return reshape(linear(rows, weight, bias), (*x.shape[:-1], weight.shape[0]))
    operands = (x, weight) if bias is None else (x, weight, bias)
    (y,) = compute("matmul", x, transpose(weight.detach()), *operands[2:])  # (N, O)
    outputs = weight.shape[:1]

    def gradient(gy, needs, x, weight):
        gx = matmul(gy, weight) if needs[0] else None
        gw = matmul(transpose(gy), x) if needs[1] else None
        gb = [sum_to(gy, outputs) if needs[2] else None] if len(needs) > 2 else []
        return gx, gw, *gb

    saved = x if weight.requires_grad else None, weight if x.requires_grad else None
    return record(y, operands, saved=saved, gradient=gradient)


Tensor.__matmul__ = matmul
