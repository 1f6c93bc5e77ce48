"""Captured steps: one trace of launches, one arena for their memory, replays without Python.

Needs launch alone, and Tensor to wrap what goes in and comes out: any op can be captured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from . import registry
from .device import ALIGNMENT, Buffer, empty
from .errors import CaptureError, ShapeError
from .launch import Note, Trace, host_access, operands, reorder, sending_to
from .registry import Call, Plan
from .spec import Spec
from .tape import Tensor


def capture(step: Callable, *, fuse: bool = False) -> Captured:
    """Turns a step over Tensors into one that is traced twice, then replayed.

    The first two calls run eagerly and are compared: a step whose Python launches something else
    the second time (a gradient that was None at first) cannot be replayed. From the third call on
    no Python of the step runs. The step may return a Tensor, a tuple of Tensors or None; each
    replay overwrites what the one before returned. Python numbers in the step are constants; what
    changes from call to call is a Tensor: an argument, or one that exists before and is written
    in between.

    Args:
        fuse: Let a backend join launches (``conv+relu``). False replays the bits of eager.

    Raises:
        CaptureError: The step takes or returns something else than Tensors, reads a value on the
            host, makes a Tensor from host data, or changes from call to call.
        ShapeError: A later call's arguments differ in shape or dtype from the first one's.

    >>> w = Tensor([1.0, 2.0])
    >>> double = capture(lambda x: w * x)
    >>> [double(Tensor([k, k])).numpy().tolist() for k in (1.0, 2.0, 3.0)]
    [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]
    """
    return Captured(step, fuse)


class Captured:
    """A step and, from its third call on, the program that replays it."""

    def __init__(self, step: Callable, fuse: bool):
        self.step, self.fuse = step, fuse
        self.inputs: list[Tensor] | None = None
        self.program: Program | None = None
        self._first: tuple | None = None

    def __call__(self, *args: Tensor):
        host_access("calls another captured step")
        _expect_tensors("takes", args)
        if self.inputs is None:  # copies: a replay may overwrite them, the caller's stay his
            inputs = [_private(t) for t in args]
            result = self._trace(inputs)
            self.inputs = inputs  # now that it went well: what raised may be called otherwise
            return result
        self._receive(args)
        if self.program is None:
            return self._trace(self.inputs)
        self.program.run()
        return self._result

    def _receive(self, args):
        got, expected = ([(t.shape, t.dtype) for t in ts] for ts in (args, self.inputs))
        if got != expected:
            raise ShapeError(
                f"A captured step expected the arguments of its first call, {expected}; got {got}.",
                "drop or pad an incomplete batch, or capture once per shape.",
            )
        # a step may have returned its inputs: none is read after it was overwritten
        inside = {t.buffer for t in self.inputs}
        args = [_private(t) if t.buffer.owner in inside else t for t in args]
        for mine, arg in zip(self.inputs, args):
            reorder(arg.buffer, mine.buffer.spec.layout, into=mine.buffer)

    def _trace(self, inputs):
        trace = Trace()
        with sending_to(trace):
            returned = self.step(*inputs)
        tensors = () if returned is None else (returned,)
        tensors = returned if isinstance(returned, tuple) else tensors
        _expect_tensors("returns", tensors)
        results = [t.buffer for t in tensors]
        seen = _signature(trace, results)
        kept = tuple(Tensor(b) for b in results)  # without the tape: its values end here
        self._result = kept if returned is tensors else kept[0] if kept else None
        if self._first is None:
            self._first = seen
        else:
            _expect_the_same(self._first, seen)
            self.program = Program(trace, results, self.fuse)
            self._first = None  # it holds on to what existed before
        return self._result


def _private(t: Tensor) -> Tensor:
    layout = t.buffer.spec.layout if not t.buffer.base else Spec(t.shape, t.dtype).layout
    return Tensor(reorder(t.buffer, layout), requires_grad=t.requires_grad)


def _expect_tensors(verb, values):
    if alien := [v for v in values if not isinstance(v, Tensor)]:
        raise CaptureError(
            f"A captured step {verb} Tensors only; got {type(alien[0]).__name__} {alien[0]!r}.",
            "wrap what changes between calls, Tensor(0.1); leave what is constant to a closure.",
        )


def _signature(trace: Trace, results: list[Buffer]):
    """What must be equal at the second call: launches, what they touch, and what is returned."""
    outside = trace.outside  # the buffers themselves: an id may be given to another meanwhile
    launches = [(n.call, n.slots, tuple(outside.get(s) for s in n.slots)) for n in trace.notes]
    return launches, [trace.slot(b) for b in results], [n.line for n in trace.notes]


def _expect_the_same(first, second):
    if first[:2] == second[:2]:
        return
    pairs = list(zip(first[0], second[0]))
    k = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    said = [f"{t[0][k][0].name} at {t[2][k]}" if k < len(t[0]) else "the end of the step"
            for t in (first, second)]  # fmt: skip
    raise CaptureError(
        "A captured step must do the same at every call; at its second call it did something "
        f"else in launch {k}:\n  first:  {said[0]}\n  second: {said[1]}",
        "create what the step needs (gradients, states) before, and clear gradients inside it.",
    )


class Program:
    """A trace, its launches bound to memory: that of what existed before, else the arena."""

    def __init__(self, trace: Trace, results: list[Buffer], fuse: bool):
        survivors = {trace.owner(trace.slot(b)) for b in results} | trace.outside.keys()
        code = merge_reorders(Code(trace.notes, list(trace.specs), dict(trace.views)), survivors)
        if fuse:
            code = join(code, survivors)
        self.notes = code.notes
        lives = lifetimes(code, survivors, trace.outside)
        offsets, total = place(lives, code.specs)
        device = next((b.device for b in trace.outside.values()), "cpu")
        self.arena = empty(device, total)
        memory = {slot: b.memory for slot, b in trace.outside.items()}
        memory |= {slot: self.arena[offset:] for slot, offset in offsets.items()}

        def buffer_of(slot):
            owner, offset = code.views.get(slot, (slot, 0))
            return Buffer(code.specs[slot], device, memory[owner], offset)

        written = {code.owner(slot) for n in code.notes for slot in n.written}
        self.changed = [b for b, s in trace.slots.items() if s in survivors and s in written]
        for buffer, slot in list(trace.slots.items()):
            owner = trace.owner(slot)
            if slot in offsets and slot in survivors:
                buffer_of(slot).array()[...] = buffer.array()  # the second call has run already
            buffer.memory = memory.get(owner) if owner in survivors else None
        self.launches = [
            n.plan.bound(*operands(n.plan, [buffer_of(slot) for slot in n.slots]))
            for n in code.notes
        ]
        self._memory = list(memory.values())  # addresses alone would not keep it

    def run(self) -> None:
        for buffer in self.changed:  # first: a launch that raises leaves the earlier ones' writes
            buffer.touch()
        for launch in self.launches:
            launch()


@dataclass(frozen=True)
class Code:
    """Launches, and of every slot its spec and, if it is a view, whose memory it lies in."""

    notes: list[Note]
    specs: list[Spec]  # by slot
    views: dict[int, tuple[int, int]]  # slot: slot of the owner, offset in bytes

    def owner(self, slot: int) -> int:
        return self.views[slot][0] if slot in self.views else slot


def merge_reorders(code: Code, survivors: set[int]) -> Code:
    """Drops each reorder that repeats one of a value unchanged since."""
    writes = Counter(code.owner(slot) for note in code.notes for slot in note.written)
    so_far, first, alias, merged = Counter(), {}, {}, []
    for note in code.notes:
        note = replace(note, slots=tuple(alias.get(slot, slot) for slot in note.slots))
        if note.call.name == "reorder":
            out, source = note.slots[:2]
            key = source, so_far[code.owner(source)], note.plan.outs
            # a copy made to be written stays a copy, and so does one that views look into
            plain = out not in code.views and not any(o == out for o, _ in code.views.values())
            if plain and out not in survivors and writes[out] == 1:
                alias[out] = first.setdefault(key, out)
                if alias[out] != out:
                    continue
        so_far.update(code.owner(slot) for slot in note.written)
        merged.append(note)
    return replace(code, notes=merged)


def join(code: Code, survivors: set[int]) -> Code:
    """Joins a launch with the only reader of its result, where a backend offers to.

    The joined kernel is named ``a+b``; its geometry is both geometries and the place of a's result
    among b's operands; its operands are a's, then b's without that one. It is taken only if it
    accepts them as they lie.
    """
    notes, specs, k = list(code.notes), list(code.specs), 0
    uses = Counter(slot for note in notes for slot in note.slots)
    viewed = {*code.views, *(owner for owner, _ in code.views.values())}
    single = {slot for slot, n in uses.items() if n == 2} - viewed - survivors  # maker and reader
    makers = {note.outs[0]: note for note in notes if len(note.outs) == 1 and not note.plan.writes}
    while k < len(notes):
        b = notes[k]
        for at, slot in enumerate(b.ins):
            a = makers.get(slot) if slot in single else None
            joined = a and _may_run_late(a, k, notes, code) and _joined(a, b, at)
            if joined:
                call, plan, slots = joined
                if plan.workspace:
                    slots = (*slots, len(specs))
                    specs.append(Spec((plan.workspace,), "uint8"))
                notes[k] = Note(call, plan, slots, b.line)
                if len(b.outs) == 1:
                    makers[b.outs[0]] = notes[k]
                notes.remove(a)
                k -= 2  # look at the joined launch again: chains grow link by link
                break
        k += 1
    return replace(code, notes=notes, specs=specs)


def _may_run_late(a: Note, k: int, notes: list[Note], code: Code) -> bool:
    """Whether nobody writes what launch a reads before launch k."""
    read = {code.owner(slot) for slot in a.ins}
    between = (n.written for n in notes[notes.index(a) + 1 : k])
    return not any(code.owner(slot) in read for written in between for slot in written)


def _joined(a: Note, b: Note, at: int) -> tuple[Call, Plan, tuple[int, ...]] | None:
    if b.plan.writes:
        return None
    ins = (*a.ins, *b.ins[:at], *b.ins[at + 1 :])
    specs = (*a.plan.ins, *b.plan.ins[:at], *b.plan.ins[at + 1 :])
    name, geometry = f"{a.call.name}+{b.call.name}", (a.call.geometry, b.call.geometry, at)
    call = replace(b.call, name=name, ins=specs, geometry=geometry)
    for backend in registry.PREFERENCE[call.device]:
        plans = registry.ask(backend, call)
        for plan in plans if isinstance(plans, list) else ():
            if (plan.ins, plan.outs) == (specs, b.plan.outs):
                return call, plan, (*b.outs, *ins)
    return None


def lifetimes(code: Code, survivors: set[int], outside) -> dict[int, tuple[int, int]]:
    """The first and the last launch that touches the memory of each owner made in the step."""
    lives = {}
    for k, note in enumerate(code.notes):
        for slot in map(code.owner, note.slots):
            if slot not in outside:
                end = len(code.notes) if slot in survivors else k
                lives[slot] = lives.get(slot, (k, k))[0], end
    return lives


def place(lives: dict[int, tuple[int, int]], specs: list[Spec]) -> tuple[dict[int, int], int]:
    """Byte offsets such that no two values alive at once overlap, and the size of it all.

    The largest value first, each in the lowest gap that is free during its whole life.
    """
    slots = sorted(lives, key=lambda slot: (-specs[slot].nbytes, lives[slot]))
    n = len(slots)
    born, dies, low, high = (np.zeros(n, np.int64) for _ in range(4))
    for i, slot in enumerate(slots):
        first, last = lives[slot]
        size = -(-specs[slot].nbytes // ALIGNMENT) * ALIGNMENT
        rivals = np.flatnonzero((born[:i] <= last) & (dies[:i] >= first))
        start = 0
        for k in rivals[np.argsort(low[rivals], kind="stable")]:
            if start + size <= low[k]:
                break
            start = max(start, int(high[k]))
        born[i], dies[i], low[i], high[i] = first, last, start, start + size
    return dict(zip(slots, low.tolist())), int(high.max(initial=0))
