"""What our own kernels share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import registry
from ..errors import IdError
from ..lib import openmp
from ..registry import Call, Plan
from ..simd import Launch, Operand, float_bits
from ..simd.maps import Map
from ..spec import CHANNELS_LAST, PLAIN, Layout, Spec

kernel = partial(registry.kernel, backend=__package__)
NAME = "native"
SMALL = 1 << 14  # elements that one thread has done before another would have woken up


def refusal(call: Call, *which: int) -> str | None:
    """Why no kernel of ours may run on these operands (all if none are named); None if one may."""
    for spec in [call.ins[i] for i in which] or call.ins:
        if spec.dtype != "float32":
            return f"float32 only, not {spec.dtype}"
        if not spec.size:
            return "empty"
    return None


def team(size: int) -> int:
    """Threads for so many elements: one or all (the runtime ends threads that a team leaves)."""
    return 1 if size < SMALL else openmp.threads()


def planned(run: Launch, ins, outs=(), over=(), **more) -> Plan:
    """The plan of a Launch."""
    ins, outs, over = tuple(ins), tuple(outs), tuple(over)
    return Plan(run, ins, outs, bind=run.bind, name=NAME, addressed=True, over=over, **more)


class Checked:
    """A Launch whose kernels set a flag when an id is out of range: ``run`` and ``bind``.

    A kernel cannot raise, so it takes another id instead, and the error is raised after it.

    Args:
        flag, ids: The Operands of the flag (int64, in the workspace) and of plain ids.
        spec: Of the ids.
        count: They count in [0, count).
    """

    def __init__(self, run: Launch, name: str, flag: Operand, ids: Operand, spec: Spec, count: int):
        self.run, self.name, self.flag, self.ids = run, name, flag, ids
        self.spec, self.count = spec, count

    def __call__(self, *addresses: int) -> None:
        self.bind(*addresses)()

    def bind(self, *addresses: int) -> Callable[[], None]:
        launch = self.run.bind(*addresses)
        flag = ctypes.c_int64.from_address(addresses[self.flag] + self.flag.offset)

        def checked():
            flag.value = 0
            launch()
            if flag.value:
                self._raise(addresses[self.ids])

        return checked

    def _raise(self, address):
        memory = (ctypes.c_char * self.spec.nbytes).from_address(address)
        ids = np.frombuffer(memory, self.spec.dtype).reshape(self.spec.shape)
        place = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= self.count))[0])
        raise IdError(
            f"{self.name}: expected ids in [0, {self.count}); got {ids[place]} at position "
            f"{place}.",
            "check how the ids were made; they count from 0.",
        )


def is_image(spec: Spec) -> bool:
    """Whether it has pixels: (N, C, *size). Rows of features have none and stay plain."""
    return len(spec.shape) >= 3


def image(spec: Spec) -> Spec:
    """Channels last, as images lie on this leg; anything else plain."""
    return spec.at(CHANNELS_LAST if is_image(spec) else PLAIN)


def lies_channels_last(spec: Spec) -> bool:
    """Also a slice of the channels of what does."""
    if not is_image(spec) or spec.layout == PLAIN:
        return False
    return spec.layout == CHANNELS_LAST or (spec.shape[1] > 1 and spec.pixels is not None)


def followed(*specs: Spec) -> Layout:
    """The layout of a result: channels last if an operand lies so, else plain."""
    return CHANNELS_LAST if any(map(lies_channels_last, specs)) else PLAIN


@dataclass(frozen=True)
class Walk:
    """How a loop goes over operands of one shape: axes merged, outermost first."""

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]  # per operand and axis  [elements]; 0 repeats

    @classmethod
    def over(cls, shape: tuple[int, ...], order, *specs: Spec) -> Walk:
        """Of operands that broadcast to the shape, its axes walked in this order."""
        several = [_broadcast(spec, shape) for spec in specs]
        axes = []
        for axis in order:
            n, steps = shape[axis], [s[axis] for s in several]
            if n == 1:
                continue
            if axes and all(a == b * n for a, b in zip(axes[-1][1], steps)):
                axes[-1] = axes[-1][0] * n, steps
            else:
                axes.append((n, steps))
        alone = shape and shape[order[-1]] == 1  # one channel of several: rows of one
        if not axes or (alone and any(step not in (0, 1) for step in axes[-1][1])):
            axes.append((1, [1] * len(specs)))
        return cls(tuple(n for n, _ in axes), tuple(zip(*(s for _, s in axes))))


def _broadcast(spec, shape):
    """Steps of an operand along the axes of a shape that it is broadcast to."""
    new = len(shape) - len(spec.shape)
    own = [step if n > 1 else 0 for n, step in zip(spec.shape, spec.steps)]
    return [0] * new + own


def walk_order(layout: Layout, rank: int) -> list[int]:
    """The axes of a layout as they lie in memory, outermost first."""
    return [0, *range(2, rank), 1] if layout == CHANNELS_LAST else list(range(rank))


def map_launch(made: Map, outs, ins, places, options=(), behind=()) -> Launch | str:
    """A map alone as a Launch, or why it cannot walk the operands; takes what map_stage takes."""
    stage = map_stage(made, outs, ins, places, options, behind)
    return stage if isinstance(stage, str) else Launch(stage, on=team(outs[0].size))


def map_stage(
    made: Map, outs, ins, places, options=(), behind=(), layout: Layout | None = None
) -> tuple | str:
    """A map as a stage of a Launch, or why it cannot walk the operands.

    Args:
        outs, ins: Specs; the first result's layout (or the one given) is the order of the walk.
        places: The Operand of each: results, then operands.
        options: float32 constants.
        behind: Further entries of the table, for the map's scalars.
    """
    shape = outs[0].shape
    order = walk_order(layout or followed(outs[0]), len(shape))
    walk = Walk.over(shape, order, *outs, *ins)
    at = [p if isinstance(p, Operand) else Operand(p) for p in places]
    return walk_stage(made, walk, at, [*map(float_bits, options), *behind])


def walk_stage(made: Map, walk: Walk, at: list[Operand], behind=()) -> tuple | str:
    """As map_stage, of operands walked so; ``behind`` them in the table stand these entries."""
    *rows, columns = walk.sizes
    inmost = [steps[-1] for steps in walk.steps]
    results = made.results
    if len(rows) > 2 or any(step != 1 for step in inmost[:results]):
        return "lies in too many pieces"
    if any(step not in (0, 1) for step in inmost):
        return "an operand is transposed"
    if not rows:
        kinds = "".join("m" if step else "r" for step in inmost[results:])
        return made.flat(kinds), (columns, *at, *behind)
    outer = [4 * steps[-3] if len(rows) == 2 else 0 for steps in walk.steps]
    inner = [4 * steps[-2] for steps in walk.steps]
    kinds = "".join(
        "r" if not step else "m" if any(steps[:-1]) else "c"
        for step, steps in zip(inmost[results:], walk.steps[results:])
    )
    entries = [entry for each in zip(at, outer, inner) for entry in each]
    count = rows[0] * rows[1] if len(rows) == 2 else rows[0]
    return made.rows(kinds), (count, rows[-1], columns, *entries, *behind)


def map_plan(call: Call, made: Map, options=(), shape=None) -> Plan | str:
    """The plan of a map of float32 operands that broadcast to one result.

    Operands are taken as they lie where the walk can follow them, else in the result's layout.
    """
    if why := refusal(call):
        return why
    shape = np.broadcast_shapes(*(s.shape for s in call.ins)) if shape is None else shape
    layout = followed(*(s for s in call.ins if s.shape == shape))
    out = Spec(shape, "float32", layout)

    def laid(spec):
        return spec.at(layout if len(spec.shape) == len(shape) else PLAIN)

    ins = [s if _walks(out, s) else laid(s) for s in call.ins]
    run = map_launch(made, [out], ins, range(1 + len(ins)), options)
    if isinstance(run, str):  # each could be followed alone, but not all together
        ins = [laid(s) for s in call.ins]
        run = map_launch(made, [out], ins, range(1 + len(ins)), options)
    if isinstance(run, str):
        return run
    return planned(run, ins, [out], over=[(0, i) for i, s in enumerate(ins) if s == out])


def update_plan(call: Call, made: Map, results, sources, options=(), behind=()) -> Plan | str:
    """The plan of a map that writes operands of one shape in place.

    Args:
        results: The operands written, in the order of the map's results.
        sources: The operands that the map takes; those not written are reordered if need be.
    """
    if why := refusal(call, *results, *sources):
        return why
    written = [call.ins[i] for i in results]
    if any(s.steps is None for s in written):
        return "another backend's layout"
    ins = list(call.ins)
    for i in set(sources) - set(results):
        if not _walks(written[0], ins[i]):
            ins[i] = ins[i].at(followed(written[0]) if ins[i].shape == written[0].shape else PLAIN)
    taken = [ins[i] for i in sources]
    run = map_launch(made, written, taken, (*results, *sources), options, behind)
    return run if isinstance(run, str) else planned(run, ins, writes=tuple(sorted(results)))


def _walks(out, spec):
    """Whether one operand lies so that vectors along the result's last axis can be read."""
    if spec.steps is None:
        return False
    walk = Walk.over(out.shape, walk_order(followed(out), len(out.shape)), out, spec)
    return len(walk.sizes) <= 3 and walk.steps[1][-1] in (0, 1)
