"""What a training step costs when other processes want the same processors.

    python engine/measure_contention.py
    python engine/measure_contention.py --torch-python .rosetta/env/pytorch/bin/python

One CNN training step (that of measure_growth.py, batch 64), captured in trivet and channels last in
PyTorch, each in a process of its own with all threads: alone, then beside one and two processes
that do nothing but compute, on the same processors. Rounds are interleaved; medians and the slowest
tenth are printed, raw laps go to --out.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import measuring
from measure_growth import STEPS, expect_torch, versions
from measuring import MeasuringError, Process

SUBJECTS = {"trivet": ("trivet", "captured"), "PyTorch": ("torch", "channels_last")}
OTHERS = 0, 1, 2  # processes beside a subject
BATCH = 64
WARM_UP = 5  # steps before any is timed: compiled, raced and captured


def serve(framework: str, way: str, threads: int) -> None:
    """A subject: runs as many steps as it is asked for."""
    steps = []

    def hello() -> dict:
        found = versions(framework, threads)
        step, _ = STEPS[framework](way, "cnn", BATCH)
        measuring.laps(step, 0, least=WARM_UP)
        steps.append(step)
        return found

    measuring.serve(
        threads, hello, lambda work: {"laps": measuring.laps(steps[0], 0, least=work["steps"])}
    )


@contextlib.contextmanager
def busy(count: int, threads: int) -> Iterator[None]:
    """So many processes that compute."""
    command = [sys.executable, __file__, "--busy", str(threads)]
    others = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(options, threads: int) -> dict[tuple[str, int], list[float]]:
    """Seconds of each step, by subject and number of processes beside it."""
    laps: dict[tuple[str, int], list[float]] = {(n, o): [] for n in SUBJECTS for o in OTHERS}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name, (framework, way) in SUBJECTS.items():
            python = options.torch_python if framework == "torch" else sys.executable
            command = [python, __file__, "--serve", framework, way, str(threads)]
            processes[name] = stack.enter_context(Process(command, threads))
            processes[name].answer()
        for number in range(options.rounds):
            for others in OTHERS:
                with busy(others, threads):
                    for name, process in processes.items():
                        laps[name, others] += process.ask(steps=options.steps)["laps"]
            measuring.progress(f"round {number + 1} of {options.rounds}")
    return laps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = measuring.above_zero(int)
    parser.add_argument("--torch-python", default=sys.executable, help="who runs PyTorch")
    parser.add_argument("--rounds", type=number, default=5)
    parser.add_argument("--steps", type=number, default=20, help="in each burst")
    parser.add_argument("--out", type=Path, help="a JSON file for the raw laps")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--busy", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve[:2], int(options.serve[2]))
        return
    if options.steps < 2:
        parser.error(f"expected 2 steps at least; got {options.steps}: no tenth is slow")
    if options.busy:
        measuring.pin(options.busy)
        while True:
            pass
    try:
        measuring.expect_modules("trivet", "rosetta")
        from trivet.lib import openmp

        expect_torch(options.torch_python)
        laps = measure(options, threads := openmp.threads())
    except MeasuringError as error:
        sys.exit(str(error))
    print(f"{measuring.counted(threads)}; milliseconds a step: median (slowest tenth from)")
    for (name, others), times in laps.items():
        slow = statistics.quantiles(times, n=10)[-1]
        print(f"{name:8} beside {others}: {1e3 * statistics.median(times):7.1f} ({1e3 * slow:.1f})")
    if options.out:
        named = {f"{name} beside {others}": times for (name, others), times in laps.items()}
        measuring.write_json(options.out, {**measuring.machine(), "laps": named})


if __name__ == "__main__":
    main()
