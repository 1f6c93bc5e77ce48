"""What the oneDNN kernels share: descriptors of specs, and plans made of launches."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np

from .. import registry
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor, Operation
from ..registry import Call, Plan
from ..spec import CHANNELS_LAST, PLAIN, Layout, Spec, row_major

LINE = 64  # bytes: where each piece of the workspace begins
DTYPES = {"float32": K.F32, "bfloat16": K.BF16}
PRODUCTS = "avx512_core_bf16", "avx512_core_amx"  # instruction sets that multiply bfloat16
BROKEN = {  # in oneDNN 3.2, where operands are bfloat16
    ("convolution_forward", "jit_1x1:avx512_core_amx"): "writes behind the result",
    ("convolution_backward_weights", "jit:avx512_core_amx"): "reads what nobody wrote",
}
_DESCRIPTORS: dict[tuple, Descriptor] = {}  # of the opaque layouts, by key


class Refused(Exception):
    """Why a call is left to another backend."""


def kernel(name: str, *, private: bool = False, rounds: bool = False):
    """Registers an answer: a Plan, Plans, or a string or Refused that says why not.

    It is asked only for float32, and only where there is something to compute.

    Args:
        private: Among the operands is an auxiliary of this backend's, uint8.
        rounds: The answer takes a second argument, whether its products shall be of operands
            rounded to bfloat16. With precision "reduced" it is asked for these too.
    """

    def register(answer: Callable[..., registry.Answer]):
        @wraps(answer)
        def guarded(call: Call) -> registry.Answer:
            allowed = {"float32", "uint8"} if private else {"float32"}
            if wrong := [s.dtype for s in call.ins if s.dtype not in allowed]:
                return f"float32 only, not {wrong[0]}"
            if any(0 in s.shape for s in call.ins):
                return "nothing to compute"
            if not rounds:
                return _said(answer, call)
            full = _said(answer, call, False)
            if call.means.precision != "reduced":
                return full
            return _reduced_first(_said(answer, call, True), full)

        registry.kernel(name, backend=__package__)(guarded)
        return answer

    return register


def _said(answer, *arguments) -> registry.Answer:
    try:
        return answer(*arguments)
    except Refused as why:
        return str(why)
    except dnnl.DnnlError as error:  # steps that no descriptor can express, say
        if error.status not in ("unimplemented", "invalid_arguments"):
            raise
        return f"oneDNN: {error.status}"


def _reduced_first(reduced: registry.Answer, full: registry.Answer) -> registry.Answer:
    """Both answers as one."""
    if isinstance(reduced, str):
        return f"{full}; in bfloat16: {reduced}" if isinstance(full, str) else full
    reduced, full = ([answer] if isinstance(answer, Plan) else answer for answer in (reduced, full))
    named = [replace(plan, name=f"bf16 {plan.name}", reduced=True, rank=-1) for plan in reduced]
    return named if isinstance(full, str) else [*named, *full]


@dataclass(frozen=True)
class Opaque(Layout):
    """A layout that only oneDNN reads: blocks of elements, padded with zeros."""

    name: str = "onednn"
    key: tuple = ()  # of its descriptor

    def physical(self, shape):
        return (self.key[-1] // 4,)


def layout(descriptor: Descriptor, shape: tuple[int, ...]) -> Layout:
    """The layout of a value of that shape: plain or channels last if that is what it is."""
    if descriptor.steps == row_major(descriptor.shape):
        return PLAIN
    if len(shape) > 2 and descriptor.steps == Spec(shape, layout=CHANNELS_LAST).steps:
        return CHANNELS_LAST
    key = descriptor.key
    if key not in _DESCRIPTORS:
        _DESCRIPTORS[key] = descriptor.owned()
    return Opaque("onednn:" + _blocks(key), key)


def _blocks(key) -> str:
    """In oneDNN's notation: axes from the outermost, blocked ones upper case, then the blocks."""
    sizes, _, steps, blocks, axes, _ = key
    order = sorted(range(len(sizes)), key=lambda i: (-steps[i], i))
    outer = "".join(chr((65 if i in axes else 97) + i) for i in order)
    return outer + "".join(f"{n}{chr(97 + i)}" for n, i in zip(blocks, axes))


def describe(spec: Spec, shape: tuple[int, ...] | None = None) -> Descriptor:
    """The descriptor of a value, of a plain one also under another shape of as many elements.

    Raises:
        Refused: Elements that are repeated or lie backwards.
    """
    if isinstance(spec.layout, Opaque):
        return _DESCRIPTORS[spec.layout.key]
    if shape is not None and spec.layout == PLAIN:
        return Descriptor.strided(shape, row_major(shape), DTYPES[spec.dtype])
    if spec.steps is None:
        raise Refused(f"{spec.layout.name} is another backend's layout")
    if any(step < 1 < n for n, step in zip(spec.shape, spec.steps)):
        raise Refused("a view that repeats elements or walks backwards")
    if len(spec.shape) > 12:
        raise Refused("more than 12 axes")
    steps = [step if n > 1 else 1 for n, step in zip(spec.shape, spec.steps)]
    if spec.layout in (PLAIN, CHANNELS_LAST):  # here the step of a single element tells something
        steps = spec.steps
    return Descriptor.strided(spec.shape or (1,), steps or (1,), DTYPES[spec.dtype])


def image(spec: Spec) -> Spec:
    """Channels last, as images lie on this leg; rows of features as they are."""
    return spec.at(CHANNELS_LAST if len(spec.shape) > 2 else PLAIN)


def operation(name: str, *arguments, ref: bool = False) -> Operation:
    """oneDNN's best implementation.

    Args:
        ref: Also one whose name says "ref"; the recurrent nets are called so and are none.

    Raises:
        Refused: There is none, or only the one meant to be read, which takes seconds.
    """
    try:
        made = Operation(name, *arguments)
    except dnnl.DnnlError as error:
        if error.status in ("unimplemented", "invalid_arguments"):
            raise Refused(f"oneDNN: {error.status}") from error
        raise
    if made.implementation.startswith("ref") and not ref:
        raise Refused(f"oneDNN has only {made.implementation} for this")
    return made


def multiplying_bfloat16(best: Operation) -> Operation:
    """The operation, or the next best one, that runs on instructions made for bfloat16.

    Raises:
        Refused: The processor has none; oneDNN would widen each operand, slower than float32.
    """
    for candidate in _sound(best):
        if _instructions(candidate).startswith(PRODUCTS):
            return candidate
    raise Refused(f"no instructions for bfloat16, only {best.implementation}")


def alternatives(best: Operation) -> Iterator[Operation]:
    """The operation, then those for the same instruction set that oneDNN thinks worse of."""
    seen = set()
    for candidate in _sound(best):
        name = candidate.implementation
        if name not in seen and name.endswith(_instructions(best)):
            seen.add(name)
            yield candidate


def _sound(best: Operation) -> Iterator[Operation]:
    """The implementations that can, oneDNN's best guess first, but for the broken ones."""
    candidate = best
    while candidate:
        if (candidate.name, candidate.implementation) not in BROKEN:
            yield candidate
        candidate = candidate.following()


def _instructions(made: Operation) -> str:
    """The instruction set that the name of an implementation ends with."""
    return made.implementation.rpartition(":")[2]


class OnArrays:
    """NumPy on some of a plan's memory, for the few numbers between two launches."""

    def __init__(self, function, views: list[tuple[int, int, tuple[int, ...], str]]):
        self.function, self.views = function, views  # index, offset, shape, dtype

    def _arrays(self, addresses):
        for place, offset, shape, dtype in self.views:
            nbytes = math.prod(shape) * np.dtype(dtype).itemsize
            raw = (ctypes.c_char * nbytes).from_address(addresses[place] + offset)
            yield np.frombuffer(raw, dtype).reshape(shape)

    def run(self, *addresses: int) -> None:
        with np.errstate(all="ignore"):  # inf and nan are results
            self.function(*self._arrays(addresses))

    def bind(self, *addresses: int):
        arrays = list(self._arrays(addresses))

        def launch():
            with np.errstate(all="ignore"):
                self.function(*arrays)

        return launch


class Over:
    """A step that is one launch where a result lies over an operand, and another one elsewhere."""

    def __init__(self, places: Sequence[int], inside, apart):
        self.places, self.inside, self.apart = places, inside, apart

    def _fitting(self, addresses):
        result, operand = (addresses[place] for place in self.places)
        return self.inside if result == operand else self.apart

    def run(self, *addresses: int) -> None:
        self._fitting(addresses).run(*addresses)

    def bind(self, *addresses: int):
        return self._fitting(addresses).bind(*addresses)


@dataclass(frozen=True)
class Place:
    """Where an operand of a step is: one of the plan's addresses, and bytes from there on."""

    index: int
    offset: int = 0


class Recipe:
    """Puts a plan together: its operands, its steps in order, and their workspace."""

    def __init__(self, ins: tuple[Spec, ...], outs: tuple[Spec, ...]):
        self.ins, self.outs = tuple(ins), tuple(outs)
        self._steps: list[Callable] = []  # each makes its step once the workspace is known
        self._kept = self._scratch = 0

    def out(self, k: int) -> Place:
        """Result k."""
        return Place(k)

    def of(self, k: int) -> Place:
        """Operand k."""
        return Place(len(self.outs) + k)

    def memory(self, nbytes: int) -> Place:
        """A piece of the workspace for what one step hands to another."""
        place = Place(len(self.outs) + len(self.ins), self._kept)
        self._kept += -(-nbytes // LINE) * LINE
        return place

    def launch(self, made: Operation, **operands: tuple[Descriptor, Place]) -> Operation:
        """Adds a primitive; operands by the names of their arguments in lower case."""
        named = {getattr(K, f"ARG_{name.upper()}"): value for name, value in operands.items()}
        return self.launch_numbered(made, named)

    def launch_numbered(self, made: Operation, operands: dict) -> Operation:
        """As ``launch``, operands by the numbers of their arguments."""
        self._steps.append(self._step(made, operands))
        return made

    def launch_over(self, over: tuple[Place, Place], inside: tuple, apart: tuple) -> None:
        """Adds a primitive and its operands, by number, for where two places are one address;
        another one for elsewhere."""
        both = [self._step(*one) for one in (inside, apart)]
        self._steps.append(lambda: Over([p.index for p in over], *(step() for step in both)))

    def _step(self, made: Operation, operands: dict) -> Callable:
        scratch, workspace = made.scratch, len(self.outs) + len(self.ins)
        self._scratch = max(self._scratch, scratch)

        def step():
            given = [(a, d, p.index, p.offset) for a, (d, p) in operands.items()]
            if scratch:
                wanted = made.descriptor(K.QUERY_SCRATCHPAD_MD)
                given.append((K.ARG_SCRATCHPAD, wanted, workspace, self._kept))
            return dnnl.Launch(made, given)

        return step

    def arrays(self, function, *places: tuple[Place, tuple[int, ...]], dtypes=()) -> None:
        """Adds a NumPy function of arrays of these shapes, float32 unless dtypes are given."""
        dtypes = dtypes or ("float32",) * len(places)
        views = [(p.index, p.offset, shape, t) for (p, shape), t in zip(places, dtypes)]
        self._steps.append(lambda: OnArrays(function, views))

    def plan(self, name: str, over: tuple[tuple[int, int], ...] = (), writes=()) -> Plan:
        """Everything added so far, in order, as one plan."""
        steps = [step() for step in self._steps]
        run, bind = (steps[0].run, steps[0].bind) if len(steps) == 1 else _in_turn(steps)
        return Plan(
            run, self.ins, self.outs, workspace=self._kept + self._scratch, writes=writes,
            bind=bind, name=name, addressed=True, over=over,
        )  # fmt: skip


def _in_turn(steps):
    def run(*addresses):
        for step in steps:
            step.run(*addresses)

    def bind(*addresses):
        launches = [step.bind(*addresses) for step in steps]

        def launch():
            for each in launches:
                each()

        return launch

    return run, bind


def reordered(recipe: Recipe, source, target) -> None:
    """Adds a copy from one (descriptor, place) to another that lies otherwise."""
    made = operation("reorder", source[0], target[0], dnnl.attributes())
    recipe.launch(made, **{"from": source, "to": target})


def factors(rounds: bool, *specs: Spec) -> list[Spec]:
    """What a primitive multiplies, for these operands of a call."""
    return [replace(spec, dtype="bfloat16") if rounds else spec for spec in specs]


def taken(recipe: Recipe, k: int, lies: Descriptor, wanted: Descriptor, rounds: bool):
    """Operand k for a primitive: where it is, or rounded into the workspace as is wanted."""
    if not rounds:
        return wanted, recipe.of(k)
    place = recipe.memory(wanted.nbytes)
    reordered(recipe, (lies, recipe.of(k)), (wanted, place))
    return wanted, place
