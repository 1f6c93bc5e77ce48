"""Which backend runs a call: each is asked for a plan and answers, or says why not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module

from .config import DEFAULT, Means
from .errors import BackendMissing, KernelMissing
from .spec import Spec

# Modules that register kernels, best first; imported when first asked. All but the reference need
# what may not be installed, and raise BackendMissing without it.
PREFERENCE: dict[str, list[str]] = {
    "cpu": ["trivet.native", "trivet.onednn", "trivet.reference"],
}
LAST_RESORT = "trivet.reference"


@dataclass(frozen=True)
class Call:
    """All that a backend may base its answer on, and so the key of the cached choice."""

    name: str
    ins: tuple[Spec, ...]
    geometry: Hashable = None
    device: str = "cpu"
    means: Means = DEFAULT
    auxiliaries: bool = True  # False: nobody will ask for a gradient, so none need be made

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.ins))}) on {self.device}, {self.means}"


@dataclass(frozen=True)
class Plan:
    """A backend's offer: how to run a call, and the memory this takes.

    ``run(*outs, *ins[, workspace])`` gets arrays of exactly these specs, or their addresses.
    ``outs`` lists the results, then auxiliaries whose meaning only this backend knows.
    """

    run: Callable[..., None]
    ins: tuple[Spec, ...]  # as wanted; the engine reorders operands that arrive otherwise
    outs: tuple[Spec, ...] = ()
    workspace: int = 0  # bytes
    writes: tuple[int, ...] = ()  # operands updated in place
    bind: Callable[..., Callable[[], None]] | None = None  # run with its arrays fixed, for replays
    name: str = ""  # of the algorithm; tells the candidates of one call apart
    addressed: bool = False  # run and bind take addresses (int) instead of arrays
    backend: str = ""  # who offers it; the registry fills it in
    over: tuple[tuple[int, int], ...] = ()  # (result, operand) that may lie in the same memory
    contested: bool = True  # False: as the first candidate it runs unmeasured, for what it joins
    reduced: bool = False  # its products are of rounded operands: only for a call that allows it
    rank: int = 0  # of a guess: unmeasured, the lowest runs; equals in the backends' order
    ahead: Ahead | None = None  # the same in two, for operands that stay as they are

    def bound(self, *arrays) -> Callable[[], None]:
        """A launch without arguments: a captured program binds each plan once."""
        return (self.bind or partial(partial, self.run))(*arrays)


@dataclass(frozen=True)
class Ahead:
    """A plan in two: what depends on a few operands alone, and the rest."""

    operands: tuple[int, ...]  # those few
    first: Plan  # them -> a block of bytes
    rest: Plan  # all operands, then that block -> the plan's results


Answer = Plan | list[Plan] | str  # the best guess first; or why not
_KERNELS: dict[tuple[str, str], Callable[[Call], Answer]] = {}
_CHOICES: dict[tuple[Call, tuple[str, ...]], Plan] = {}
_MISSING: dict[str, str | None] = {}  # of each backend asked for: why it is not to be had
KEPT = 2_000  # choices: packed sequences make a new call for every set of lengths


def kernel(name: str, backend: str):
    """Registers the decorated function: Call -> Plan or Plans, or a string that says why not."""

    def register(answer):
        if (name, backend) in _KERNELS:
            raise ValueError(f"{backend} already has a kernel {name!r}")
        _KERNELS[name, backend] = answer
        _CHOICES.clear()  # the newcomer may beat an earlier choice
        return answer

    return register


def choose(
    call: Call,
    partner: str | None = None,
    pick: Callable[[Call, list[Plan]], Plan] = lambda call, plans: plans[0],
) -> Plan:
    """A plan for a call, the same for every equal call.

    Args:
        partner: Allows only that backend.
        pick: Chooses among the ``candidates``, best guess first; asked once per call.

    Raises:
        KernelMissing: No backend can.
    """
    order = (partner,) if partner else tuple(PREFERENCE[call.device])
    plan = _CHOICES.get((call, order))  # looked up once: another thread may clear them
    if plan is None:
        plan = pick(call, candidates(call, order))
        if len(_CHOICES) >= KEPT:
            _CHOICES.clear()
        _CHOICES[call, order] = plan
    return plan


def candidates(call: Call, order: Sequence[str]) -> list[Plan]:
    """The plans of all backends that can; the reference's only if no other can.

    They come by rank, and equals in the backends' order.
    """
    answers = {}
    plans = []
    for backend in order:
        if plans and backend == LAST_RESORT:
            break
        answers[backend] = answer = ask(backend, call)
        plans += [] if isinstance(answer, str) else answer
    if not plans:
        reasons = "".join(f"\n  {backend}: {why}" for backend, why in answers.items())
        raise KernelMissing(
            f"No backend can run {call}:{reasons}",
            "change what the reasons name, or register a kernel.",
        )
    return ranked(plans)


def ranked(plans: list[Plan]) -> list[Plan]:
    """The best guess first."""
    return sorted(plans, key=lambda plan: plan.rank)


def missing(backend: str) -> str | None:
    """Why a backend cannot be had; None if it can."""
    if backend not in _MISSING:
        try:
            import_module(backend)
            _MISSING[backend] = None
        except BackendMissing as error:
            _MISSING[backend] = str(error)
    return _MISSING[backend]


def ask(backend: str, call: Call) -> list[Plan] | str:
    """One backend's answer."""
    if why := missing(backend):
        return why
    answer = _KERNELS.get((call.name, backend), lambda call: "not implemented")(call)
    plans = [answer] if isinstance(answer, Plan) else answer
    if isinstance(plans, str):
        return plans
    fit = [plan for plan in plans if all(plan.ins[i] == call.ins[i] for i in plan.writes)]
    return [
        replace(plan, backend=backend) for plan in fit
    ] or "would update a reordered copy instead of the operand"
