"""`rosetta machine`: every framework's machine.py in turn, in rounds, then the best of each figure.

The scripts are run as jobs are: fresh processes, the same cores and thread variables for all, under
the lock that keeps two measurements apart.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import machine, project, roofline, schema
from ..env import environments, kernels
from ..env.environments import Environment
from ..errors import ResultError, SpecError
from ..progress import console
from ..spec.framework import Framework
from .execute import owned, variables
from .plan import split
from .progress import JobProgress
from .run import alone, commit

SCRIPT = "machine.py"
LEAST_ROUNDS = 3  # fewer have no interval
LEAST_BYTES = 1 << 26  # to copy, where the system does not say how large its caches are
OF_MEMORY = 8  # the array to copy is at most one part in as many; some libraries hold it thrice


@dataclass(frozen=True)
class Options:
    """How it is measured."""

    device: str
    threads: int
    seconds: float  # of one turn, about
    rounds: int = LEAST_ROUNDS


@dataclass(frozen=True)
class Turn:
    """One framework in one round: one fresh process."""

    framework: Framework
    environment: Environment
    round: int
    estimate: float  # seconds

    @property
    def id(self) -> str:
        return f"{self.framework.name}-r{self.round}"

    @property
    def label(self) -> str:
        return f"{self.framework.title} round {self.round}"


def choose(
    asked: list[str], frameworks: list[Framework], device: str
) -> list[tuple[Framework, Environment]]:
    """The frameworks to ask, with their environments; nothing is built.

    Args:
        asked: Names; none: all that have a machine.py and are set up.

    Raises:
        SpecError: One asked for is not known, has no machine.py or is not set up; or nobody is.
    """
    able = {f.name: f for f in frameworks if (f.folder / SCRIPT).is_file()}
    names = split(asked) or list(able)
    for name in names:
        if name not in able:
            known = name in {f.name for f in frameworks}
            what = f"has no {SCRIPT}" if known else "is not known"
            raise SpecError(f"framework {name!r} {what}", f"one of: {', '.join(able)}")
    found = {name: environments.status(able[name], device) for name in names}
    lacking = [name for name in found if found[name] is None]
    if lacking and (asked or len(lacking) == len(found)):
        raise SpecError(
            f"not set up for {device}: {', '.join(lacking)}", f"rosetta setup {' '.join(lacking)}"
        )
    if lacking:
        console.print(f"not asked, for they are not set up: {', '.join(lacking)}")
    return [(able[name], ready) for name, ready in found.items() if ready]


def measure(chosen: list[tuple[Framework, Environment]], options: Options) -> dict[str, Any]:
    """One measurement of roofline.json.

    A framework that fails is left out from then on, and counts for nothing; its reason is kept.

    Args:
        chosen: By ``choose``.

    Raises:
        KeyboardInterrupt: Nothing is kept; the process that ran is ended.
    """
    facts = machine.fingerprint()
    size = copied_bytes(machine.last_level_cache(), facts["memory_bytes"])
    with alone(), _pinned(options.threads):
        turns, failed = _take_turns(chosen, options, size)
    _say_what_is_missing(turns)
    best, libraries = roofline.best(turns)
    return {
        "device": options.device,
        "threads": options.threads,
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "rounds": options.rounds,
        "seconds": options.seconds,
        "bytes": size,
        **commit(),
        "machine": {"name": machine.name(facts), **facts},
        "frameworks": {f.name: _facts(f, e, failed.get(f.name, "")) for f, e in chosen},
        "best": best,
        "libraries": libraries,
        "turns": turns,
    }


def _take_turns(
    chosen: list[tuple[Framework, Environment]], options: Options, size: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """(What was printed in every round, framework -> why it failed)."""
    turns: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    plan = _interleaved(chosen, options)
    with JobProgress(plan, set()) as progress:
        for turn in plan:
            name = turn.framework.name
            if name in failed:
                continue
            progress.begin(turn)
            printed, reason = _run(turn, options, size)
            if reason:
                failed[name] = reason
            version = turn.framework.version(turn.environment.versions)
            kept = {"framework": name, "version": version, "round": turn.round}
            turns.append({**kept, "printed": printed})
            progress.end(turn, "failed" if reason else "measured", reason)
    return [turn for turn in turns if turn["framework"] not in failed], failed


def copied_bytes(cache: int, memory: int) -> int:
    """The size of an array that no cache holds, in whole MiB; of a small memory only its part."""
    size = min(max(cache, LEAST_BYTES), memory // OF_MEMORY)
    return max(1, size >> 20) << 20


def _interleaved(chosen: list[tuple[Framework, Environment]], options: Options) -> list[Turn]:
    """Rounds, each of which begins with another framework: a drift of the machine hits all."""
    plan = []
    for number in range(options.rounds):
        start = number % len(chosen)
        rotated = chosen[start:] + chosen[:start]
        plan += [Turn(*each, number + 1, 5.0 + 1.5 * options.seconds) for each in rotated]
    return plan


@contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Children start on the first ``threads`` cores: pools that ignore variables obey this."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _run(turn: Turn, options: Options, size: int) -> tuple[dict[str, Any], str]:
    """What the script printed, and why it failed or an empty string."""
    framework, environment = turn.framework, turn.environment
    command = kernels.script(environment, framework.folder / SCRIPT)
    command += [options.device, f"{options.seconds:g}", "--bytes", str(size), "--owner"]
    cache = project.home() / "roofline" / framework.name
    surroundings = {
        **variables(options.threads, cache),
        **kernels.variables(framework, environment),
    }
    patience = 120 + 10 * options.seconds  # it imports, compiles and tunes besides
    try:
        output, code = owned(command, surroundings, patience)
    except subprocess.TimeoutExpired:
        return {}, f"ran longer than {patience:g} s and was ended"
    if code:
        last = (output.strip().splitlines() or ["it said nothing"])[-1]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return {}, f"{how}: {_without_paths(last[-300:])}"
    try:
        return _printed(output, framework), ""
    except ResultError as error:
        return {}, str(error)


def _printed(output: str, framework: Framework) -> dict[str, Any]:
    where = f"notebooks/{framework.name}/{SCRIPT}"
    for line in reversed(output.splitlines()):  # a library may have its say after it
        try:
            document = json.loads(line)
        except json.JSONDecodeError:
            continue
        schema.check("machine", document, f"{where} printed")
        return document
    raise ResultError(f"{where} printed no JSON document", "end it with machine.measure()")


def _without_paths(text: str) -> str:
    """The reason stands in a committed file."""
    for path, name in ((project.home(), ".rosetta"), (project.ROOT, "."), (Path.home(), "~")):
        text = text.replace(str(path), name)
    return text


def _say_what_is_missing(turns: list[dict[str, Any]]) -> None:
    said = set()
    for turn in turns:
        for entry in turn["printed"]["left_out"]:
            what = " ".join(filter(None, (entry["figure"], entry["precision"], entry["what"])))
            if (turn["framework"], what) not in said:
                said.add((turn["framework"], what))
                line = f"left out: {turn['framework']}: {what}: {entry['reason']}"
                console.print(line, markup=False)


def _facts(framework: Framework, environment: Environment, reason: str) -> dict[str, Any]:
    return {
        "title": framework.title,
        "version": framework.version(environment.versions),
        "lock_digest": environment.lock_digest,
        "state": "failed" if reason else "measured",
        "reason": reason,
    }
