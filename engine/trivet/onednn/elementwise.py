"""Functions of one and of two operands, where oneDNN's results are the reference's everywhere.

"Everywhere" includes NaN, infinities and the neighbourhood of zero. Several of oneDNN's functions
fail that; REFUSED names them with what was seen in version 3.2, AVX-512.
"""

from __future__ import annotations

import numpy as np

from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Spec
from .common import Recipe, describe, kernel, operation

REFUSED = {
    "exp": "oneDNN's exp(NaN) is inf",
    "log": "oneDNN's log is off by up to 3.5e-6, however near to 0 the result",
    "clip": "oneDNN clips NaN to the lower bound",
    "elu": "oneDNN takes exp(x) - 1, which has no digits left near 0",
    "softplus": "oneDNN takes log(1 + exp(x)), which has no digits left for negative x",
    "maximum": "oneDNN's maximum drops a NaN on the left",
    "minimum": "oneDNN's minimum drops a NaN on the left",
    "leaky_relu_grad": "oneDNN takes the other slope at NaN",
    "abs_grad": "oneDNN's slope of abs at NaN is 1",
}
# With slope 0 oneDNN's relu drops NaN; its elu compares "not less or equal", so NaN passes, and
# with alpha 0 it leaves alpha * (exp(x) - 1) = -0 of the rest, of which abs makes 0.
RELU = ("eltwise", K.ELTWISE_ELU, 0.0, 0.0), ("eltwise", K.ELTWISE_ABS, 0.0, 0.0)


def _leaky_relu(slope):
    return (K.ELTWISE_RELU, slope, 0.0) if slope else "oneDNN's relu of slope 0 drops NaN"


def _gelu(approximate):
    if approximate == "tanh":
        return K.ELTWISE_GELU_TANH, 0.0, 0.0
    return "oneDNN's 1 + erf has no digits left for negative x, and makes NaN of inf"


def _power(exponent):
    if exponent == 2:
        return K.ELTWISE_SQUARE, 0.0, 0.0
    return "oneDNN's power is one call per element unless the exponent is 2"


def _plainly(algorithm, alpha=0.0, beta=0.0):
    return lambda: (algorithm, alpha, beta)


# the reference's name: its options -> oneDNN's algorithm, alpha and beta, or why not
FORWARD = {
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "power": _power,
    "sigmoid": _plainly(K.ELTWISE_LOGISTIC),
    "tanh": _plainly(K.ELTWISE_TANH),
    "silu": _plainly(K.ELTWISE_SWISH, 1.0),
    "sqrt": _plainly(K.ELTWISE_SQRT),
    "abs": _plainly(K.ELTWISE_ABS),
    "reciprocal": _plainly(K.ELTWISE_POW, 1.0, -1.0),
    "neg": _plainly(K.ELTWISE_LINEAR, -1.0, -0.0),  # 0 - 0 would be 0, not -0
}
# of these the gradient is a function of the result, not of the operand
FROM_RESULT = {
    "sigmoid": _plainly(K.ELTWISE_LOGISTIC_USE_DST_FOR_BWD),
    "tanh": _plainly(K.ELTWISE_TANH_USE_DST_FOR_BWD),
    "sqrt": _plainly(K.ELTWISE_SQRT_USE_DST_FOR_BWD),
}
FROM_OPERAND = {
    "gelu": _gelu,
    "power": _power,
    "silu": FORWARD["silu"],
}


def lying(call: Call) -> list[Spec]:
    """Operands of one shape in one layout: channels last if one of them is, else plain."""
    last = any(s.layout == CHANNELS_LAST for s in call.ins)
    return [s.at(CHANNELS_LAST if last else PLAIN) for s in call.ins]


def unary(name: str, options):
    @kernel(name)
    def forward(call: Call) -> Plan | str:
        found = options(*(call.geometry or ()))
        if isinstance(found, str):
            return found
        (x,) = lying(call)
        d = describe(x)
        made = operation("eltwise_forward", K.FORWARD_INFERENCE, found[0], d, d, *found[1:],
                         dnnl.attributes())  # fmt: skip
        recipe = Recipe((x,), (x,))
        recipe.launch(made, dst=(d, recipe.out(0)), src=(d, recipe.of(0)))
        return recipe.plan(made.implementation, over=((0, 0),))


@kernel("relu")
def relu(call: Call) -> Plan | str:
    """x + 0 and what a joined relu does to it: oneDNN's functions of one operand take no more."""
    (x,) = lying(call)
    rank = max(len(x.shape), 1)
    d, one = describe(x), Descriptor.strided((1,) * rank, (1,) * rank)
    made = operation("binary", K.BINARY_ADD, d, one, d, dnnl.attributes(*RELU))
    recipe = Recipe((x,), (x,))
    zero = recipe.memory(4)
    recipe.arrays(lambda zero: zero.fill(0), (zero, (1,)))
    recipe.launch(made, dst=(d, recipe.out(0)), src_0=(d, recipe.of(0)), src_1=(one, zero))
    return recipe.plan(made.implementation, over=((0, 0),))


def _pulled(call: Call, found, saved: str) -> tuple[Recipe, str]:
    gy, v = lying(call)
    d, attributes = describe(v), dnnl.attributes()
    hint = operation("eltwise_forward", K.FORWARD_TRAINING, found[0], d, d, *found[1:], attributes)
    made = operation("eltwise_backward", found[0], d, d, d, *found[1:], hint, attributes)
    recipe = Recipe((gy, v), (v,))
    operands = {"diff_src": recipe.out(0), "diff_dst": recipe.of(0), saved: recipe.of(1)}
    recipe.launch(made, **{argument: (d, place) for argument, place in operands.items()})
    return recipe, made.implementation


def gradient(name: str, options, saved: str):
    @kernel(f"{name}_grad")
    def backward(call: Call) -> Plan | str:
        """gy and what was saved -> gx."""
        found = options(*(call.geometry or ()))
        if isinstance(found, str):
            return found
        recipe, implementation = _pulled(call, found, saved)
        return recipe.plan(implementation, over=((0, 0),))


@kernel("relu_grad")
def relu_grad(call: Call) -> Plan | str:
    """gy, y -> gx. oneDNN multiplies gy by 0 or 1; NumPy looks for the NaN of inf * 0."""
    recipe, implementation = _pulled(call, (K.ELTWISE_RELU_USE_DST_FOR_BWD, 0.0, 0.0), "dst")
    shape = recipe.outs[0].physical

    def repair(gx, gy, y):
        if np.isnan(gx.max()):
            gx[...] = np.where(y <= 0, np.float32(0), gy)

    recipe.arrays(repair, *((p, shape) for p in (recipe.out(0), recipe.of(0), recipe.of(1))))
    return recipe.plan(implementation)


def binary(name: str, algorithm: int, commutes: bool):
    @kernel(name)
    def answer(call: Call) -> Plan | str:
        """a, b -> y with NumPy's broadcasting; oneDNN repeats the second operand only."""
        shape = np.broadcast_shapes(*(s.shape for s in call.ins))
        last = any(s.layout == CHANNELS_LAST for s in call.ins) and len(shape) > 2
        y = Spec(shape, "float32", CHANNELS_LAST if last else PLAIN)
        whole = [s.shape == shape for s in call.ins]
        if not any(whole) or not (whole[0] or commutes):
            return "oneDNN repeats the second operand only"
        order = (0, 1) if whole[0] else (1, 0)
        ins = [y if s.shape == shape else s.at(PLAIN) for s in call.ins]
        # a small operand with one axis longer than 1 lies alike in both layouts
        for k, s in enumerate(ins):
            if s is not y and last and sum(n > 1 for n in s.shape) > 1:
                if len(s.shape) != len(shape):
                    return "an operand with fewer axes beside images whose channels lie last"
                ins[k] = s.at(CHANNELS_LAST)
        described = [_aligned(ins[k], len(shape)) for k in order]
        made = operation("binary", algorithm, *described, describe(y), dnnl.attributes())
        recipe = Recipe(tuple(ins), (y,))
        recipe.launch(
            made,
            dst=(describe(y), recipe.out(0)),
            src_0=(described[0], recipe.of(order[0])),
            src_1=(described[1], recipe.of(order[1])),
        )
        return recipe.plan(made.implementation, over=((0, order[0]),))


@kernel("accumulate")
def accumulate(call: Call) -> Plan | str:
    """total += x, in place."""
    total, x = call.ins
    if total.shape != x.shape:
        return "oneDNN adds values of one shape here"
    x = x.at(total.layout) if total.layout in (PLAIN, CHANNELS_LAST) else x
    d = describe(total)
    made = operation("binary", K.BINARY_ADD, d, describe(x), d, dnnl.attributes())
    recipe = Recipe((total, x), ())
    recipe.launch(
        made, dst=(d, recipe.of(0)), src_0=(d, recipe.of(0)), src_1=(describe(x), recipe.of(1))
    )
    return recipe.plan(made.implementation, writes=(0,))


def _aligned(s: Spec, rank: int):
    """With axes of size 1 in front up to the rank of the result."""
    if s.layout == PLAIN:
        return describe(s, (1,) * (max(rank, 1) - len(s.shape)) + s.shape)
    return describe(s)


for name, options in FORWARD.items():
    unary(name, options)
for table, saved in (FROM_RESULT, "dst"), (FROM_OPERAND, "src"):
    for name, options in table.items():
        gradient(name, options, saved)
for name, algorithm, commutes in (
    ("add", K.BINARY_ADD, True),
    ("sub", K.BINARY_SUB, False),
    ("mul", K.BINARY_MUL, True),
    ("div", K.BINARY_DIV, False),
):
    binary(name, algorithm, commutes)
for name, why in REFUSED.items():
    kernel(name)(lambda call, why=why: why)
