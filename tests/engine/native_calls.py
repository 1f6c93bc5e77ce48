"""Runs one kernel of our own as the engine would, and the same call in the reference's float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from trivet import registry
from trivet.device import TAIL, Buffer, empty
from trivet.lib import openmp
from trivet.native import common
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, PLAIN, Layout, Spec, Strided

EPS = 2.0**-24  # what rounding to float32 may be off, relative
UNTOUCHED = 0xAB


@dataclass
class Given:
    """An operand: its values, and how it lies."""

    values: np.ndarray
    layout: Layout = PLAIN

    @property
    def spec(self) -> Spec:
        return Spec(self.values.shape, self.values.dtype.name, self.layout)


def last(values) -> Given:
    """Channels last."""
    return Given(np.asarray(values, "float32"), CHANNELS_LAST)


def part(values, before=3, after=2) -> Given:
    """Some of the channels of a wider image."""
    values = np.asarray(values, "float32")
    n, c, *size = values.shape
    whole = Spec((n, c + before + after, *size), layout=CHANNELS_LAST)
    return Given(values, Strided(steps=whole.steps))


def given(operand) -> Given:
    if isinstance(operand, Given):
        return operand
    values = np.asarray(operand)
    return Given(values if values.dtype.kind != "f" else values.astype("float32"))


def rate(value) -> Given:
    return Given(np.asarray(value, "float64"))


def seen(buffer: Buffer) -> np.ndarray:
    """A buffer's memory in the order of its logical axes."""
    array = buffer.array()
    return np.moveaxis(array, -1, 1) if buffer.spec.layout == CHANNELS_LAST else array


def put(spec: Spec, values=None) -> Buffer:
    """Memory that is UNTOUCHED but for the values."""
    places = 1 + sum((n - 1) * step for n, step in zip(spec.shape, spec.steps))
    nbytes = places * np.dtype(spec.dtype).itemsize
    memory = empty("cpu", nbytes)
    memory[...] = UNTOUCHED
    buffer = Buffer(spec, "cpu", memory)
    if values is not None:
        seen(buffer)[...] = values
    return buffer


def expect_untouched(buffer: Buffer) -> None:
    """Nothing was written between or behind the elements."""
    memory = buffer.memory.copy()
    elements = seen(Buffer(buffer.spec, "cpu", memory))
    nothing = np.full(elements.itemsize, UNTOUCHED, "uint8").view(elements.dtype)
    elements[...] = nothing[0]
    assert (memory == UNTOUCHED).all(), "stores touch memory beyond the value"


def plan_of(name, operands, geometry=None, **more):
    call = Call(name, tuple(given(o).spec for o in operands), geometry, **more)
    plans = registry.ask("trivet.native", call)
    assert not isinstance(plans, str), plans
    return plans[0]


def run(name, *operands, geometry=None, threads=2) -> list[np.ndarray]:
    """Results, then operands written in place, by our own kernel."""
    wanted, small = openmp.threads, common.SMALL
    openmp.threads, common.SMALL = (lambda: threads), 0  # small operands on all threads too
    try:
        plan = plan_of(name, operands, geometry)
        ins = [put(spec, given(o).values) for spec, o in zip(plan.ins, operands)]
        outs = [put(spec) for spec in plan.outs]
        scratch = [put(Spec((plan.workspace,), "uint8"))] if plan.workspace else []
        addresses = [b.address() for b in (*outs, *ins, *scratch)]
        plan.run(*addresses)
        results = [seen(b).copy() for b in (*outs, *(ins[i] for i in plan.writes))]
        if not plan.writes:  # a second time, bound
            plan.bound(*addresses)()
            for buffer, first in zip(outs, results):
                assert seen(buffer).tobytes() == first.tobytes()
    finally:
        openmp.threads, common.SMALL = wanted, small
    for buffer in (*outs, *ins):
        expect_untouched(buffer)
    assert not scratch or (scratch[0].memory[-TAIL:] == UNTOUCHED).all()
    return results


def exact(name, *operands, geometry=None) -> list[np.ndarray]:
    """The same by the reference in float64."""
    values = [given(o).values for o in operands]
    wide = [v.astype("float64") if v.dtype == "float32" else v for v in values]
    call = Call(name, tuple(Spec(v.shape, v.dtype.name) for v in wide), geometry)
    (plan,) = registry.ask("trivet.reference", call)
    ins = [v.copy() for v in wide]
    outs = [np.empty(s.physical, s.dtype) for s in plan.outs]
    scratch = [np.empty(plan.workspace, "uint8")] if plan.workspace else []
    plan.run(*outs, *ins, *scratch)
    return [*outs, *(ins[i] for i in plan.writes)]


def expect_close(got, wanted, bound) -> None:
    """|got - wanted| <= bound wherever both are finite; inf and NaN stand in the same places."""
    assert got.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(got[~finite], wanted[~finite].astype("float32"))
    bound = np.broadcast_to(bound, wanted.shape)[finite]
    off = np.abs(got[finite] - wanted[finite]) - bound
    assert off.size == 0 or off.max() <= 0, f"off by {off.max()} more than the bound"
