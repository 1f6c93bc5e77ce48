"""Raw memory of a device, and Buffer: memory with a spec. A device is its name."""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from contextlib import suppress
from itertools import count
from threading import RLock

import numpy as np

from .errors import CaptureError, DeviceError
from .spec import Spec, Strided

ALIGNMENT = 64  # bytes: one cache line, and no vector loop starts on a different element
TAIL = 64  # readable bytes behind every memory: the last vector load may run past the end
LARGE = 1 << 16  # bytes: from here on a value begins somewhere else in its page than the last one
PAGE = 4096


def stagger(k: int) -> int:
    """Bytes that value number k begins behind the start of a page, a multiple of ALIGNMENT.

    A processor takes a load for the result of a recent store whose address has the same low 12
    bits. Large blocks all begin with a page, so kernels that read several were up to 1.7 times as
    slow (the gradient of batch normalisation).
    """
    return 5 * k * ALIGNMENT % PAGE


def empty(device: str, nbytes: int) -> np.ndarray:
    """Uninitialised, aligned bytes."""
    return _EMPTY[expect(device)](nbytes)


def trim(device: str) -> None:
    """Gives memory that is free back to the system."""
    _TRIM[expect(device)]()
    with suppress(AttributeError, OSError, TypeError):  # glibc's alone keeps freed blocks
        ctypes.CDLL(None).malloc_trim(0)


def expect(device: str) -> str:
    if device not in _EMPTY:
        raise DeviceError(
            f"Expected one of the devices {', '.join(_EMPTY)}; got {device!r}.",
            "name a device that this machine has.",
        )
    return device


def _fresh(nbytes, alignment=ALIGNMENT, behind=0):
    memory = np.empty(nbytes + alignment + behind + TAIL, np.uint8)
    start = -memory.ctypes.data % alignment + behind
    return memory[start : start + nbytes + TAIL]


class _Pool:
    """Large blocks that were freed, for the next value of their size or somewhat less.

    The system takes large blocks back at once and hands them out again page by page, each page a
    fault, at every step anew. What is free and what is in use stay together below ``SLACK`` times
    the most that ever was in use. (A training process of DenseNet-121, batch 8, 1,008 MB of values
    at most: 1,507 MiB in all, 1,567 with blocks an eighth larger and half as large again.)
    """

    SLACK = 1.02
    FITS = 1.25  # a free block that is so much larger than what is asked for is still taken

    def __init__(self):
        self._count = count()
        self.free: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # the last freed size last
        self.used = self.idle = self.peak = 0  # bytes
        self._watched: dict[int, tuple[weakref.ref, np.ndarray]] = {}
        self._lock = RLock()  # a block may come back whenever Python collects garbage

    def __call__(self, nbytes: int) -> np.ndarray:
        if nbytes < LARGE:  # malloc itself keeps what was freed
            return _fresh(nbytes)
        grain = 1 << (nbytes.bit_length() - 6)
        size = -(-nbytes // grain) * grain  # a thirty-second larger at most
        with self._lock:
            block = self._fitting(size)
            self.used += size if block is None else _size(block)
            self.peak = max(self.peak, self.used)
            self._keep_below()
        if block is None:
            block = _fresh(size, PAGE, stagger(next(self._count)))
        # an array of its own over the block: when the last view of it is gone, the block is free
        memory = np.frombuffer(block.data, np.uint8)[: nbytes + TAIL]
        owner = memory.base
        watch = weakref.ref(owner, self._freed)
        self._watched[id(watch)] = watch, block
        return memory

    def _fitting(self, size: int) -> np.ndarray | None:
        """The smallest free block that is large enough, taken out."""
        if not self.free.get(size):
            largest = self.FITS * size
            fitting = [s for s, blocks in self.free.items() if size <= s <= largest and blocks]
            if not fitting:
                return None
            size = min(fitting)
        self.idle -= size
        return self.free[size].pop()

    def _freed(self, watch) -> None:
        _, block = self._watched.pop(id(watch))
        size = _size(block)
        with self._lock:
            self.used -= size
            self.idle += size
            self.free.setdefault(size, []).append(block)
            self.free.move_to_end(size)
            self._keep_below()

    def _keep_below(self) -> None:
        self.trim(down_to=int(self.SLACK * self.peak) - self.used)

    def trim(self, down_to: int = 0) -> None:
        """Frees the blocks that were not wanted for longest until so many bytes are idle."""
        with self._lock:
            while self.idle > max(0, down_to):
                oldest, blocks = next(iter(self.free.items()))
                if blocks:
                    blocks.pop()
                    self.idle -= oldest
                else:
                    del self.free[oldest]


def _size(block: np.ndarray) -> int:
    return len(block) - TAIL


_empty_cpu = _Pool()
_EMPTY, _TRIM = {"cpu": _empty_cpu}, {"cpu": _empty_cpu.trim}


class Buffer:
    """One value in memory. The spec never changes; every write raises the version.

    A view has a base, the buffer that owns the memory, and shares its version.
    """

    __slots__ = (
        "__weakref__", "_version", "backend", "base", "device", "memory", "offset", "spec",
    )  # fmt: skip

    def __init__(
        self,
        spec: Spec,
        device: str,
        memory: np.ndarray | None,
        offset: int = 0,
        base: Buffer | None = None,
    ):
        self.spec, self.device, self.memory = spec, device, memory
        self.offset, self.base = offset, base  # bytes
        self.backend: str | None = None  # whose plan made it; auxiliaries stay with that backend
        self._version = 0

    @property
    def owner(self) -> Buffer:
        return self.base or self

    @property
    def version(self) -> int:
        return self.owner._version

    def touch(self) -> None:
        """Says that the value was written."""
        self.owner._version += 1

    def address(self) -> int:
        """Where the value begins."""
        return self._expect_memory().ctypes.data + self.offset

    def array(self) -> np.ndarray:
        """The memory in its physical shape, without a copy."""
        memory = self._expect_memory()
        dtype = np.dtype(self.spec.dtype)
        steps = None
        if isinstance(self.spec.layout, Strided):
            steps = tuple(step * dtype.itemsize for step in self.spec.layout.steps)
        return np.ndarray(self.spec.physical, dtype, memory, self.offset, steps)

    def _expect_memory(self) -> np.ndarray:
        if self.memory is None:
            raise CaptureError(
                f"This value ({self.spec}) was made in a captured step and ended with it.",
                "return it from the step.",
            )
        return self.memory
