"""Matrix products by register blocks against float64, element by element."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from addressed import execute, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import registry
from trivet.config import Means
from trivet.lib import openmp
from trivet.registry import Call
from trivet.spec import Spec, Strided

pytest.importorskip("numba")

EPS = np.finfo(np.float32).eps


def lying(shape, turned, gap):
    """The spec of a matrix or of a transposed one, ``gap`` elements between its rows."""
    row = shape[0 if turned else 1] + gap
    steps = (1, row) if turned else (row, 1)
    return Spec(shape, "float32", Strided(steps=steps)) if turned or gap else Spec(shape)


def check(rows, depth, columns, turned=(False, False), gaps=(0, 0), bias=False, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(rows, depth), (depth, columns)] + [(columns,)] * bias
    operands = [rng.standard_normal(shape).astype("f") for shape in shapes]
    specs = [lying(*each) for each in zip(shapes[:2], turned, gaps)]
    specs += [Spec(s) for s in shapes[2:]]
    call = Call("matmul", tuple(specs), means=Means(tuned=True))
    (expected,) = reference(call, *operands)
    a, b, *c = (np.abs(operand.astype("d")) for operand in operands)
    bound = (depth + 1) * EPS * (a @ b + sum(c))
    results = [execute(plan, *operands)[0] for plan in registry.ask("trivet.native", call)]
    for y in results:
        assert (np.abs(y - expected) <= bound).all()
    return results


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("bias", [False, True])
def test_every_way_to_lie(turned, bias):
    check(70, 33, 50, turned, bias=bias)
    check(8, 600, 17, turned, (3, 5), bias)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(8, 200), st.integers(1, 700), st.integers(1, 200),
    st.tuples(st.booleans(), st.booleans()), st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_random_matrices(rows, depth, columns, turned, gaps, bias, seed):
    check(rows, depth, columns, turned, gaps, bias, seed)


@pytest.mark.parametrize("turned", [False, True])
def test_no_bit_depends_on_how_the_work_is_shared_out(monkeypatch, turned):
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(openmp, "threads", lambda threads=threads: threads)
        results.append(check(47, 300, 70, (turned, False), bias=True))
    assert len({y.tobytes() for each in results for y in each}) == 1


def test_refusals():
    call = Call("matmul", (Spec((9, 4)), Spec((4, 5))), means=Means(tuned=True))

    def refused(**changes):
        return isinstance(registry.ask("trivet.native", replace(call, **changes)), str)

    assert not refused()
    assert refused(ins=(Spec((7, 4)), Spec((4, 5))))
    assert refused(ins=(Spec((2, 9, 4)), Spec((4, 5))))
    assert refused(ins=(Spec((9, 4), "float64"), Spec((4, 5), "float64")))
    assert refused(ins=(Spec((9, 0)), Spec((0, 5))))


@pytest.mark.skipif(bool(registry.missing("trivet.onednn")), reason="no oneDNN")
def test_unmeasured_onednn_multiplies():
    call = Call("matmul", (Spec((9, 4)), Spec((4, 5))))
    assert registry.choose(call).backend == "trivet.onednn"
    everyone = registry.candidates(call, registry.PREFERENCE["cpu"])
    assert "trivet.native" in {plan.backend for plan in everyone}
