"""The program of a captured step: launches bound to memory."""

from __future__ import annotations

from .. import tuning
from ..device import Buffer, empty, trim
from ..launch import Note, Trace, operands
from . import passes
from .arena import lifetimes, place
from .constants import constant
from .grow import grow, share_statistics


class Program:
    """A trace, its launches bound to memory: that of what existed before, else the arena.

    Args:
        inputs: What is another value at every replay.
    """

    def __init__(self, trace: Trace, results: list[Buffer], inputs: set[Buffer], fuse: bool):
        survivors = {trace.owner(trace.slot(b)) for b in results} | trace.outside.keys()
        code = passes.Code(trace.notes, list(trace.specs), dict(trace.views))
        fixed = {slot for slot, b in trace.outside.items() if b not in inputs}
        code = passes.merge_reorders(code, survivors)
        code = grow(code, survivors, trace.outside)
        if fuse:
            code = passes.reuse_dropped(share_statistics(code), survivors)
            code = passes.join(code, survivors, fixed)
            code = passes.rectify_again(code)
        code = passes.prepare(code, fixed)
        code, hoisted = passes.hoist(code, survivors, trace.outside)
        self.constants, outside = [], dict(trace.outside)
        for note in hoisted:
            places = (code.views.get(slot, (slot, 0)) for slot in note.ins)
            sources = tuple((trace.outside[owner], offset) for owner, offset in places)
            self.constants.append(constant(note, sources))
            outside[note.outs[0]] = self.constants[-1].buffer
        survivors |= outside.keys()
        code = passes.overlay(code, survivors, outside)
        code = passes.share_workspace(code)
        self.notes = code.notes
        self._place(trace, code, survivors, outside)
        self._launches = [self._bound(note) for note in code.notes]

    def _place(self, trace, code, survivors, outside):
        offsets, total = place(lifetimes(code, survivors, outside), code.specs)
        device = next((b.device for b in outside.values()), "cpu")
        trim(device)  # what the step's calls so far have used: the arena takes its place
        self.arena = empty(device, total)
        memory = {slot: b.memory for slot, b in outside.items()}
        memory |= {slot: self.arena[offset:] for slot, offset in offsets.items()}
        self._memory = list(memory.values())  # bound addresses alone would not keep it

        def buffer_of(slot):
            owner, offset = code.views.get(slot, (slot, 0))
            return Buffer(code.specs[slot], device, memory[owner], offset)

        self._buffer_of = buffer_of
        written = {code.owner(slot) for note in code.notes for slot in note.written}
        self.changed = [b for b, s in trace.slots.items() if s in survivors and s in written]
        for buffer, slot in list(trace.slots.items()):
            owner = trace.owner(slot)
            if slot in offsets and slot in survivors:
                buffer_of(slot).array()[...] = buffer.array()  # the second call has run already
            buffer.memory = memory.get(owner) if owner in survivors else None

    def _bound(self, note: Note):
        return note.plan.bound(*operands(note.plan, [self._buffer_of(s) for s in note.slots]))

    def run(self) -> None:
        for buffer in self.changed:  # first: a launch that raises leaves the earlier ones' writes
            buffer.touch()
        for value in self.constants:
            value.refresh()
        for launch in self._launches:
            launch()

    def digest(self) -> str:
        """Names the kernels that run: equal for equal programs, another if one was chosen anew."""
        return tuning.digest([(note.call, note.plan) for note in self.notes])
