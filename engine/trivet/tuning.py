"""Which of several plans for a call is the fastest here: measured once, and kept in a file.

The file holds one line of JSON per race. A later process reads what an earlier one measured, so
the plans of a step are the same from run to run, and with them its bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .device import Buffer, empty
from .folders import user_folder
from .lib import openmp
from .registry import Call, Plan
from .spec import Spec, Strided

BUDGET = 0.05  # seconds for each candidate after its first run
ROUNDS = 3, 15  # at least, at most
MARGIN = 0.97  # what displaces the best guess needs less than this share of its time
FRACTION = re.compile(r"-?\d+(\.\d+(e[+-]?\d+)?|e[+-]?\d+)")  # as Python writes a float
_RESULTS: dict[Path, dict[str, dict]] = {}


class Leg(NamedTuple):
    """A launch that takes part in a race, alone or after another one."""

    call: Call
    plan: Plan
    at: int | None = None  # the operand that is the first result of the launch before it


def pick(call: Call, plans: list[Plan]) -> Plan:
    """The fastest of the candidates; the first one if none is clearly faster."""
    if len(plans) == 1 or not plans[0].contested:
        return plans[0]
    first, *rest = seconds(call, plans)
    best = min(rest)
    return plans[1 + rest.index(best)] if best < MARGIN * first else plans[0]


def seconds(call: Call, plans: list[Plan]) -> list[float]:
    """How long each plan takes: as measured before, else in a race now."""
    return _measured(key(call, plans), [[Leg(call, plan)] for plan in plans])


def slower(joined: Leg, *apart: Leg) -> bool:
    """Whether one launch clearly takes longer than those that it would take the place of."""
    entry = " instead of ".join(key(leg.call, [leg.plan]) for leg in (joined, *apart))
    together, one_by_one = _measured(entry, [[joined], list(apart)])
    return together * MARGIN >= one_by_one


def _measured(entry: str, contenders: list[list[Leg]]) -> list[float]:
    results = _results()
    if entry not in results:
        _keep({"call": entry, "seconds": race(contenders)})
    return results[entry]["seconds"]


def described(call: Call) -> str:
    """All of a call's work: two calls that differ in a step of a view are two.

    Fractions in a geometry, eps or the p of dropout, change results and no work: calls that differ
    in them alone are one, so a step checked without dropout has the kernels of one that drops.
    """
    ins = ", ".join(f"{spec} {spec.steps}" for spec in call.ins)
    return f"{call.name}({ins}) {FRACTION.sub('_', str(call.geometry))} on {call.device}"


def label(plan: Plan) -> str:
    return f"{plan.backend.rpartition('.')[2]} {plan.name}".strip()


def key(call: Call, plans: list[Plan]) -> str:
    """What a result is valid for: the call, and who took part."""
    means = replace(call.means, tuned=False)  # only a tuned call asks
    return f"{described(call)} {means} {call.auxiliaries} [{', '.join(map(label, plans))}]"


def digest(choices: list[tuple[Call, Plan]]) -> str:
    """Names a set of plans: equal if and only if the same algorithms run in the same order."""
    lines = [f"{described(call)} {label(plan)}" for call, plan in choices]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def race(contenders: list[list[Leg]]) -> list[float]:
    """Seconds of one run of each contender, on zeros: the fastest of rounds that take turns."""
    made: dict[tuple[int, Spec], Buffer] = {}  # by place among the operands: one for all
    runs = [_prepared(contender, made) for contender in contenders]
    laps: list[list[float]] = [[] for _ in runs]
    for run in runs:
        _lap(run)  # wakes threads, touches memory
    longest = max(_lap(run) for run in runs)
    rounds = min(ROUNDS[1], max(ROUNDS[0], int(BUDGET / max(longest, 1e-9))))
    for _ in range(rounds):
        for run, times in zip(runs, laps):
            times.append(_lap(run))
    return [min(times) for times in laps]


def _lap(run) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def _prepared(legs: list[Leg], made: dict[tuple[int, Spec], Buffer]):
    """Launches bound to operands made up for them, those of equal plans among them."""
    launches, kept, first = [], [], None
    for call, plan, at in legs:
        specs = [*plan.outs, *plan.ins]
        if plan.workspace:
            specs.append(Spec((plan.workspace,), "uint8"))
        for place in enumerate(specs):
            if place not in made:
                made[place] = _zeros(place[1], call.device)
        buffers, before = [made[place] for place in enumerate(specs)], len(plan.outs)
        if at is not None:
            buffers[before + at] = first
        for out, operand in plan.over[:1]:  # as a captured step has it, wherever it can
            if plan.outs[out] == plan.ins[operand]:
                buffers[out] = buffers[before + operand]
        operands = (b.address() if plan.addressed else b.array() for b in buffers)
        launches.append(plan.bound(*operands))
        kept, first = [*kept, *buffers], buffers[0]

    def run(keep=kept):
        for launch in launches:
            launch()

    return run


def _zeros(spec: Spec, device: str) -> Buffer:
    """A value made up; a view lies in memory as large as it reaches."""
    size, start = spec.nbytes, 0
    if isinstance(spec.layout, Strided):
        reach = [(n - 1) * step for n, step in zip(spec.shape, spec.steps)]
        start = -sum(r for r in reach if r < 0)  # elements in front of the first
        itemsize = np.dtype(spec.dtype).itemsize
        size, start = (1 + start + sum(r for r in reach if r > 0)) * itemsize, start * itemsize
    memory = empty(device, size)
    memory[...] = 0
    return Buffer(spec, device, memory, start)


def file() -> Path:
    """Where the results for this machine and this number of threads are kept.

    ``TRIVET_PLANS`` names another folder than the one below trivet's cache: a benchmark gives all
    its jobs one of their own, so that what was checked is what is timed.
    """
    folder = Path(os.environ.get("TRIVET_PLANS") or user_folder() / "plans")
    return folder / f"{_machine()}-{openmp.threads()}t.jsonl"


def _machine() -> str:
    """A name for the processor: results are not carried from one model to another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = list(os.uname())
    kind = [line for line in lines if line.startswith(("model name", "flags", "cache size"))]
    return hashlib.sha256("\n".join(kind[:3] or lines).encode()).hexdigest()[:12]


def _results() -> dict[str, dict]:
    path = file()
    if path not in _RESULTS:
        _RESULTS[path] = {}
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                result = json.loads(line)
            except json.JSONDecodeError:  # the last line of a process that was killed
                continue
            _RESULTS[path].setdefault(result["call"], result)
    return _RESULTS[path]


def _keep(result: dict) -> None:
    path = file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:  # one write: two processes do not mix lines
        lines.write("\n" + json.dumps(result))
    _results()[result["call"]] = result
