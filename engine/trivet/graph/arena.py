"""Where the values of a captured step lie: one block of memory, used again and again."""

from __future__ import annotations

import numpy as np

from ..device import ALIGNMENT, LARGE, stagger
from ..spec import Spec
from .passes import Code


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
        if size >= LARGE:
            # what lies behind it begins elsewhere in its page; as much for all, so that one value
            # still fits where two of half its size were
            size += stagger(1)
        rivals = np.flatnonzero((born[:i] <= last) & (dies[:i] >= first))
        start = 0
        for k in rivals[np.argsort(low[rivals], kind="stable")]:
            if start + size <= low[k]:
                break
            start = max(start, int(high[k]))
        born[i], dies[i], low[i], high[i] = first, last, start, start + size
    return dict(zip(slots, low.tolist())), int(high.max(initial=0))
