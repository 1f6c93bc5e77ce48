"""Results that a plan says may lie over an operand: the same bits as in memory of their own."""

import math

import numpy as np
import pytest
from native_calls import last, plan_of, put, seen
from trivet.ops.norm import Blocks
from trivet.spec import Spec

SHAPE = 8, 50, 33, 20  # large enough for all threads


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


X, Y = normal(*SHAPE), normal(*SHAPE, seed=1)
CHANNEL = np.abs(normal(SHAPE[1], seed=2)) + 0.1
BLOCKS = Blocks((SHAPE[0], SHAPE[1], math.prod(SHAPE[2:])), (0, 2), (1, SHAPE[1], 1), 1e-5)
KEY = np.array([3, 4])
CALLS = {
    "relu": ((last(X),), ()),
    "relu_grad": ((last(X), last(Y)), ()),
    "add": ((last(X), last(Y)), None),
    "mul": ((last(X), CHANNEL.reshape(-1, 1, 1)), None),
    "dropout": ((last(X), KEY), 0.25),
    "relu_dropout_grad": ((last(X), last(Y)), 0.25),
    "batch_norm_inference": ((last(X), *[CHANNEL] * 4), BLOCKS),
    "batch_norm_grad": ((last(X), last(Y), *[CHANNEL] * 3), BLOCKS),
}


def launched(plan, operands, shared=None):
    """Results, the pair ``shared`` (result, operand) in one memory."""
    values = [o.values if hasattr(o, "values") else o for o in operands]
    ins = [put(spec, value) for spec, value in zip(plan.ins, values)]
    outs = [put(spec) for spec in plan.outs]
    if shared:
        outs[shared[0]] = ins[shared[1]]
    scratch = [put(Spec((plan.workspace,), "uint8"))] if plan.workspace else []
    plan.run(*(b.address() for b in (*outs, *ins, *scratch)))
    return [seen(b).tobytes() for b in outs]


@pytest.mark.parametrize("name", CALLS)
def test_a_result_over_its_operand_has_the_same_bits(name):
    operands, geometry = CALLS[name]
    plan = plan_of(name, operands, geometry)
    assert plan.over
    apart = launched(plan, operands)
    for pair in plan.over:
        assert plan.outs[pair[0]] == plan.ins[pair[1]]
        assert launched(plan, operands, pair) == apart
