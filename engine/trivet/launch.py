"""The only place that takes memory and runs kernels, on behalf of the current sink."""

from __future__ import annotations

import linecache
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from . import config, registry, tuning
from .device import Buffer, empty, expect
from .errors import CaptureError, DeviceError, ShapeError
from .spec import PLAIN, Layout, Spec, Strided


class Eager:
    """Runs every launch at once, each result in memory of its own."""

    def allocate(self, spec: Spec, device: str) -> Buffer:
        return Buffer(spec, device, empty(device, spec.nbytes))

    def view(self, of: Buffer, spec: Spec, offset: int) -> Buffer:
        return Buffer(spec, of.device, of.memory, offset, of.owner)

    def run(self, call: registry.Call, plan: registry.Plan, buffers: list[Buffer]) -> None:
        plan.run(*operands(plan, buffers))

    def host(self, action: str) -> None:
        """The host may touch tensors at any time."""


def operands(plan: registry.Plan, buffers: list[Buffer]) -> list:
    """What a plan's ``run`` and ``bind`` take: arrays, or addresses."""
    return [b.address() if plan.addressed else b.array() for b in buffers]


@dataclass(frozen=True)
class Note:
    """One launch of a trace. Slots are numbers of buffers: outs, ins, workspace."""

    call: registry.Call
    plan: registry.Plan
    slots: tuple[int, ...]
    line: str = ""  # of the step that launched it

    @property
    def outs(self) -> tuple[int, ...]:
        return self.slots[: len(self.plan.outs)]

    @property
    def ins(self) -> tuple[int, ...]:
        outs = len(self.plan.outs)
        return self.slots[outs : outs + len(self.plan.ins)]

    @property
    def written(self) -> tuple[int, ...]:
        return *self.outs, *(self.ins[i] for i in self.plan.writes)


class Trace(Eager):
    """Runs and takes notes. Holds no buffer made meanwhile: a trace needs no more memory."""

    def __init__(self):
        self.notes: list[Note] = []
        self.specs: list[Spec] = []  # by slot
        self.slots: WeakKeyDictionary[Buffer, int] = WeakKeyDictionary()
        self.outside: dict[int, Buffer] = {}  # what existed before, by slot; never a view
        self.views: dict[int, tuple[int, int]] = {}  # slot: slot of its owner, offset in bytes

    def allocate(self, spec, device):
        buffer = super().allocate(spec, device)
        self._number(buffer)
        return buffer

    def view(self, of, spec, offset):
        buffer = super().view(of, spec, offset)
        self.slot(buffer)
        return buffer

    def run(self, call, plan, buffers):
        super().run(call, plan, buffers)
        self.notes.append(Note(call, plan, tuple(map(self.slot, buffers)), _line_of_the_step()))

    def host(self, action):
        raise CaptureError(
            f"A captured step {action}, which a replay would not repeat:\n  {_line_of_the_step()}",
            "do it outside, and pass what changes to the step as a Tensor.",
        )

    def slot(self, buffer: Buffer) -> int:
        if buffer not in self.slots:
            if buffer.base:
                owner = self.slot(buffer.base)
                self.views[self._number(buffer)] = owner, buffer.offset
            else:
                self.outside[self._number(buffer)] = buffer
        return self.slots[buffer]

    def owner(self, slot: int) -> int:
        """The slot whose memory this one lies in."""
        return self.views[slot][0] if slot in self.views else slot

    def _number(self, buffer):
        self.slots[buffer] = len(self.specs)
        self.specs.append(buffer.spec)
        return self.slots[buffer]


def _line_of_the_step() -> str:
    """Where the user's code is: the nearest frame outside the engine."""
    frame = sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    return f"{file}:{line}: {linecache.getline(file, line).strip()}"


EAGER = Eager()
_SINK: ContextVar[Eager] = ContextVar("sink", default=EAGER)


def sending_to(sink: Eager):
    """``with sending_to(trace):`` hands the launches inside to another sink."""
    return config.held(_SINK, sink)


def launch(
    name: str,
    *ins: Buffer,
    geometry=None,
    into: list[Buffer] | None = None,
    partner: Buffer | None = None,
    auxiliaries: bool = True,
) -> list[Buffer]:
    """Runs a kernel on the device of its operands; returns its results, then its auxiliaries.

    Args:
        into: Buffers of exactly the outs' specs, and no operand: a kernel that updates an
            operand says so in ``Plan.writes``.
        partner: An auxiliary among the operands; only its maker can read it.
        auxiliaries: False when no gradient will be asked of the results.
    """
    sink, device = _SINK.get(), _one_device(name, ins)
    specs = tuple(b.spec for b in ins)
    call = registry.Call(name, specs, geometry, device, config.means(), auxiliaries)
    plan = choose(call, partner and partner.backend)
    ins = [b if b.spec == s else reorder(b, s.layout) for b, s in zip(ins, plan.ins, strict=True)]
    outs = into or [sink.allocate(spec, device) for spec in plan.outs]
    for out, spec in zip(outs, plan.outs, strict=True):
        if out.spec != spec:
            raise ShapeError(
                f"{name}: expected a destination {out.spec}; got a value {spec}.",
                "make a new Tensor; one keeps its shape and dtype for life.",
            )
    scratch = [sink.allocate(Spec((plan.workspace,), "uint8"), device)] if plan.workspace else []
    written = [*outs, *(ins[i] for i in plan.writes)]
    for buffer in written:
        _expect_places(name, buffer.spec)
    sink.run(call, plan, [*outs, *ins, *scratch])
    for buffer in written:
        buffer.touch()
    for out in outs:
        out.backend = plan.backend
    return outs


def choose(call: registry.Call, partner: str | None = None) -> registry.Plan:
    """The plan that runs a call: the best guess, or the fastest measured one if tuning is on."""
    if call.means.tuned:
        return registry.choose(call, partner, tuning.pick)
    return registry.choose(call, partner)


def _expect_places(name: str, spec: Spec) -> None:
    """What is written has a place for each element; a broadcast view has not."""
    steps = spec.layout.steps if isinstance(spec.layout, Strided) else ()
    if any(n > 1 and not step for n, step in zip(spec.shape, steps)):
        raise ShapeError(
            f"{name}: expected a place in memory for each element written; got {spec}, a view "
            "that repeats some.",
            "write to what was broadcast, or to a copy of the view.",
        )


def _one_device(name, ins):
    devices = {b.device for b in ins}
    if len(devices) > 1:
        raise DeviceError(
            f"{name}: expected tensors on one device; got {' and '.join(sorted(devices))}.",
            "move one of them with .to(device=...).",
        )
    return devices.pop()


def reorder(buffer: Buffer, layout: Layout, into: Buffer | None = None) -> Buffer:
    """A copy in the given layout; between a view and a backend's own it goes by way of plain."""
    both = buffer.spec, buffer.spec.at(layout)
    strided = any(isinstance(side.layout, Strided) for side in both)
    if strided and any(side.steps is None for side in both):
        buffer = reorder(buffer, PLAIN)
    return launch("reorder", buffer, geometry=layout, into=into and [into])[0]


def view(buffer: Buffer, spec: Spec, offset: int) -> Buffer:
    """Another look at a plain or strided buffer's memory: nothing is copied, nothing runs.

    Args:
        offset: Bytes from the start of the owner's memory.
    """
    return _SINK.get().view(buffer, spec, offset)


def host_access(action: str) -> None:
    _SINK.get().host(action)


def upload(array: np.ndarray, device: str = "cpu") -> Buffer:
    host_access("takes data from the host")
    buffer = _SINK.get().allocate(Spec(array.shape, array.dtype.name), expect(device))
    buffer.array()[...] = array
    return buffer


def download(buffer: Buffer) -> np.ndarray:
    """A copy in the host's memory that nobody else holds."""
    host_access("reads a Tensor")
    return reorder(buffer, PLAIN).array()
