"""What programs compute once, from values that none of them writes: weights made ready."""

from __future__ import annotations

from weakref import WeakValueDictionary

from ..device import Buffer, empty
from ..launch import Note, operands
from ..spec import Spec


class Constant:
    """The result of a launch, made anew only when one of the values that it reads was written."""

    def __init__(self, note: Note, sources: tuple[tuple[Buffer, int], ...]):
        plan, device = note.plan, sources[0][0].device
        self.buffer = _new(plan.outs[0], device)
        scratch = [_new(Spec((plan.workspace,), "uint8"), device)] if plan.workspace else []
        ins = [Buffer(s, device, b.memory, at) for s, (b, at) in zip(plan.ins, sources)]
        self._launch = plan.bound(*operands(plan, [self.buffer, *ins, *scratch]))
        self._sources = [source for source, _ in sources]
        self._versions: list[int] = []
        self._keep = scratch  # bound addresses alone would not

    def refresh(self) -> None:
        versions = [source.version for source in self._sources]
        if self._versions != versions:
            self._launch()
            self._versions = versions


_SHARED: WeakValueDictionary[tuple, Constant] = WeakValueDictionary()


def constant(note: Note, sources: tuple[tuple[Buffer, int], ...]) -> Constant:
    """The constant of this launch; programs of one network, one for each batch size, share it.

    Args:
        sources: For each operand the owner of its memory, and where in it it begins, in bytes.
    """
    key = note.call, note.plan.backend, note.plan.name, note.plan.outs, sources
    if (shared := _SHARED.get(key)) is None:
        shared = _SHARED[key] = Constant(note, sources)
    return shared


def _new(spec: Spec, device: str) -> Buffer:
    return Buffer(spec, device, empty(device, spec.nbytes))
