"""Concatenations that only append, as in a dense block: what was there stays where it is."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

import numpy as np

from .. import registry, tuning
from ..launch import Note
from ..registry import Call, Plan
from ..spec import Spec, Strided
from .passes import Code, instead


def grow(code: Code, survivors: set[int], outside: Container[int]) -> Code:
    """Lays each concatenation that another one begins with into the other's memory.

    A chain z1 = [x, a], z2 = [z1, b], z3 = [z2, c] copies x three times. After this pass z1 and z2
    are views of z3, and x, a, b and c are copied once each, to their places in it. The readers of
    z1 and z2 must have kernels that take such views as they lie, else the chain is cut there.
    """
    chain = _Chain(code, survivors, outside)
    for k in reversed(range(len(chain.notes))):  # the last one first: it owns the memory
        if chain.concats(k):
            chain.lay(k)
    return chain.result()


class _Chain:
    def __init__(self, code, survivors, outside):
        self.code = code
        self.notes, self.specs = list(code.notes), list(code.specs)
        self.views = dict(code.views)
        self.fixed = {*survivors, *outside, *(owner for owner, _ in code.views.values())}
        self.makers = {out: k for k, note in enumerate(code.notes) for out in note.written}
        self.readers: dict[int, list[int]] = {}
        for k, note in enumerate(code.notes):
            for slot in note.ins:
                self.readers.setdefault(slot, []).append(k)
        self.laid: set[int] = set()

    def concats(self, k: int) -> bool:
        note = self.notes[k]
        return note.call.name == "concat" and self.specs[note.outs[0]].steps is not None

    def lay(self, k: int) -> None:
        """Makes the first operand of concatenation k a view of its result, if all agree."""
        z, x, *_ = self.notes[k].slots
        free = x not in self.fixed and x not in self.views and self.notes[k].ins.count(x) == 1
        made = self.makers.get(x)
        same_axis = made is not None and self.concats(made) and (
            self.notes[made].call.geometry == self.notes[k].call.geometry
        )  # fmt: skip
        if not (free and same_axis):
            return
        old = self.specs[x]
        steps = self.specs[z].steps
        spec = Spec(old.shape, old.dtype, Strided(steps=steps))
        again = {i: self._planned_again(i, x, spec) for i in self.readers[x] if i != k}
        if None in again.values():
            return
        self.specs[x] = spec
        self.views[x] = self.views.get(z, (z, 0))
        self.laid.add(x)
        for i, (call, plan) in again.items():
            self.notes[i] = self._with(self.notes[i], call, plan)

    def _planned_again(self, i: int, slot: int, spec: Spec) -> tuple[Call, Plan] | None:
        """The call and a plan of launch i with one operand lying otherwise, all else as it was."""
        note = self.notes[i]
        ins = tuple(spec if s == slot else old for s, old in zip(note.ins, note.plan.ins))
        call = replace(note.call, ins=ins)
        answer = registry.ask(note.plan.backend, call)
        plans = [] if isinstance(answer, str) else answer
        plans = [p for p in plans if (p.ins, p.outs) == (ins, note.plan.outs)]
        if not plans:
            return None
        return call, tuning.pick(call, plans) if call.means.tuned else plans[0]

    def _with(self, note: Note, call: Call, plan: Plan) -> Note:
        slots = (*note.outs, *note.ins)
        if plan.workspace:
            slots = (*slots, len(self.specs))
            self.specs.append(Spec((plan.workspace,), "uint8"))
        return replace(note, call=call, plan=plan, slots=slots)

    def result(self) -> Code:
        notes = []
        for k, note in enumerate(self.notes):
            if self.concats(k) and {note.outs[0], note.ins[0]} & self.laid:
                notes += self._copies(note)
            else:
                notes.append(note)
        return replace(self.code, notes=notes, specs=self.specs, views=self.views)

    def _copies(self, note: Note) -> list[Note]:
        """Puts the operands of a concatenation, but those there already, to their places."""
        z, copies, start = note.outs[0], [], 0
        owner, offset = self.views.get(z, (z, 0))
        steps, itemsize = self.specs[z].steps, np.dtype(self.specs[z].dtype).itemsize
        for source in note.ins:
            spec = self.specs[source]
            if source not in self.laid:
                place = len(self.specs)
                layout = Strided(steps=steps)
                self.specs.append(spec.at(layout))
                at = start * steps[note.call.geometry] * itemsize
                self.views[place] = owner, offset + at
                call = replace(note.call, name="reorder", ins=(spec,), geometry=layout)
                plan = registry.choose(call)
                copies.append(Note(call, plan, (place, source), note.line))
            start += spec.shape[note.call.geometry]
        return copies


def share_statistics(code: Code) -> Code:
    """Lets a batch normalisation go on from what an earlier one knows of its first channels.

    Both read the same memory, the later one more channels of it. Nothing writes the first
    channels in between: what ``grow`` lays into one memory is written once.
    """
    notes, specs, latest = list(code.notes), list(code.specs), {}
    laid = {*code.views, *(owner for owner, _ in code.views.values())}
    for k, note in enumerate(notes):
        if note.call.name != "batch_norm" or note.ins[0] not in laid:
            continue
        x = specs[note.ins[0]]
        memory, eps = code.views.get(note.ins[0], (note.ins[0], 0)), note.call.geometry[3]
        before = latest.get((memory, x.steps, eps))
        latest[memory, x.steps, eps] = note
        if before is None or specs[before.ins[0]].shape[1] >= x.shape[1]:
            continue
        ins = *note.ins, *before.outs[1:]
        notes[k] = instead(note, "batch_norm_onward", ins, specs) or note
    return replace(code, notes=notes, specs=specs)
