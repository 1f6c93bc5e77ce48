"""Losses, reduced in the same pass: geometry = "mean", "sum" or "none"."""

from __future__ import annotations

import numpy as np

from ..spec import PLAIN, Spec
from .common import as_they_lie, kernel
from .embedding import expect_ids
from .softmax import log_softmax, softmax


def reduced(values, reduction):
    """The mean of nothing is 0 / 0, nan."""
    if reduction == "none":
        return values
    total = values.sum(dtype=values.dtype)
    return total / values.size if reduction == "mean" else total


def share(gy, size, reduction):
    """What flows back to each of the values that were reduced."""
    return gy / size if reduction == "mean" else gy


def loss_spec(call, shape, dtype):
    return Spec(shape if call.geometry == "none" else (), dtype)


def pointwise(name, function, slope):
    """Kernels ``name``: function(x, target), reduced; ``name_grad``: the gradient by x."""

    @kernel(name)
    def forward(call):
        x, _ = call.ins

        def run(loss, x, target):
            with np.errstate(all="ignore"):  # inf and nan are results
                loss[...] = reduced(function(x, target), call.geometry)

        return as_they_lie(call, run, loss_spec(call, x.shape, x.dtype))

    @kernel(f"{name}_grad")
    def backward(call):
        def run(gx, gy, x, target):
            with np.errstate(all="ignore"):
                gx[...] = share(gy, x.size, call.geometry) * slope(x, target)

        return as_they_lie(call, run, call.ins[1].at(PLAIN))


pointwise("mse_loss", lambda x, t: np.square(x - t), lambda x, t: 2 * (x - t))
pointwise("l1_loss", lambda x, t: np.abs(x - t), lambda x, t: np.sign(x - t))
pointwise(
    "binary_cross_entropy_with_logits",
    # log(1 + exp(z)) - z t, where exp never gets a positive number, nor inf less inf is taken
    lambda z, t: z * np.where(z > 0, 1 - t, -t) + np.log1p(np.exp(-np.abs(z))),
    lambda z, t: 1 / (1 + np.exp(-z)) - t,
)


@kernel("cross_entropy")
def cross_entropy(call):
    """logits (N, K, ...), ids (N, ...) -> () or (N, ...)."""
    logits, ids = call.ins

    def run(loss, z, ids):
        expect_ids("cross_entropy", ids, z.shape[1])
        with np.errstate(all="ignore"):
            picked = np.take_along_axis(log_softmax(z, 1), ids[:, None], 1)  # (N, 1, ...)
            loss[...] = reduced(-picked[:, 0], call.geometry)

    return as_they_lie(call, run, loss_spec(call, ids.shape, logits.dtype))


@kernel("cross_entropy_grad")
def cross_entropy_grad(call):
    """gy, logits, ids -> (N, K, ...): softmax less the one-hot target, times gy's share."""

    def run(gz, gy, z, ids):
        with np.errstate(all="ignore"):
            p, ids = softmax(z, 1), ids[:, None]  # (N, 1, ...)
            np.put_along_axis(p, ids, np.take_along_axis(p, ids, 1) - 1, 1)
            each = share(gy, ids.size, call.geometry)
            gz[...] = p * (each[:, None] if call.geometry == "none" else each)

    return as_they_lie(call, run, call.ins[1].at(PLAIN))
