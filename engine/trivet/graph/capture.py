"""Captured steps: one trace of launches, one arena for their memory, replays without Python.

Needs launch alone, and Tensor to wrap what goes in and comes out: any op can be captured.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config import means, using
from ..device import Buffer, trim
from ..errors import CaptureError, ShapeError
from ..launch import Trace, host_access, reorder, sending_to
from ..spec import Spec
from ..tape import Tensor
from .program import Program


def capture(step: Callable, *, fuse: bool = False, tune: bool = False) -> Captured:
    """Turns a step over Tensors into one that is traced twice, then replayed.

    The first two calls run eagerly and are compared: a step whose Python launches something else
    the second time (a gradient that was None at first) cannot be replayed. From the third call on
    no Python of the step runs. The step may return a Tensor, a tuple of Tensors or None; each
    replay overwrites what the one before returned. Python numbers in the step are constants; what
    changes from call to call is a Tensor: an argument, or one that exists before and is written
    in between.

    Args:
        fuse: Let a backend join launches (``conv+relu``). False replays the bits of eager.
        tune: Where several kernels can run a launch, measure once which is the fastest here; the
            first call takes longer for it, unless an earlier process has measured.

    Raises:
        CaptureError: The step takes or returns something else than Tensors, reads a value on the
            host, makes a Tensor from host data, or changes from call to call.
        ShapeError: A later call's arguments differ in shape or dtype from the first one's.

    >>> w = Tensor([1.0, 2.0])
    >>> double = capture(lambda x: w * x)
    >>> [double(Tensor([k, k])).numpy().tolist() for k in (1.0, 2.0, 3.0)]
    [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]
    """
    return Captured(step, fuse, tune)


class Captured:
    """A step and, from its third call on, the program that replays it."""

    def __init__(self, step: Callable, fuse: bool, tune: bool):
        self.step, self.fuse, self.tune = step, fuse, tune
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
        trim(inputs[0].buffer.device if inputs else "cpu")  # or free blocks of other sizes add up
        trace = Trace()
        with sending_to(trace), using(tuned=self.tune or means().tuned):
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
            inputs = {t.buffer for t in self.inputs}
            self.program = Program(trace, results, inputs, self.fuse)
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
