"""What programs compute once from values that none of them writes: weights in a kernel's layout."""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakValueDictionary

from ..device import Buffer, empty
from ..launch import Note, operands
from ..spec import Spec


class Constant:
    """The result of a launch that reads one value, made anew only when that one was written."""

    def __init__(self, note: Note, source: Buffer, offset: int):
        plan, device = note.plan, source.device
        self.buffer = _new(plan.outs[0], device)
        scratch = [_new(Spec((plan.workspace,), "uint8"), device)] if plan.workspace else []
        read = Buffer(plan.ins[0], device, source.memory, offset)
        self._source, self._version = source, -1  # no version yet
        self._launch = plan.bound(*operands(plan, [self.buffer, read, *scratch]))
        self._keep = scratch  # bound addresses alone would not

    def refresh(self) -> None:
        if self._version != self._source.version:
            self._launch()
            self._version = self._source.version


_SHARED: WeakKeyDictionary[Buffer, WeakValueDictionary] = WeakKeyDictionary()


def constant(note: Note, source: Buffer, offset: int) -> Constant:
    """The constant of this launch; programs of one network, one for each batch size, share it.

    Args:
        source: Owner of the memory that is read.
        offset: Where in it the operand begins, in bytes.
    """
    found = _SHARED.setdefault(source, WeakValueDictionary())
    key = note.call, note.plan.backend, note.plan.name, offset
    if (shared := found.get(key)) is None:
        shared = found[key] = Constant(note, source, offset)
    return shared


def _new(spec: Spec, device: str) -> Buffer:
    return Buffer(spec, device, empty(device, spec.nbytes))
