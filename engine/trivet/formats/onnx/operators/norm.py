"""Normalisations and dropout."""

from __future__ import annotations

from .... import ops
from ....ops import checks
from ..operator import operator


@operator("BatchNormalization", state=("mean", "var"), outputs=3)
def batch_norm(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0,
               spatial=1, is_test=0, consumed_inputs=None, node, training):  # fmt: skip
    if training_mode:
        return _batch_norm_of_the_graph(x, scale, bias, mean, var, epsilon, momentum)
    if not spatial:
        raise node.refuse("spatial=1", spatial, "export with one mean per channel.")
    return ops.batch_norm(x, scale, bias, mean, var, training=training, momentum=1 - momentum,
                          eps=epsilon), None, None  # fmt: skip


def _batch_norm_of_the_graph(x, scale, bias, mean, var, epsilon, momentum):
    """Training as ONNX writes it: new statistics are outputs, and their variance is biased."""
    axes = (0, *range(2, x.ndim))
    y = ops.batch_norm(x, scale, bias, training=True, eps=epsilon)
    batch = ops.mean(x, axis=axes), ops.var(x, axis=axes)
    moved = [
        ops.add(ops.mul(old, momentum), ops.mul(ops.cast(new, old.dtype), 1 - momentum))
        for old, new in zip((mean, var), batch)
    ]
    return y, *moved


@operator("InstanceNormalization")
def instance_norm(x, scale, bias, *, epsilon=1e-5, consumed_inputs=None):
    return ops.group_norm(x, x.shape[1], scale, bias, eps=epsilon)


@operator("GroupNormalization")
def group_norm(x, scale, bias, *, num_groups, epsilon=1e-5, stash_type=1, node):
    if node.opset < 21:  # one number per group
        members = x.shape[1] // num_groups
        scale, bias = (
            ops.reshape(ops.broadcast_to(ops.unsqueeze(t, 1), (num_groups, members)), (x.shape[1],))
            for t in (scale, bias)
        )
    return ops.group_norm(x, num_groups, scale, bias, eps=epsilon)


@operator("LayerNormalization", outputs=3)
def layer_norm(x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1, node):
    axes = tuple(range(axis % x.ndim, x.ndim))
    shape = tuple(x.shape[a] for a in axes)
    scale = ops.broadcast_to(scale, shape)
    bias = None if bias is None else ops.broadcast_to(bias, shape)
    y = ops.layer_norm(x, scale, bias, axes=len(axes), eps=epsilon)
    if not any(node.outputs[1:]):
        return y, None, None
    mean, var = (f(x, axis=axes, keepdims=True) for f in (ops.mean, ops.var))
    return y, mean, ops.reciprocal(ops.sqrt(ops.add(var, epsilon)))


@operator("LpNormalization", only={"p": (2, 1)})
def lp_norm(x, *, axis=-1, p=2):
    """x over its norm; 0 where that is 0."""
    powers = ops.abs(x) if p == 1 else ops.mul(x, x)
    total = ops.sum(powers, axis=axis, keepdims=True)
    empty = ops.equal(total, 0.0)
    total = ops.where(empty, 1.0, total)
    return ops.where(empty, 0.0, ops.div(x, total if p == 1 else ops.sqrt(total)))


@operator("LRN")
def local_response_norm(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    turn = (slice(None), slice(None, None, -1))  # an even window reaches further ahead here
    x = x if size % 2 else ops.index(x, turn)
    y = ops.local_response_norm(x, size, alpha=alpha, beta=beta, k=bias)
    return y if size % 2 else ops.index(y, turn)


@operator("Dropout", host=("ratio", "training_mode"), outputs=2)
def dropout(x, ratio=0.5, training_mode=False, *, seed=None, is_test=0, consumed_inputs=None,
            node, training):  # fmt: skip
    """Drops in the network's training, and always where the graph says training_mode."""
    on = training or bool(training_mode)
    if not any(node.outputs[1:]):
        return ops.dropout(x, float(ratio), training=on), None
    ones = checks.full(x, 1.0, x.shape)
    kept = ops.dropout(ones, float(ratio), training=on)
    return ops.mul(x, kept), ops.not_equal(kept, 0.0)
