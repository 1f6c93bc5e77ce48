"""What the measuring scripts share: processes of their own, laps, spreads, the machine.

A process that measures another framework runs this too, in an environment without the suite: what
needs that imports it within.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class MeasuringError(Exception):
    """What was expected, what came, and how to mend it."""


class Process:
    """A Python process that answers lines of JSON on its standard output.

    Args:
        command: What runs, the interpreter first.
        threads: Kernels run on so many threads, on the first processors this process may use.
        variables: More of its environment; None takes one away.
    """

    def __init__(self, command: Sequence[str], threads: int, **variables: str | None):
        wanted = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **variables}
        self.command = list(command)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in wanted.items() if value is not None},
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()  # a process that waits for work ends
        if error[0]:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, **work) -> dict:
        """Hands over some work and waits for what comes of it."""
        try:
            self.process.stdin.write(json.dumps(work) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: there is no answer to read either
        return self.answer()

    def answer(self) -> dict:
        """Waits for a line.

        Raises:
            MeasuringError: The process ended instead.
        """
        line = self.process.stdout.readline()
        if not line:
            raise MeasuringError(
                f"Expected an answer; `{' '.join(self.command)}` ended with exit code "
                f"{self.process.wait()}.\nfix: what it wrote above says why."
            )
        return json.loads(line)


def serve(threads: int, hello: Callable[[], dict], work: Callable[[dict], dict]) -> None:
    """The other end of ``Process``: says hello, then answers until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    pin(threads)
    print(json.dumps(hello()), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(work(json.loads(line))), file=answers, flush=True)


def pin(threads: int) -> None:
    """Keeps this process on the first processors it may use, as many as it has threads."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def laps(
    run: Callable[[], object], seconds: float, least: int = 3, length: float = 0.0
) -> list[float]:
    """Seconds of a call, measured for so long and so many laps at least.

    Args:
        length: Of a lap, seconds: what is too short for the clock is called several times a lap.
    """
    calls = 1
    while length:
        start = perf_counter()
        for _ in range(calls):
            run()
        if perf_counter() - start >= length:
            break
        calls *= 2
    taken: list[float] = []
    end = perf_counter() + seconds
    while len(taken) < least or perf_counter() < end:
        start = perf_counter()
        for _ in range(calls):
            run()
        taken.append((perf_counter() - start) / calls)
    return [float(f"{lap:.6g}") for lap in taken]


def spread(rounds: Sequence[float]) -> dict[str, float]:
    """The median over rounds, the least and the most."""
    return {"median": median(rounds), "least": min(rounds), "most": max(rounds)}


def machine() -> dict[str, object]:
    """What the numbers are of."""
    from rosetta import machine as suite

    facts = suite.fingerprint()
    known = {"processor": facts["cpu"], "cores": facts["cores"], "system": facts["system"]}
    return {**known, "load": load()}


def load() -> float | None:
    """How many processes have wanted a processor during the last minute, if the system says."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def warn_of_load() -> None:
    """Says so where something else keeps processors busy."""
    if (busy := load() or 0) > 0.5:
        progress(f"note: the load average is {busy}; what else runs here will show in the numbers")


def machine_name() -> str:
    """What the suite calls this machine, its GPUs not counted."""
    from rosetta import machine as suite

    return suite.name({**suite.fingerprint(), "gpus": []})


def expect_modules(*names: str) -> None:
    """Raises MeasuringError unless this Python has them."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MeasuringError(
                f"Expected a Python that has {name}; got {sys.executable}.\n"
                "fix: pip install ./harness './engine[cpu]', or run it in .rosetta/env/dev"
            )


def expect_folder(folder: Path) -> None:
    """Makes it: before anything is measured, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeasuringError(
            f"Expected a folder that can be written to; got {error}.\nfix: name another: --out"
        ) from None


def write_json(path: Path, found: dict) -> None:
    """The whole file or none: lists of numbers on one line each."""
    from rosetta.inputs import write_whole

    text = json.dumps(found, indent=1)
    text = re.sub(r"\[[^][{}\"]*\]", lambda m: " ".join(m.group().split()), text)
    write_whole(path, f"{text}\n".encode())


def above_zero(kind: type) -> Callable[[str], float]:
    """For argparse: a number above zero."""

    def read(text: str):
        try:
            if (value := kind(text)) > 0:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")

    return read


def counted(threads: int) -> str:
    """ "1 thread", "2 threads"."""
    return f"{threads} thread{'s' * (threads > 1)}"


def progress(text: str) -> None:
    """Says what happens; the standard output is for results."""
    print(text, file=sys.stderr, flush=True)
