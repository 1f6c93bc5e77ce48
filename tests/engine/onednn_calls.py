"""Runs every plan that oneDNN offers for a call, and the float64 reference of the same call."""

import numpy as np
from trivet import registry
from trivet.device import Buffer, empty
from trivet.launch import operands, reorder, upload
from trivet.registry import Call
from trivet.spec import PLAIN, Spec

U = 2.0**-24  # half the distance from 1 to the next float32


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def plans_of(name, *buffers, geometry=None, auxiliaries=True):
    return registry.ask("trivet.onednn", Call(name, tuple(b.spec for b in buffers), geometry,
                                              auxiliaries=auxiliaries))  # fmt: skip


def run(plan, buffers):
    """The outputs of an eager run, after a bound one has been seen to give the same bits."""
    ins = [b if b.spec == s else reorder(b, s.layout) for b, s in zip(buffers, plan.ins)]
    results = []
    for launch in (lambda a: plan.run(*a), lambda a: plan.bound(*a)()):
        outs = [Buffer(s, "cpu", empty("cpu", s.nbytes)) for s in plan.outs]
        workspace = Spec((plan.workspace,), "uint8")
        scratch = [Buffer(workspace, "cpu", empty("cpu", plan.workspace))] * bool(plan.workspace)
        launch(operands(plan, [*outs, *ins, *scratch]))
        results.append(outs)
    for a, b in zip(*results):
        np.testing.assert_array_equal(plain(a), plain(b))
    return results[0]


def plain(buffer):
    array = reorder(buffer, PLAIN).array() if buffer.spec.layout != PLAIN else buffer.array()
    return array.copy()


def reference(name, *arrays, geometry=None, auxiliaries=True):
    """The results in float64."""
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    buffers = [upload(np.ascontiguousarray(a)) for a in wide]
    call = Call(name, tuple(b.spec for b in buffers), geometry, auxiliaries=auxiliaries)
    (plan,) = registry.ask("trivet.reference", call)
    outs = [Buffer(s, "cpu", empty("cpu", s.nbytes)) for s in plan.outs]
    scratch = [np.empty(plan.workspace, np.uint8)] * bool(plan.workspace)
    ins = [reorder(b, s.layout) for b, s in zip(buffers, plan.ins)]
    plan.run(*(b.array() for b in [*outs, *ins]), *scratch)
    return [plain(b) for b in outs]


def check(name, *arrays, geometry=None, bounds, auxiliaries=True, layouts=None, avx512=False):
    """Every plan's results within the bounds, one array (or number) of absolute errors each.

    Args:
        avx512: oneDNN may refuse on a processor without it.
    """
    buffers = [upload(a) for a in arrays]
    if layouts:
        buffers = [reorder(b, to) for b, to in zip(buffers, layouts)]
    plans = plans_of(name, *buffers, geometry=geometry, auxiliaries=auxiliaries)
    if avx512 and plans == "oneDNN has only ref:any for this":
        return
    assert not isinstance(plans, str), plans
    expected = reference(name, *arrays, geometry=geometry, auxiliaries=auxiliaries)
    for plan in plans:
        outs = [plain(b) for b in run(plan, buffers)]
        for out, value, bound in zip(outs, expected, bounds):
            error = np.abs(out - value) / np.maximum(bound, np.finfo(np.float32).tiny)
            assert error.max() <= 1, f"{plan.name}: {error.max()} times the bound"
