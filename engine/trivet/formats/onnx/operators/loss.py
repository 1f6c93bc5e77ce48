"""Losses with class weights and classes that do not count."""

from __future__ import annotations

from .... import ops
from ....ops import checks
from ..operator import operator

REDUCTIONS = {"reduction": ("mean", "sum", "none")}


@operator("NegativeLogLikelihoodLoss", only=REDUCTIONS)
def nll(logs, target, weight=None, *, ignore_index=None, reduction="mean"):
    """``-weight[target] * logs[target]``; the mean is over the weights."""
    share = checks.full(logs, 1.0, target.shape)
    if ignore_index is not None:
        counts = ops.not_equal(target, ignore_index)
        share = ops.where(counts, share, 0.0)
        target = ops.where(counts, target, 0)
    if weight is not None:
        share = ops.mul(share, ops.take(weight, target))
    chosen = ops.take_along(logs, ops.unsqueeze(target, 1), axis=1)  # (N, 1, ...)
    loss = ops.neg(ops.mul(ops.squeeze(chosen, 1), share))  # (N, ...)
    if reduction == "none":
        return loss
    return ops.sum(loss) if reduction == "sum" else ops.div(ops.sum(loss), ops.sum(share))


@operator("SoftmaxCrossEntropyLoss", only=REDUCTIONS, outputs=2)
def cross_entropy(scores, target, weight=None, *, ignore_index=None, reduction="mean", node):
    if weight is None and ignore_index is None and not any(node.outputs[1:]):
        return ops.cross_entropy(scores, target, reduction=reduction), None
    logs = ops.log_softmax(scores, axis=1)
    options = dict(ignore_index=ignore_index, reduction=reduction)
    return nll(logs, target, weight, **options), logs
