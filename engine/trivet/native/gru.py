"""GRU layers, one direction of one layer, over packed sequences of any lengths.

Each thread takes its sequences through all steps. The gradients of weights and biases are sums over
the threads, so their last bits depend on how many there are.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry import Recurrence
from ..lib import openmp
from ..registry import Call, Plan
from ..simd import BYTES, LANES, Launch, Operand
from ..spec import PLAIN, Spec
from .common import kernel, planned, refusal
from .gru_kernels import (
    GATES,
    KEPT,
    MEETING,
    ROWS,
    gru_add_parts,
    gru_pack,
    gru_pack_back,
    gru_steps,
    gru_steps_back,
)
from .products import turned_scratch


def _refusal(call: Call) -> str | None:
    if why := refusal(call):
        return why
    return None if call.geometry.mode == "gru" else f"GRU only, not {call.geometry.mode}"


class _Places:
    """Parts of a workspace, one after the other."""

    def __init__(self, number: int):
        self.number, self.bytes = number, 0

    def take(self, count: int) -> Operand:
        """Room for so many float32, and for a vector that runs past their end."""
        place = Operand(self.number, self.bytes)
        self.bytes += -(-(4 * count + BYTES) // 64) * 64
        return place


def _packed(depth: int, columns: int) -> int:
    """float32 of a packed right side."""
    return depth * -(-columns // LANES) * LANES


def _starts(geometry: Recurrence) -> np.ndarray:
    """The first row of each step, and the row behind the last."""
    return np.cumsum((0, *geometry.batch_sizes), dtype=np.int64)


def _lies(spec: Spec) -> Spec:
    """As it is where the numbers of a row lie side by side, else plain."""
    whole = spec.steps is not None and spec.steps[-1] == 1
    return spec if len(spec.shape) == 3 and whole else spec.at(PLAIN)


def _steps(spec: Spec) -> tuple[int, int]:
    """Bytes from row to row and from step to step; 0: the rows are packed."""
    if len(spec.shape) == 2:
        return 4 * spec.shape[1], 0
    return 4 * spec.steps[1], 4 * spec.steps[0]


def _group(sequences: int) -> int:
    """How many sequences a thread takes together: whole register blocks, if all threads get one."""
    threads = openmp.threads()
    return ROWS if sequences >= ROWS * threads else -(-sequences // threads)


@kernel("rnn")
def rnn(call: Call) -> Plan | str:
    """x (rows, I), h0 (N, H), w_ih (3H, I), w_hh (3H, H)[, b_ih, b_hh (3H)]
    -> y (rows, H), h_n (N, H); kept (rows, 4H): r, z, n, u.

    The rows of x and y may have two axes, (T, N).
    """
    if why := _refusal(call):
        return why
    geometry, (x, h0, *others) = call.geometry, call.ins
    x, (*rows, inputs), (sequences, hidden) = _lies(x), x.shape, h0.shape
    outs = [Spec((*rows, hidden)), Spec(h0.shape)]
    if call.auxiliaries:
        outs.append(Spec((math.prod(rows), KEPT * hidden)))
    first = len(outs)  # of the operands
    places = _Places(first + len(call.ins))
    w_ih = places.take(_packed(inputs, GATES * hidden))
    w_hh = places.take(_packed(hidden, hidden) * GATES)
    bias = places.take(KEPT * hidden)
    kept = call.auxiliaries
    gates = Operand(2) if kept else places.take(sequences * KEPT * hidden)
    starts, none = _starts(geometry), np.zeros(GATES * hidden, np.float32)
    b_ih, b_hh = (
        (Operand(first + 4), Operand(first + 5)) if geometry.bias else (none.ctypes.data,) * 2
    )
    packing = gru_pack, (
        Operand(first + 2), Operand(first + 3), b_ih, b_hh, w_ih, w_hh, bias, inputs, hidden,
    )  # fmt: skip
    steps = gru_steps, (
        Operand(0), Operand(1), gates, w_ih, w_hh, bias, Operand(first), Operand(first + 1),
        starts.ctypes.data, len(geometry.batch_sizes), sequences, inputs, hidden,
        _group(sequences), int(geometry.reverse), int(kept), *_steps(x),
    )  # fmt: skip
    run = Launch(packing, steps, keep=(starts, none))
    ins = x, *(spec.at(PLAIN) for spec in (h0, *others))
    return planned(run, ins, outs, workspace=places.bytes)


@kernel("rnn_grad")
def rnn_grad(call: Call) -> Plan | str:
    """gy, gh_n, the operands of ``rnn``, y and kept -> a gradient per operand."""
    if why := _refusal(call):
        return why
    geometry, count = call.geometry, 4 + 2 * call.geometry.bias
    outs = tuple(Spec(spec.shape) for spec in call.ins[2 : 2 + count])
    (*_, inputs), (sequences, hidden) = outs[0].shape, outs[1].shape
    ins = [_lies(spec) if k in (0, 2) else spec.at(PLAIN) for k, spec in enumerate(call.ins)]
    gy, gh_n, x, h0, w_ih, w_hh = (Operand(count + k) for k in range(6))
    y, kept = (Operand(len(outs) + len(call.ins) - k) for k in (2, 1))
    places = _Places(len(outs) + len(call.ins))
    packed = [
        places.take(_packed(depth, columns))
        for depth, columns in ((GATES * hidden, inputs), (2 * hidden, hidden), (hidden, hidden))
    ]
    on = openmp.threads()
    sums = places.take(on * (KEPT * hidden + GATES * hidden * (inputs + hidden)))
    rows = max(MEETING, sequences)  # all of a step, whatever a thread's share of it
    room = places.take(on * (rows * (KEPT * hidden + inputs + hidden) + LANES))
    scratch = places.take(on * turned_scratch.py_func(GATES * hidden) // 4)
    starts = _starts(geometry)
    packing = gru_pack_back, (w_ih, w_hh, *packed, inputs, hidden)
    steps = gru_steps_back, (
        Operand(0), Operand(1), gy, gh_n, x, h0, y, kept, *packed, sums, room, scratch,
        starts.ctypes.data, len(geometry.batch_sizes), sequences, inputs, hidden,
        _group(sequences), int(geometry.reverse), rows, *_steps(ins[0]), *_steps(ins[2]),
    )  # fmt: skip
    biases = (Operand(4), Operand(5)) if geometry.bias else (0, 0)
    adding = gru_add_parts, (Operand(2), Operand(3), *biases, sums, inputs, hidden)
    run = Launch(packing, steps, adding, keep=(starts,))
    return planned(run, ins, outs, workspace=places.bytes)
