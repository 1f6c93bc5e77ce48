"""The kernel language: vector code written in Python, compiled once per machine.

A *block* is a Python function that emits vector instructions (``values``); a *kernel* is a Numba
function that calls blocks from ordinary loops and runs on all threads (``kernels``). No compiler is
needed on the user's machine. docs/kernels.md is the page to learn it from.
"""

from ..errors import BackendMissing

try:
    import numba  # noqa: F401
except ImportError as error:
    raise BackendMissing(
        f"Expected Numba, which compiles trivet's own kernels; got: {error}.",
        "pip install 'trivet[cpu]'.",
    ) from error

from .kernels import (
    KERNELS,
    Kernel,
    Launch,
    Operand,
    block,
    cache_folder,
    double_bits,
    float_bits,
    helper,
    kernel,
    parameter,
    read,
    read_double,
    read_int32,
    read_integer,
    share,
    thread,
    threads,
    variant,
    write,
    write_integer,
)
from .ssa import DOUBLES, Value
from .target import BYTES, LANES, REGISTERS
from .values import Emitter

__all__ = [
    "BYTES", "DOUBLES", "KERNELS", "LANES", "REGISTERS", "Emitter", "Kernel", "Launch", "Operand",
    "Value", "block", "cache_folder", "double_bits", "float_bits", "helper", "kernel", "parameter",
    "read", "read_double", "read_int32", "read_integer", "share", "thread", "threads", "variant",
    "write", "write_integer",
]  # fmt: skip
