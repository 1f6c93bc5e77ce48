"""From blocks to kernels: compiled once per machine, started on all threads."""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock
from time import perf_counter
from types import FunctionType

import llvmlite.binding as llvm
import numba
import numba.extending
from numba.core import config, types

from ..folders import user_folder
from ..lib import openmp
from .ssa import F32, F64, I32, I64, POINTER, Value
from .target import CPU, LANES, REGISTERS
from .values import Emitter

for _name, _address in openmp.symbols().items():
    llvm.add_symbol(_name, _address)

# Inside a kernel: the number of its thread, and how many run it.
thread = types.ExternalFunction("omp_get_thread_num", types.int32())
threads = types.ExternalFunction("omp_get_num_threads", types.int32())


def block(function: Callable) -> Callable:
    """Makes ``function(emit, *scalars)``, which emits vector code, callable in a kernel.

    The function runs once per kernel it is used in, while that is compiled; what it does to
    Values becomes the code. It takes int64 and float32 and returns nothing: results go to memory.
    """
    names = list(inspect.signature(function).parameters)[1:]

    def generate(context, builder, _, operands):
        emit = Emitter(builder)
        function(emit, *(Value(emit, operand) for operand in operands))
        return context.get_dummy_value()

    def typing(typingctx, *operands):
        floats = [isinstance(operand, types.Float) for operand in operands]
        taken = [types.float32 if is_float else types.int64 for is_float in floats]
        return types.void(*taken), generate

    order = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typing.__signature__ = inspect.Signature(
        [inspect.Parameter(name, order) for name in ("typingctx", *names)]
    )
    typing.__name__, typing.__doc__ = function.__name__, function.__doc__
    return numba.extending.intrinsic(typing)


@numba.extending.intrinsic
def parameter(typingctx, table, place):
    """Number ``place`` of a kernel's table of int64."""

    def generate(context, builder, _, operands):
        address = builder.add(operands[0], builder.mul(operands[1], I64(8)))
        return builder.load(builder.inttoptr(address, POINTER), typ=I64)

    return types.int64(types.int64, types.int64), generate


def _reading(kind, number):
    """The function of an address that gives what lies there."""

    def typing(typingctx, address):
        def generate(context, builder, _, operands):
            return builder.load(builder.inttoptr(operands[0], POINTER), typ=kind)

        return number(types.int64), generate

    return numba.extending.intrinsic(typing)


def _writing(number):
    """The function of an address and of what is put there."""

    def typing(typingctx, address, value):
        def generate(context, builder, _, operands):
            builder.store(operands[1], builder.inttoptr(operands[0], POINTER))
            return context.get_dummy_value()

        return types.void(types.int64, number), generate

    return numba.extending.intrinsic(typing)


read, read_double = _reading(F32, types.float32), _reading(F64, types.float64)
read_integer, read_int32 = _reading(I64, types.int64), _reading(I32, types.int32)
write, write_integer = _writing(types.float32), _writing(types.int64)


ENGINE = Path(__file__).parents[1]  # the cache knows the sources below
# Numba's setting of the cache folder is the whole process's, and since Python 3.12 several threads
# may compute a cached_property at once.
_COMPILING = Lock()
helper = numba.njit(error_model="numpy")  # a scalar function that kernels share


@helper
def share(count, unit, me, all_threads):
    """The part [low, high) of ``count`` things that thread ``me`` does, in whole units."""
    units = (count + unit - 1) // unit
    low = units * me // all_threads * unit
    return min(low, count), min(units * (me + 1) // all_threads * unit, count)


class Kernel:
    """A function of a table of int64 (addresses, sizes), run by all threads at once.

    It is compiled when first used, or found in the cache folder.
    """

    def __init__(self, function: Callable, cached: bool = True):
        self.function = function
        self.name = function.__name__
        self.cached = cached and _stands_in_a_module(function)
        self.seconds: float | None = None  # it took to compile or to find
        self.compiled = False  # False: found in the cache
        self._made = None  # owns the machine code

    @property
    def address(self) -> int:
        """Of its machine code, for the life of this object."""
        with _COMPILING:
            if self._made is None:
                self._compile()
        return self._made.address

    def _compile(self) -> None:
        start = perf_counter()
        before, config.CACHE_DIR = config.CACHE_DIR, str(cache_folder())
        try:  # Numba looks at the setting while it decorates
            signature = types.void(types.int64)
            decorate = numba.cfunc(signature, cache=self.cached, error_model="numpy")
            self._made = decorate(self.function)
        finally:
            config.CACHE_DIR = before
        self.seconds, self.compiled = perf_counter() - start, not self._made.cache_hits


def _stands_in_a_module(function: Callable) -> bool:
    """What was typed, or made of text, has no file that tells when what was kept is stale."""
    home = getattr(sys.modules.get(function.__module__), "__file__", None)
    written = Path(function.__code__.co_filename)
    return home is not None and Path(home).resolve() == written.resolve()


KERNELS: list[Kernel] = []


def kernel(function: Callable) -> Kernel:
    """Makes a Numba function of one int64, the address of its table, a kernel.

    ``parameter(table, k)`` reads the table; ``thread()`` and ``threads()`` say which part of the
    work is this thread's. All threads run the same code, and wait for each other at its end only:
    what needs the sums of all is a second kernel. Errors cannot leave a kernel.
    """
    KERNELS.append(Kernel(function))
    return KERNELS[-1]


def variant(template: Callable, name: str, made_of: Sequence[Callable] = (), **blocks) -> Kernel:
    """The kernel of that name that ``template`` becomes with these blocks (or other globals).

    A template is a kernel's function that calls blocks which are still to be chosen.

    Args:
        name: No other variant's; the cache goes by it.
        made_of: The functions that the blocks call. The cache goes by their files too: they may
            be the user's own.
    """
    files = {getattr(f, "func", f).__code__.co_filename for f in made_of}
    others = sorted(f for f in map(Path, files) if ENGINE not in f.parents)
    cached = all(file.is_file() for file in others)
    if others and cached:
        name += f"_{_digest(file.read_bytes() for file in others)}"
    function = FunctionType(template.__code__, template.__globals__ | blocks, name)
    function.__qualname__ = name
    KERNELS.append(Kernel(function, cached))
    return KERNELS[-1]


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``TRIVET_CACHE``, else the user's cache folder.

    Its name says all that the code depends on and Numba does not know of.
    """
    sources = [path.read_bytes() for part in ("simd", "native") for path in _sources(ENGINE / part)]
    versions = [metadata.version(name) for name in ("numba", "llvmlite")]
    digest = _digest([*sources, *map(str.encode, versions)])
    return user_folder() / "kernels" / f"{CPU}-{LANES}x{REGISTERS}-{digest}"


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.py"))


def float_bits(number: float) -> int:
    """A float32 as an entry of a table: ``emit.broadcast`` reads it from there.

    What float32 cannot hold is an infinity, as in NumPy; struct would raise.
    """
    return struct.unpack("<q", struct.pack("<fI", ctypes.c_float(number).value, 0))[0]


def double_bits(number: float) -> int:
    """A float64 as an entry of a table: ``emit.broadcast_double`` reads it from there."""
    return struct.unpack("<q", struct.pack("<d", number))[0]


class Operand(int):
    """An entry of a table: the address of a plan's operand (outs, ins, workspace), plus bytes."""

    offset: int

    def __new__(cls, number: int, offset: int = 0):
        self = super().__new__(cls, number)
        self.offset = offset
        return self


class Launch:
    """Kernels run one after the other on all threads: ``run`` and ``bind`` of an addressed Plan.

    Args:
        stages: (kernel, table) each; an entry of a table is an int or an Operand.
        on: Threads.
        keep: Whatever the tables' fixed addresses point into.
    """

    def __init__(self, *stages: tuple[Kernel, tuple], on: int | None = None, keep=()):
        self.stages = [(kernel.address, table) for kernel, table in stages]
        self.on, self.keep = on or openmp.threads(), keep
        self.parallel = openmp.parallel()

    def __call__(self, *addresses: int) -> None:
        for function, table in self._tables(addresses):
            self.parallel(function, table, self.on, 0)

    def bind(self, *addresses: int) -> Callable[[], None]:
        tables, parallel, on = self._tables(addresses), self.parallel, self.on
        if len(tables) == 1:
            ((function, table),) = tables
            return lambda: parallel(function, table, on, 0)

        def launch():
            for function, table in tables:
                parallel(function, table, on, 0)

        return launch

    def _tables(self, addresses):
        return [
            (function, (ctypes.c_int64 * len(table))(*(_entry(e, addresses) for e in table)))
            for function, table in self.stages
        ]


def _entry(entry: int, addresses) -> int:
    return addresses[entry] + entry.offset if isinstance(entry, Operand) else entry
