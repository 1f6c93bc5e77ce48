"""The clock of ``notebooks/<framework>/machine.py``: how fast one framework drives this machine.

    machine = Machine({"numpy": numpy.__version__})
    for size in machine.sizes:
        machine.gemm("fp32", size, lambda size=size: product(size))
    machine.measure()

Every measurement is given as a function that prepares: it allocates, and returns the call that is
timed. It runs right before its laps, so memory is held by one at a time, and a switch that it sets
(TF32, say) holds for its own laps alone. One JSON document is printed, checked by
``harness/rosetta/schema/roofline.json``.
"""

import argparse
import json
import os
import re
import sys
import threading
from time import perf_counter

from .environment import environment

SIZES = (1024, 2048, 4096)  # of square matrices
# 3x3 with padding 1: (images, channels in and out, pixels a side)
CONVOLUTIONS = ((32, 64, 56), (32, 128, 32))
LAPS = 10  # that a measurement's share of the time is cut into
BYTES = 1 << 28  # of the array that is copied, where nobody says how large the caches are


class TooLong(Exception):
    """A measurement that does not fit the seconds given."""


class Machine:
    """The measurements of one process.

    Args:
        versions: Of the libraries, as {name: version}.
        synchronize: Waits until the result of a call, and all calls before it, are there. None:
            a call returns when it is done.
        arguments: Of the command line: DEVICE SECONDS [--bytes N] [--owner FD].

    Attributes:
        device: "cpu" or "cuda".
        sizes: Rows of the square matrices to multiply, the smallest first.
        convolutions: (images, channels, side) of the 3x3 convolutions.
        bytes: Of the array to copy: so large that it does not fit any cache.
    """

    sizes = SIZES
    convolutions = CONVOLUTIONS

    def __init__(self, versions, synchronize=None, arguments=None):
        given = _arguments(arguments)
        self.device, self.bytes, self._seconds = given.device, given.bytes, given.seconds
        self._versions, self._synchronize = versions, synchronize or (lambda result: None)
        self._wanted = []
        if given.owner is not None:
            _die_with(given.owner)

    def gemm(self, precision, size, prepare):
        """A product of two square matrices of ``size`` rows; a multiply-add counts two."""
        self._add("gemm", precision, "%d x %d" % (size, size), 2 * size**3, prepare)

    def convolution(self, precision, shape, layout, prepare):
        """A forward 3x3 convolution, one of ``convolutions``; ``layout`` names what was tried.

        Its flops are those of the direct algorithm, whichever one the library takes.
        """
        images, channels, side = shape
        work = 2 * 9 * channels**2 * side**2 * images
        what = "%dx%dx%d-%d, batch %d, %s" % (side, side, channels, channels, images, layout)
        self._add("convolution", precision, what, work, prepare)

    def copy(self, prepare):
        """A copy of an array of ``bytes``: each byte is read once and written once."""
        self._add("copy", "", "%d MiB" % (self.bytes >> 20), 2 * self.bytes, prepare)

    def dispatch(self, what, prepare):
        """An op on next to nothing: what one call costs."""
        self._add("dispatch", "", what, 1, prepare)

    def measure(self):
        """Runs everything within the seconds given, about, and prints the document.

        What raises, and a product of which one call would take too long, is left out with the
        reason. The first call of each is kept apart: it compiles, and tunes.
        """
        facts = {"schema": 1, "device": self.device, "versions": self._versions}
        facts["environment"] = environment()
        samples, left_out, left = [], [], self._seconds
        for number, (key, prepare) in enumerate(self._wanted):
            share = max(left, self._seconds / 4) / (len(self._wanted) - number)
            try:
                _refuse_too_long(key, samples, share)
                sample = self._laps(prepare(), share)
            except Exception as error:  # one that a library lacks must not take the others along
                why = "%s: %s" % (type(error).__name__, str(error).strip()[:300])
                named = {name: key[name] for name in ("figure", "precision", "what")}
                left_out.append(dict(named, reason=why))
                continue
            left -= sum(sample["laps"])
            samples.append(dict(key, **sample))
        print("\n" + json.dumps(dict(facts, samples=samples, left_out=left_out)))
        sys.stdout.flush()

    def _add(self, figure, precision, what, work, prepare):
        key = {"figure": figure, "precision": precision, "what": what, "work": work}
        self._wanted.append((key, prepare))

    def _laps(self, call, share):
        """{first: seconds of the first call, calls: in a lap, laps: seconds of each}."""
        first, calls, seconds = self._lap(call, 1), 1, self._lap(call, 1)
        while seconds < share / LAPS / 2:  # no single call of a tiny op can be timed
            calls = max(2 * calls, int(calls * share / LAPS / max(seconds, 1e-9)))
            seconds = self._lap(call, calls)
        laps = [seconds]
        while sum(laps) + min(laps) < share:
            laps.append(self._lap(call, calls))
        return {"first": first, "calls": calls, "laps": laps}

    def _lap(self, call, calls):
        start = perf_counter()
        for _ in range(calls):
            result = call()
        self._synchronize(result)
        return perf_counter() - start


def cpu_has_bf16():
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is a slow imitation."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return bool(re.search(r"\b(amx_bf16|avx512_bf16|bf16)\b", file.read()))
    except OSError:
        return False


def _refuse_too_long(key, samples, share):
    """Of a large product the next smaller one tells how long a call will take."""
    kind = key["figure"], key["precision"]
    smaller = [s for s in samples if (s["figure"], s["precision"]) == kind]
    if kind[0] != "gemm" or not smaller:
        return
    seconds = min(smaller[-1]["laps"]) / smaller[-1]["calls"]
    seconds *= key["work"] / smaller[-1]["work"]
    if seconds > 2 * share:
        raise TooLong("one call would take %.2g s, its share is %.2g s" % (seconds, share))


def _arguments(arguments):
    parser = argparse.ArgumentParser(description="Prints how fast this framework can be here.")
    parser.add_argument("device", choices=("cpu", "cuda"))
    parser.add_argument("seconds", type=float, help="for all measurements together")
    parser.add_argument("--bytes", type=int, default=BYTES, help="of the array that is copied")
    parser.add_argument("--owner", type=int, help="a pipe whose end ends this process")
    return parser.parse_args(arguments)


def _die_with(owner):
    """When the process that holds the pipe's other end is gone, nothing goes on computing."""

    def wait():
        os.read(owner, 1)  # blocks: no polling beside a measurement
        os._exit(1)

    thread = threading.Thread(target=wait)
    thread.daemon = True
    thread.start()
