"""How the cost of a step grows with the batch and with the image, beside PyTorch.

    python engine/measure_growth.py
    python engine/measure_growth.py --torch-python .rosetta/env/pytorch/bin/python --rounds 10
    python engine/measure_growth.py --quick --out /tmp/growth

Two things grow: the batch of the suite's CNN (a training step, pixels from the host), and the image
of one block as networks have them in their middle (3x3 convolution 64-64, batch normalisation,
ReLU; forward, and the gradients of input and parameters; batch 8).

Every subject is a process of its own, new in each round; within a round they take turns, one burst
at each size, in an order that rotates. The sample is the round: one median over its laps. Spreads
are from the least to the most of the rounds, and ratios compare what ran in one round. Races
between kernels are run anew, in the first round, and kept for the others in a temporary folder.

Writes growth.json (every lap) and a plot for each number of threads, growth-1t.svg and .png.
"""

from __future__ import annotations

import argparse
import gc
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import measuring
from measuring import MeasuringError, Process, progress

SUBJECTS = {  # framework, way
    "trivet eager": ("trivet", "eager"),
    "trivet captured": ("trivet", "captured"),
    "PyTorch eager": ("torch", "eager"),
    "PyTorch channels_last": ("torch", "channels_last"),
}
SIZES = {"cnn": (1, 4, 16, 64, 256), "block": (32, 56, 112, 224)}  # images; pixels along a side
QUICK = {"cnn": (1, 4), "block": (8, 16)}
BATCH, CHANNELS = 8, 64  # of the block
ROUNDS = 3  # at least: fewer have no spread


def trivet_step(way: str, what: str, size: int):
    """A step of the engine, and what names its kernels once it was called."""
    import numpy as np
    import trivet
    from measure_replay import cnn
    from trivet import Tensor, nn

    def capture(step):
        return trivet.capture(step, fuse=True, tune=True) if way == "captured" else step

    def digest():
        return step.program.digest() if way == "captured" else None

    if what == "cnn":
        made, batch = cnn(size)
        step = capture(made)
        return lambda: step(*map(Tensor, batch)).item(), digest
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    block = nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), nn.ReLU())
    image = Tensor(np.random.default_rng(0).random((BATCH, CHANNELS, size, size)), "float32")
    x, gy = block(image).detach(), block(image).detach()  # as such blocks lay them out
    x.requires_grad = True
    step = capture(lambda: tuple(trivet.grad(block(x), [x, *block.parameters()], gradient=gy)))
    return step, digest


def torch_step(way: str, what: str, size: int):
    """The same of PyTorch, as its documentation writes it."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    rng = np.random.default_rng(0)
    layout = torch.channels_last if way == "channels_last" else torch.contiguous_format
    if what == "cnn":
        net = torch_cnn(nn).to(memory_format=layout)
        rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        x, y = rng.integers(0, 256, (size, 3, 32, 32), "uint8"), rng.integers(0, 10, size)

        def step():
            images = torch.from_numpy(x).to(torch.float32, memory_format=layout) / 255
            rule.zero_grad()
            loss = F.cross_entropy(net(images), torch.from_numpy(y))
            loss.backward()
            rule.step()
            return loss.item()

        return step, lambda: None
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    block = nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), nn.ReLU()).to(memory_format=layout)
    image = torch.rand(BATCH, CHANNELS, size, size).to(memory_format=layout)
    x, gy = block(image).detach().requires_grad_(), block(image).detach()
    wanted = x, *block.parameters()
    return lambda: torch.autograd.grad(block(x), wanted, gy), lambda: None


def torch_cnn(nn):
    return nn.Sequential(
        *(nn.Conv2d(3, 50, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(50, 50, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25)),
        *(nn.Conv2d(50, 100, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(100, 100, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(6400, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)),
    )


STEPS = {"trivet": trivet_step, "torch": torch_step}


def versions(framework: str, threads: int) -> dict:
    """What a subject runs on; the framework is imported here for the first time."""
    import numpy as np

    found = {"python": platform.python_version(), "numpy": np.__version__}
    if framework == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        return {**found, "torch": torch.__version__}
    import trivet

    trivet.seed(0)
    return {**found, "trivet": trivet.__version__, **trivet.libraries()}


def burst(framework: str, way: str, what: str, size: int, seconds: float) -> dict:
    """First calls, in which kernels are compiled, measured and captured; then laps, one a step."""
    step, digest = STEPS[framework](way, what, size)
    first = measuring.laps(step, 0)
    found = {"first_calls": first, "laps": measuring.laps(step, seconds), "kernels": digest()}
    del step, digest
    gc.collect()
    return found


def a_round(number: int, threads: int, options, plans: str) -> tuple[dict, dict]:
    """One burst of each subject at each size: {what: {size: {subject: found}}}, and versions."""
    names, sizes = list(SUBJECTS), QUICK if options.quick else SIZES
    turn = number % len(names)
    names = names[turn:] + names[:turn]
    with ExitStack() as stack:
        processes = {}
        for name in names:
            framework, way = SUBJECTS[name]
            python = options.torch_python if framework == "torch" else sys.executable
            command = [python, __file__, "--serve", framework, way, str(threads)]
            process = Process(command, threads, TRIVET_PLANS=plans)
            processes[name] = stack.enter_context(process)
        stands_on = {name: process.answer() for name, process in processes.items()}
        found: dict[str, dict] = {}
        for what, of_what in sizes.items():
            for size in of_what:
                work = {"what": what, "size": size, "seconds": options.seconds}
                ran = {name: process.ask(**work) for name, process in processes.items()}
                found.setdefault(what, {})[str(size)] = ran
                times = (f"{name} {median(r['laps']) * 1e3:.2f} ms" for name, r in ran.items())
                where = f"{measuring.counted(threads)}, round {number + 1}, {what} {size}"
                progress(f"{where}: {', '.join(times)}")
    return found, stands_on


def summary(rounds: list[dict]) -> dict:
    """Seconds per sample with spread, and ratios to each of PyTorch's ways, paired by round."""
    found: dict[str, dict] = {}
    for what, of_what in rounds[0].items():
        for size in of_what:
            samples = int(size) if what == "cnn" else BATCH
            each = {
                name: [median(r[what][size][name]["laps"]) / samples for r in rounds]
                for name in SUBJECTS
            }
            ratios = {
                f"{mine} / {theirs}": measuring.spread(
                    [a / b for a, b in zip(each[mine], each[theirs])]
                )
                for mine in SUBJECTS
                for theirs in SUBJECTS
                if SUBJECTS[mine][0] == "trivet" and SUBJECTS[theirs][0] == "torch"
            }
            seconds = {name: measuring.spread(values) for name, values in each.items()}
            found.setdefault(what, {})[size] = {"per_sample": seconds, "ratios": ratios}
    return found


def show(threads: int, found: dict) -> None:
    """Two tables: time per sample, and trivet's ratios to PyTorch."""

    def cells(entries, scale, digits):
        return (
            f"{e['median'] * scale:.{digits}f} ({e['least'] * scale:.{digits}f} to "
            f"{e['most'] * scale:.{digits}f}) |"
            for e in entries.values()
        )

    some = next(iter(found["cnn"].values()))
    for kind, unit, scale, digits in (("per_sample", " [ms]", 1e3, 3), ("ratios", "", 1, 2)):
        print(f"\n| {measuring.counted(threads)} |", *(f"{name}{unit} |" for name in some[kind]))
        print("|---" * (1 + len(some[kind])) + "|")
        for what, of_what in found.items():
            for size, entry in of_what.items():
                print(f"| {what} {size} |", *cells(entry[kind], scale, digits))


def measure(options) -> dict:
    found = {
        **measuring.machine(),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "quick": options.quick,
        "block_batch": BATCH,
        "threads": {},
    }
    measuring.warn_of_load()
    for threads in options.threads:
        with tempfile.TemporaryDirectory(prefix="trivet-plans-") as plans:
            rounds, loads = [], []
            for number in range(options.rounds):
                loads.append(measuring.load())
                ran, found["versions"] = a_round(number, threads, options, plans)
                rounds.append(ran)
        entry = {"summary": summary(rounds), "load": loads, "rounds": rounds}
        found["threads"][str(threads)] = entry
        measuring.write_json(options.out / "growth.json", found)
        show(threads, entry["summary"])
    return found


def expect_torch(python: str) -> None:
    """Raises MeasuringError unless that Python has what PyTorch's subjects need."""
    fix = "\nfix: --torch-python PYTHON; `rosetta setup pytorch` builds one, .rosetta/env/pytorch."
    try:
        done = subprocess.run(
            [python, "-c", "import numpy, torch"], stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise MeasuringError(f"Expected a Python that runs PyTorch; got {error}.{fix}") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise MeasuringError(
            f"Expected a Python that can import torch and numpy; {python} says: {said}{fix}"
        )


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = measuring.above_zero
    parser.add_argument("--rounds", type=number(int), help="3 at least (default: 5)")
    parser.add_argument("--seconds", type=number(float), help="of a burst (default: 1)")
    parser.add_argument(
        "--threads", type=number(int), nargs="+", help="(default: 1, and all: OMP_NUM_THREADS or "
        "the processors this process may use)"
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="(default: results/<machine>/growth; of --quick "
        "one among the temporary files)"
    )  # fmt: skip
    parser.add_argument("--torch-python", metavar="PYTHON", default=sys.executable,
                        help="the interpreter that runs PyTorch (default: this one)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="whether it works: small sizes, short "
                        "bursts, 2 rounds, 1 thread")  # fmt: skip
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds and options.rounds < ROUNDS and not options.quick:
        parser.error(f"expected {ROUNDS} rounds at least; got {options.rounds}: no spread is known")
    return options


def complete(options) -> None:
    """The defaults that depend on what is here."""
    measuring.expect_modules("trivet", "rosetta")
    expect_torch(options.torch_python)
    from trivet import registry
    from trivet.lib import openmp

    for backend in ("trivet.native", "trivet.onednn"):
        if why := registry.missing(backend):
            progress(f"note: trivet runs without {backend}: {why}")

    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.02 if options.quick else 1.0)
    everything = [1] if options.quick else sorted({1, openmp.threads()})
    options.threads = sorted(set(options.threads or everything))
    if options.out is None:
        suite = Path(__file__).parents[1] / "results" / measuring.machine_name()
        options.out = (
            Path(tempfile.gettempdir()) / "trivet" if options.quick else suite
        ) / "growth"
    measuring.expect_folder(options.out)


def main() -> None:
    options = parsed()
    if options.serve:
        framework, way, threads = *options.serve[:2], int(options.serve[2])
        measuring.serve(
            threads,
            lambda: versions(framework, threads),
            lambda work: burst(framework, way, **work),
        )
        return
    try:
        complete(options)
        found = measure(options)
    except MeasuringError as error:
        sys.exit(str(error))
    from growth_plot import plot

    for path in [options.out / "growth.json", *plot(found, options.out)]:
        progress(f"wrote {path}")


if __name__ == "__main__":
    main()
