"""Normalisation. oneDNN speaks of variances, trivet of ``inv_std = 1 / sqrt(variance + eps)``."""

from __future__ import annotations

import math

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import PLAIN, Spec
from .common import Recipe, Refused, describe, image, kernel, operation

AFFINE = K.USE_SCALE | K.USE_SHIFT


def batch(call: Call, x: Spec) -> tuple[str, Spec, Descriptor, tuple]:
    """oneDNN's name, x as it wants it, its descriptor, and what else makes the operation."""
    _, axes, *_ = call.geometry
    if axes != (0, 2):
        raise Refused("not a batch normalisation")
    x = image(x)
    return "batch_normalization", x, describe(x), ()


def layer(call: Call, x: Spec) -> tuple[str, Spec, Descriptor, tuple]:
    shape, *_ = call.geometry
    x = x.at(PLAIN)
    return "layer_normalization", x, describe(x, shape), (Descriptor.strided(shape[:1], (1,)),)


def normalisation(name: str, see):
    """Kernels ``name`` and ``name_grad``; geometry = (blocks, axes, affine, eps)."""

    @kernel(name)
    def forward(call: Call) -> Plan | str:
        """x, weight, bias -> y, mean, inv_std."""
        eps = call.geometry[-1]
        kind, x, d, extra = see(call, call.ins[0])
        made = operation(f"{kind}_forward", K.FORWARD_TRAINING, d, d, *extra, eps, AFFINE,
                         dnnl.attributes())  # fmt: skip
        recipe, statistic, per_weight = _recipe(call, x, 3)
        recipe.launch(
            made,
            dst=(d, recipe.out(0)),
            mean=(statistic, recipe.out(1)),
            variance=(statistic, recipe.out(2)),
            src=(d, recipe.of(0)),
            scale=(per_weight, recipe.of(1)),
            shift=(per_weight, recipe.of(2)),
        )
        recipe.arrays(lambda v: _to_inv_std(v, eps), (recipe.out(2), statistic.shape))
        return recipe.plan(made.implementation)

    @kernel(f"{name}_grad")
    def backward(call: Call) -> Plan | str:
        """gy, x, weight, mean, inv_std -> gx, gweight, gbias."""
        eps = call.geometry[-1]
        kind, x, d, extra = see(call, call.ins[1])
        hint = operation(f"{kind}_forward", K.FORWARD_TRAINING, d, d, *extra, eps, AFFINE,
                         dnnl.attributes())  # fmt: skip
        made = operation(f"{kind}_backward", K.BACKWARD, d, d, d, *extra, eps, AFFINE, hint,
                         dnnl.attributes())  # fmt: skip
        weight = call.ins[2].at(PLAIN)
        ins = (call.ins[0].at(x.layout), x, weight, *(s.at(PLAIN) for s in call.ins[3:]))
        recipe = Recipe(ins, (x, weight, weight))
        statistic, per_weight = describe(ins[3]), _flat(weight)
        variance = recipe.memory(ins[4].nbytes)
        recipe.arrays(
            lambda v, i: _to_variance(v, i, eps),
            (variance, statistic.shape),
            (recipe.of(4), statistic.shape),
        )
        # layer normalisation asks for the shift, which its gradient has no use for; batch
        # normalisation refuses one
        unused = {"shift": (per_weight, recipe.of(2))} if see is layer else {}
        recipe.launch(
            made,
            diff_src=(d, recipe.out(0)),
            diff_scale=(per_weight, recipe.out(1)),
            diff_shift=(per_weight, recipe.out(2)),
            diff_dst=(d, recipe.of(0)),
            src=(d, recipe.of(1)),
            scale=(per_weight, recipe.of(2)),
            mean=(statistic, recipe.of(3)),
            variance=(statistic, variance),
            **unused,
        )
        return recipe.plan(made.implementation)


def _recipe(call: Call, x: Spec, outs: int):
    """Operands x, weight, bias; results y and as many statistics as are left."""
    shape, axes, *_ = call.geometry
    blocks = tuple(n for i, n in enumerate(shape) if i not in axes)
    ins = (x, *(s.at(PLAIN) for s in call.ins[1:]))
    statistic = Spec(blocks)
    recipe = Recipe(ins, (x, *[statistic] * (outs - 1)))
    return recipe, describe(statistic), _flat(ins[1])


def _flat(s: Spec) -> Descriptor:
    return describe(s, (s.size,))


def _to_inv_std(v, eps):
    np.add(v, np.float32(eps), out=v)
    np.sqrt(v, out=v)
    np.divide(np.float32(1), v, out=v)


def _to_variance(variance, inv_std, eps):
    """What oneDNN adds eps to again; lost digits are below those of eps."""
    np.multiply(inv_std, inv_std, out=variance)
    np.divide(np.float32(1), variance, out=variance)
    np.subtract(variance, np.float32(eps), out=variance)


normalisation("batch_norm", batch)
normalisation("layer_norm", layer)


@kernel("group_norm")
def group_norm(call: Call) -> Plan | str:
    return f"oneDNN {K.HEADERS} has no group normalisation"


@kernel("batch_norm_inference")
def batch_norm_inference(call: Call) -> Plan | str:
    """x, weight, bias, mean, var -> y; geometry as for batch_norm."""
    eps = call.geometry[-1]
    kind, x, d, _ = batch(call, call.ins[0])
    flags = AFFINE | K.USE_GLOBAL_STATS
    made = operation(f"{kind}_forward", K.FORWARD_INFERENCE, d, d, eps, flags, dnnl.attributes())
    recipe, _, c = _recipe(call, x, 1)
    recipe.launch(
        made,
        dst=(d, recipe.out(0)),
        src=(d, recipe.of(0)),
        scale=(c, recipe.of(1)),
        shift=(c, recipe.of(2)),
        mean=(c, recipe.of(3)),
        variance=(c, recipe.of(4)),
    )
    return recipe.plan(made.implementation, over=((0, 0),))


def _pixels(x: Spec) -> Descriptor:
    """Images of any rank as (N, C, pixels, 1), channels last."""
    n, c = x.shape[:2]
    pixels = math.prod(x.shape[2:])
    return Descriptor.strided((n, c, pixels, 1), (c * pixels, 1, c, c))


def _lrn(x: Spec, geometry, kind=K.FORWARD_TRAINING):
    size, alpha, beta, k = geometry
    if size % 2 == 0:
        raise Refused("oneDNN's window of channels has a middle")
    if size not in (3, 5):  # seen in 3.2; at 1 it crashes, from 7 on its gradient is wrong
        raise Refused("oneDNN gets windows of other than 3 or 5 channels wrong")
    d = _pixels(x)
    options = K.LRN_ACROSS_CHANNELS, d, d, size, alpha, beta, k
    return d, operation("lrn_forward", kind, *options, dnnl.attributes())


def _lrn_grad(d: Descriptor, geometry, hint):
    size, alpha, beta, k = geometry
    options = K.LRN_ACROSS_CHANNELS, d, d, d, size, alpha, beta, k, hint
    return operation("lrn_backward", *options, dnnl.attributes())


@kernel("local_response_norm")
def local_response_norm(call: Call) -> Plan | str:
    """x -> y, and what oneDNN keeps for the gradient; geometry = (size, alpha, beta, k)."""
    x = image(call.ins[0])
    kind = K.FORWARD_TRAINING if call.auxiliaries else K.FORWARD_INFERENCE
    d, made = _lrn(x, call.geometry, kind)
    wanted = made.descriptor(K.QUERY_WORKSPACE_MD)
    kept = [Spec((wanted.nbytes,), "uint8")] if call.auxiliaries else []
    if kept:
        _lrn_grad(d, call.geometry, made)  # else nobody could: what is kept is private
    recipe = Recipe((x,), (x, *kept))
    given = {"workspace": (wanted, recipe.out(1))} if kept else {}
    recipe.launch(made, dst=(d, recipe.out(0)), src=(d, recipe.of(0)), **given)
    return recipe.plan(made.implementation)


@kernel("local_response_norm_grad", private=True)
def local_response_norm_grad(call: Call) -> Plan | str:
    """gy, x, what was kept -> gx; geometry as for local_response_norm."""
    gy, x, kept = image(call.ins[0]), image(call.ins[1]), call.ins[2]
    d, hint = _lrn(x, call.geometry)
    made = _lrn_grad(d, call.geometry, hint)
    recipe = Recipe((gy, x, kept), (x,))
    recipe.launch(
        made,
        diff_src=(d, recipe.out(0)),
        diff_dst=(d, recipe.of(0)),
        src=(d, recipe.of(1)),
        workspace=(hint.descriptor(K.QUERY_WORKSPACE_MD), recipe.of(2)),
    )
    return recipe.plan(made.implementation)
