"""What Python costs in a captured step, and what a step costs before it is one.

    python engine/measure_replay.py
    python engine/measure_replay.py --nets cnn gru --threads 1 --out replay.json
    python engine/measure_replay.py --quick

Three questions, everything in processes of their own:

1. A replay is a Python loop over launches. What does a turn of it cost? Chains of tiny launches are
   captured and replayed at one thread; the slope over their lengths is the cost of a launch, the
   rest that of the call. The tiny kernels themselves are in it: it is an upper bound for Python.
2. How many launches has a step of the suite's workloads (tuning off), and so which share of a
   replay is launching?
3. What do a step's first two calls cost, with an empty cache and with a warm one (tuning on)?
   Of the two, "compiling" is spent on kernels that Numba compiles or finds, and "tuning" on races
   between kernels. "building" comes before: the network, the backends and what they import. The
   caches are temporary folders: yours stays as it is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import measuring
import numpy as np
import trivet
from trivet import Tensor, capture, nn, ops, optim, registry, tuning, zoo
from trivet.lib import openmp

LENGTHS = 10, 40, 160, 640  # of the chains
BACKENDS = {"relu": "trivet.native", "matmul": "trivet.onednn"}  # who is to run which chain
LAP = 0.01  # seconds of one lap over chains, which take microseconds
US, MS = 1e6, 1e3


def _training(net, rule, loss_of, prepare=lambda x: x):
    def step(x, y):
        rule.zero_grad()
        loss = loss_of(net(prepare(x)), y)
        loss.backward()
        rule.step()
        return loss.detach()

    return step


def cnn(batch: int):
    """The suite's CNN with SGD, pixels to floats within the step; batches on the host."""
    rng, net = np.random.default_rng(0), zoo.cnn_cifar10()
    x, y = rng.integers(0, 256, (batch, 3, 32, 32), "uint8"), rng.integers(0, 10, batch)
    rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)
    return _training(net, rule, ops.cross_entropy, lambda x: x.to("float32") / 255), (x, y)


def gru(batch: int):
    """The suite's GRU with Adam: reviews of 150 words."""
    rng, net = np.random.default_rng(0), zoo.gru_imdb()
    x, y = rng.integers(0, 30_000, (batch, 150)), rng.integers(0, 2, batch)
    return _training(net, optim.Adam(net.parameters(), 1e-3), ops.cross_entropy), (x, y)


def densenet(batch: int):
    """DenseNet-121 with Adam, pixels normalised within the step."""
    rng, net = np.random.default_rng(0), zoo.densenet_chexnet()
    x = rng.integers(0, 256, (batch, 3, 224, 224), "uint8")
    y = rng.integers(0, 2, (batch, 14)).astype("float32")
    mean = Tensor(np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1), "float32")
    deviation = Tensor(np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1), "float32")
    rule, loss_of = optim.Adam(net.parameters(), 1e-4), ops.binary_cross_entropy_with_logits

    def prepare(x):
        return (x.to("float32") / 255 - mean) / deviation

    return _training(net, rule, loss_of, prepare), (x, y)


def resnet(batch: int):
    """ResNet-50's features: forward alone."""
    net = zoo.resnet50_features().eval()
    x = np.random.default_rng(0).random((batch, 3, 224, 224), "float32")

    def step(x):
        with trivet.no_grad():
            return net(x)

    return step, (x,)


@dataclass(frozen=True)
class Net:
    """One of the suite's workloads at its batch on CPUs."""

    make: object
    title: str
    batch: int


NETS = {
    "cnn": Net(cnn, "CNN, training", 64),
    "gru": Net(gru, "GRU, training", 64),
    "densenet": Net(densenet, "DenseNet-121, training", 8),
    "resnet": Net(resnet, "ResNet-50, features", 16),
}


def chain(name: str, length: int, seconds: float) -> list[float]:
    """Laps of a captured chain of so many tiny launches; one lap is one replay."""
    x = Tensor(np.ones(8), "float32")
    w = Tensor(np.eye(4), "float32")  # fewer than eight rows: oneDNN's
    links = {"relu": ops.relu, "matmul": lambda y: ops.matmul(y, w)}

    def step():
        y = w if name == "matmul" else x
        with trivet.no_grad():
            for _ in range(length):
                y = links[name](y)
        return y

    replay = capture(step)
    for _ in range(3):
        replay()
    ran = {note.plan.backend for note in replay.program.notes}
    if len(replay.program.notes) != length or ran != {BACKENDS[name]}:
        reason = registry.missing(BACKENDS[name]) or "the chain was rewritten"
        raise measuring.MeasuringError(
            f"Expected {length} launches by {BACKENDS[name]}; got {len(replay.program.notes)} by "
            f"{', '.join(sorted(ran))}: {reason}\nfix: pip install './engine[cpu]'"
        )
    return measuring.laps(replay, seconds, length=LAP)


def loop(length: int, seconds: float) -> list[float]:
    """Laps of a Python loop over as many functions that do nothing: the floor."""
    launches = [lambda: None for _ in range(length)]

    def run():
        for launch in launches:
            launch()

    return measuring.laps(run, seconds, length=LAP)


def per_launch(of_length: dict[int, list[float]]) -> dict[str, float]:
    """A line through the medians: seconds of a launch, and of a replay without any."""
    lengths = [int(length) for length in of_length]
    medians = [median(taken) for taken in of_length.values()]
    # relative errors count: a long chain's microseconds must not hide a short one's
    slope, start = np.polyfit(lengths, medians, 1, w=1 / np.array(medians))
    return {"launch": float(slope), "call": float(start)}


def chains(seconds: float, lengths: tuple[int, ...]) -> dict:
    found: dict[str, dict] = {}
    subjects = {"python": loop, **{n: lambda *how, n=n: chain(n, *how) for n in BACKENDS}}
    for name, subject in subjects.items():
        taken = {length: subject(length, seconds) for length in lengths}
        found[name] = {**per_launch(taken), "laps": taken}
    return found


def first_calls(name: str, batch: int, tune: bool, seconds: float) -> dict:
    """A step of a workload from nothing to replays, and who runs its launches."""
    races = []

    def timed_race(contenders, race=tuning.race):
        start, before = perf_counter(), _compiling()[0]
        seconds = race(contenders)
        races.append(perf_counter() - start - (_compiling()[0] - before))
        return seconds

    tuning.race = timed_race
    nn.init.seed(0)
    trivet.seed(0)
    start = perf_counter()
    step, batch_of = NETS[name].make(batch)
    registry.missing("trivet.native"), registry.missing("trivet.onednn")  # imports them
    building = perf_counter() - start
    replay = capture(step, fuse=True, tune=tune)
    before, calls = _compiling(), []
    for _ in range(2):
        calls += measuring.laps(lambda: replay(*map(Tensor, batch_of)), 0, least=1)
    compiling, compiled = (after - b for after, b in zip(_compiling(), before))
    replays = measuring.laps(lambda: replay(*map(Tensor, batch_of)), seconds)
    backends: dict[str, int] = {}
    for note in replay.program.notes:
        backends[note.plan.backend] = backends.get(note.plan.backend, 0) + 1
    return {
        "building": building,
        "first": calls[0],
        "second": calls[1],
        "compiling": compiling,
        "compiled": compiled,
        "tuning": sum(races),
        "races": len(races),
        "replay": median(replays),
        "launches": backends,
        "digest": replay.program.digest(),
        "laps": replays,
    }


def _compiling() -> tuple[float, int]:
    """Seconds spent on kernels so far, compiled or found; and how many were compiled."""
    simd = sys.modules.get("trivet.simd")
    kernels = [k for k in simd.KERNELS if k.seconds is not None] if simd else []
    return sum(k.seconds for k in kernels), sum(k.compiled for k in kernels)


def ask(threads: int, cache: str | None = None, **work) -> dict:
    """One answer of a fresh process."""
    command = [sys.executable, __file__, "--serve", str(threads)]
    folders = {"TRIVET_CACHE": cache, "TRIVET_PLANS": None} if cache else {}
    with measuring.Process(command, threads, **folders) as process:
        process.answer()
        return process.ask(**work)


def answer(work: dict) -> dict:
    if "chains" in work:
        return chains(work["seconds"], tuple(work["chains"]))
    return first_calls(work["net"], work["batch"], work["tune"], work["seconds"])


def workload(name: str, batch: int, threads: int, seconds: float) -> dict[str, dict]:
    """Its step with an empty cache, with a warm one, and untuned with what that has compiled."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="trivet-") as cache:
        for way in ("cold", "warm", "untuned"):
            measuring.progress(f"{name}: a fresh process, {way} ...")
            work = {"net": name, "batch": batch, "tune": way != "untuned", "seconds": seconds}
            found[way] = ask(threads, cache, **work)
    return found


def share(ran: dict, cost: dict) -> float:
    """Of a replay, what its launches cost as the chain of the same backend has it."""
    price = {backend: cost[name]["launch"] for name, backend in BACKENDS.items()}
    dearest = max(price.values())
    spent = sum(n * price.get(backend, dearest) for backend, n in ran["launches"].items())
    return spent / ran["replay"]


def show(found: dict) -> None:
    print("| chain, 1 thread | a launch [us] | a replay beside its launches [us] |\n|---|---|---|")
    named = {
        "python": "Python, a function that does nothing",
        "relu": "native relu of 8 numbers",
        "matmul": "oneDNN product of 4 x 4",
    }
    for name, cost in found["chains"].items():
        print(f"| {named[name]} | {cost['launch'] * US:.2f} | {cost['call'] * US:.1f} |")
    threads = measuring.counted(found["threads"])
    print(f"\n| step, {threads} | launches | by | replay [ms] | launching |")
    print("|---|---|---|---|---|")
    for name, ways in found["workloads"].items():
        ran = ways["untuned"]
        by = ", ".join(f"{n} {b.rpartition('.')[2]}" for b, n in ran["launches"].items())
        cells = sum(ran["launches"].values()), by, f"{ran['replay'] * MS:.2f}"
        print(f"| {title(name, found)} |", *(f"{c} |" for c in cells), f"{ran['share']:.2%} |")
    columns = (
        "building [s]",
        "first call [s]",
        "second [s]",
        "compiling [s]",
        "tuning [s]",
        "replay [ms]",
    )
    print("\n| step, tuned | cache |", " | ".join(columns), "|\n" + "|---" * 8 + "|")
    for name, ways in found["workloads"].items():
        for way in ("cold", "warm"):
            ran = ways[way]
            cells = [f"{ran[part]:.2f}" for part in ("building", "first", "second")]
            cells += [f"{ran['compiling']:.2f} ({ran['compiled']} kernels compiled)"]
            cells += [f"{ran['tuning']:.2f} ({ran['races']} races)", f"{ran['replay'] * MS:.2f}"]
            print(f"| {title(name, found)} | {way} |", " | ".join(cells), "|")


def title(name: str, found: dict) -> str:
    return f"{NETS[name].title}, batch {found['batches'][name]}"


def measure(options) -> dict:
    seconds, lengths = options.seconds, LENGTHS[:2] if options.quick else LENGTHS
    found = {
        **measuring.machine(),
        "threads": options.threads,
        "versions": {"trivet": trivet.__version__, "numpy": np.__version__, **trivet.libraries()},
        "seconds": seconds,
        "quick": options.quick,
        "batches": {name: 2 if options.quick else NETS[name].batch for name in options.nets},
    }
    measuring.warn_of_load()
    measuring.progress("chains of tiny launches, 1 thread ...")
    found["chains"] = ask(1, chains=lengths, seconds=seconds)
    found["workloads"] = {}
    for name, batch in found["batches"].items():
        ways = found["workloads"][name] = workload(name, batch, options.threads, seconds)
        for ran in ways.values():
            ran["share"] = share(ran, found["chains"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = measuring.above_zero
    parser.add_argument("--nets", nargs="+", choices=NETS, help="workloads (default: all four)")
    parser.add_argument("--threads", type=number(int), help="of the workloads (default: all)")
    parser.add_argument("--seconds", type=number(float), help="of replays each (default: 2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="writes everything as JSON")
    parser.add_argument(
        "--quick", action="store_true", help="whether it works: the GRU, two samples, short laps"
    )
    parser.add_argument("--serve", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        measuring.serve(options.serve, dict, answer)
        return
    options.nets = options.nets or (["gru"] if options.quick else list(NETS))
    options.seconds = options.seconds or (0.02 if options.quick else 2.0)
    try:
        measuring.expect_modules("rosetta")
        options.threads = options.threads or openmp.threads()
        if options.out and options.out.is_dir():
            raise measuring.MeasuringError(
                f"Expected --out to name a file; got the folder {options.out}.\n"
                f"fix: --out {options.out / 'replay.json'}"
            )
        if options.out:
            measuring.expect_folder(options.out.parent)
        found = measure(options)
    except (measuring.MeasuringError, trivet.errors.TrivetError) as error:
        sys.exit(str(error))
    show(found)
    if options.out:
        measuring.write_json(options.out, found)
        measuring.progress(f"wrote {options.out}")


if __name__ == "__main__":
    main()
