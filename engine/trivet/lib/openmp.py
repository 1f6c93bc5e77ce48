"""The OpenMP runtime: one pool of threads for oneDNN's kernels and for our own.

Whatever library loads libgomp, a process has one copy of it, and so one pool. Where there is none
(another platform) our kernels run on one thread.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..errors import OptionError

NAMES = "libgomp.so.1", "libomp.so.5"  # LLVM's runtime speaks GNU's language too

# How often a thread without work looks for some before it sleeps: about 0.1 ms. The runtime's own
# 300,000 keep a processor for longer than the system's time slice: beside one process that computed
# a step took 5 to 20 times as long, now twice (docs/engine-cpu.md).
SPINS = "3000"


@cache
def _runtime() -> ctypes.CDLL | None:
    for name in NAMES:
        try:
            with _spinning_briefly():
                library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        library.GOMP_parallel.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint,
        ]  # fmt: skip
        library.GOMP_parallel.restype = None
        return library
    return None


@contextmanager
def _spinning_briefly():
    """The runtime reads its environment once, when it is loaded; what the user set stays."""
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@cache
def threads() -> int:
    """How many threads a kernel runs on, the same for the life of the process.

    ``OMP_NUM_THREADS`` if set; else the processors this process may use: its affinity, and what
    the control group grants (a container with a quota of two processors sees all of the machine's).
    Never more than the runtime starts (OMP_THREAD_LIMIT, OMP_MAX_ACTIVE_LEVELS): kernels have room
    for as many parts, and add up all of them.

    Raises:
        OptionError: OMP_NUM_THREADS is no whole number above 0, or OMP_DYNAMIC lets the runtime
            start fewer threads than it is asked for.
    """
    runtime = _runtime()
    if runtime is None:
        return 1
    if runtime.omp_get_dynamic():
        raise OptionError(
            "Expected OMP_DYNAMIC to be off, so that all threads come whose parts are added up; "
            f"got {os.environ.get('OMP_DYNAMIC', 'omp_set_dynamic')!r}.",
            "leave it out of the environment.",
        )
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted and not (wanted.isdecimal() and int(wanted) > 0):
        raise OptionError(
            f"Expected OMP_NUM_THREADS to be a whole number above 0; got {wanted!r}.",
            "set it to the number of processors, or leave it out.",
        )
    count = int(wanted) if wanted else min(_allowed(), _granted())
    parallel_at_all = runtime.omp_get_max_active_levels() > 0
    count = min(count, runtime.omp_get_thread_limit()) if parallel_at_all else 1
    runtime.omp_set_num_threads(count)
    return count


def _allowed() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _granted() -> int:
    """Whole processors that the control group grants, rounded up; many if it sets no limit."""
    v2, v1 = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu")
    try:
        if v2.exists():
            quota, period = v2.read_text("ascii").split()
        else:
            files = (v1 / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
            quota, period = (file.read_text("ascii") for file in files)
        limited = quota != "max" and int(quota) > 0
        return max(1, -(-int(quota) // int(period))) if limited else 1 << 20
    except (OSError, ValueError):  # no control groups here
        return 1 << 20


def symbols() -> dict[str, int]:
    """Addresses of what a kernel calls for its thread's number, and for how many there are."""
    names = "omp_get_thread_num", "omp_get_num_threads"
    if _runtime():
        return {n: ctypes.cast(getattr(_runtime(), n), ctypes.c_void_p).value for n in names}
    return {n: ctypes.cast(f, ctypes.c_void_p).value for n, f in zip(names, _ALONE)}


_ALONE = tuple(ctypes.CFUNCTYPE(ctypes.c_int32)(lambda n=n: n) for n in (0, 1))


def parallel():
    """``f(function, data, threads, 0)``: calls ``function(data)`` on so many threads, and waits."""
    if _runtime():
        return _runtime().GOMP_parallel
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    return lambda function, data, threads, flags: run(function)(data)
