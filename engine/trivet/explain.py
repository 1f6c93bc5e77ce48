"""Who runs what, and why not somebody faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

from . import registry
from .errors import TrivetError
from .graph import Captured
from .launch import Note, Trace, sending_to
from .lib import openmp
from .registry import PREFERENCE
from .tuning import digest


def explain(step: Callable | Captured | None = None, *args) -> str:
    """A text on the legs of this machine, or on the kernels that a step runs.

    Args:
        step: A captured step that has been called twice; or any function, which is then called
            once with ``args`` and watched. None describes the machine.

    Returns:
        For a step one line per launch: kernel, result, backend and algorithm; then, for what the
        NumPy reference had to run, the reason of each faster leg.

    Raises:
        TrivetError: A captured step without a program: it was not called twice yet.

    >>> print(explain().splitlines()[0].partition(":")[0])
    threads
    """
    if step is None:
        return _machine()
    if isinstance(step, Captured):
        if step.program is None:
            raise TrivetError(
                "explain: expected a captured step that was called twice; it has no program yet.",
                "call it twice with a batch.",
            )
        return _launches(step.program.notes)
    trace = _Watching()
    with sending_to(trace):
        step(*args)
    return _launches(trace.notes)


class _Watching(Trace):
    """A trace that is never replayed: the host may take part."""

    def host(self, action: str) -> None:
        pass


def _machine() -> str:
    lines = [f"threads: {openmp.threads()}"]
    for backend in PREFERENCE["cpu"]:
        why = registry.missing(backend)
        lines.append(f"{backend}: {why or 'there'}")
    if registry.missing("trivet.native") is None:
        from . import simd  # needs what the native leg needs

        lines.append(f"vectors: {simd.LANES} float32, {simd.REGISTERS} registers")
        for kernel in simd.KERNELS:
            if kernel.seconds is not None:
                how = "compiled" if kernel.compiled else "found in the cache"
                lines.append(f"kernel {kernel.name}: {how} in {kernel.seconds:.2f} s")
    return "\n".join(lines)


def _launches(notes: list[Note]) -> str:
    rows = [
        (
            note.call.name,
            str(note.plan.outs[0] if note.plan.outs else note.plan.ins[0]),
            note.plan.backend.rpartition(".")[2],
            note.plan.name,
        )
        for note in notes
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
    shares = Counter(row[2] for row in rows)
    lines.append(", ".join(f"{n} launches by {name}" for name, n in shares.most_common()))
    lines.append(f"plans {digest([(note.call, note.plan) for note in notes])}")
    reasons = Counter()
    for note in notes:
        order = PREFERENCE[note.call.device]
        if note.plan.backend != registry.LAST_RESORT:
            continue
        for backend in order[: order.index(registry.LAST_RESORT)]:
            reasons[f"{note.call.name}: {backend}: {registry.ask(backend, note.call)}"] += 1
    return "\n".join([*lines, *(f"{n} x {reason}" for reason, n in reasons.most_common())])


def libraries() -> dict[str, str]:
    """Versions of the installed libraries that the CPU's legs run on; what is missing is absent."""
    found = {}
    for name in ("numba", "onednn-cpu-gomp"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
