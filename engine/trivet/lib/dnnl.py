"""oneDNN's C interface (version 3): descriptors, primitives, and launches of them.

A *descriptor* says how a value lies in memory, an *operation* (oneDNN: primitive descriptor) is
one way to compute something, a *launch* is an operation with the places of its operands.
"""

from __future__ import annotations

import ctypes as C
from ctypes.util import find_library
from importlib import metadata
from threading import Lock

from ..errors import BackendMissing, TrivetError
from . import dnnl_constants as K
from . import openmp

DISTRIBUTION = "onednn-cpu-gomp"
_LETTERS = {"p": C.c_void_p, "i": C.c_int, "u": C.c_uint, "n": C.c_size_t, "q": C.c_int64,
            "f": C.c_float}  # fmt: skip


class DnnlError(TrivetError, RuntimeError):
    """A oneDNN function that did not succeed; ``status`` is oneDNN's name of the reason."""

    def __init__(self, function: str, status: int):
        self.status, meaning = K.STATUS.get(status, (str(status), "unknown to the headers"))
        super().__init__(
            f"{function}: expected success; got {self.status}. {meaning}.",
            "ONEDNN_VERBOSE=all in the environment shows what oneDNN was asked for.",
        )


def _files() -> list[str]:
    """Where the library may be: the installed distribution first, then where the system looks."""
    try:
        owned = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        owned = []
    found = [str(f.locate().resolve()) for f in owned if f.name.startswith("libdnnl.so")]
    return [*sorted(found, key=len, reverse=True)[:1], *filter(None, [find_library("dnnl")])]


def _load() -> C.CDLL:
    openmp.threads()  # the runtime is there, with its number of threads, before oneDNN asks it
    reasons = []
    for file in _files():
        try:
            library = C.CDLL(file)
            for name, letters in K.SIGNATURES.items():
                getattr(library, name).argtypes = [_LETTERS[letter] for letter in letters]
        except (OSError, AttributeError) as why:  # AttributeError: an older interface
            reasons.append(str(why))
            continue
        library.dnnl_memory_desc_get_size.argtypes = [C.c_void_p]
        library.dnnl_memory_desc_get_size.restype = C.c_size_t
        library.dnnl_primitive_desc_query_md.argtypes = [C.c_void_p, C.c_int, C.c_int]
        library.dnnl_primitive_desc_query_md.restype = C.c_void_p
        return library
    raise BackendMissing(
        f"Expected oneDNN's library libdnnl; got {'; '.join(reasons) or 'none on this machine'}.",
        "pip install 'trivet[cpu]' (Linux on x86-64), or go on without it: slower.",
    )


_LIBRARY = _load()


def call(function: str, *arguments) -> None:
    """Calls ``dnnl_<function>``.

    Raises:
        DnnlError: It did not succeed.
    """
    if status := getattr(_LIBRARY, f"dnnl_{function}")(*arguments):
        raise DnnlError(f"dnnl_{function}", status)


class Handle:
    """An object of oneDNN's, destroyed with this one unless another owns it."""

    __slots__ = ("_as_parameter_", "_destroy", "_kept")

    def __init__(self, kind: str, value: int, kept=None, *, borrowed: bool = False):
        self._as_parameter_ = C.c_void_p(value)
        self._destroy = None if borrowed else getattr(_LIBRARY, f"dnnl_{kind}_destroy")
        self._kept = kept  # what this one points into, or was made of

    def __del__(self):
        if getattr(self, "_destroy", None):
            self._destroy(self._as_parameter_)


def _made(kind: str, function: str, *arguments) -> Handle:
    value = C.c_void_p()
    call(function, C.byref(value), *arguments)
    return Handle(kind, value.value, arguments)


def _forever(function: str, *arguments) -> C.c_void_p:
    value = C.c_void_p()
    call(function, C.byref(value), *arguments)
    return value


ENGINE = _forever("engine_create", K.CPU, 0)
STREAM = _forever("stream_create", ENGINE, K.STREAM_IN_ORDER)


def dims(numbers) -> C.Array:
    """Sizes or steps of at most twelve axes."""
    return (C.c_int64 * 12)(*numbers)  # oneDNN's own type has room for twelve


class Descriptor:
    """How a value lies in memory."""

    def __init__(self, handle: Handle):
        self._handle = handle
        self._as_parameter_ = handle._as_parameter_

    @classmethod
    def strided(cls, shape, steps, dtype: int = K.F32) -> Descriptor:
        """Steps in elements."""
        arguments = len(shape), dims(shape), dtype, dims(steps)
        return cls(_made("memory_desc", "memory_desc_create_with_strides", *arguments))

    @classmethod
    def anyhow(cls, shape, dtype: int = K.F32) -> Descriptor:
        """However the operation likes it best."""
        arguments = len(shape), dims(shape), dtype, K.FORMAT_TAG_ANY
        return cls(_made("memory_desc", "memory_desc_create_with_tag", *arguments))

    def owned(self) -> Descriptor:
        """The same for longer than the operation it was asked of."""
        clone = _made("memory_desc", "memory_desc_clone", self)
        clone._kept = None  # the operation, which a clone does not need
        return Descriptor(clone)

    @property
    def nbytes(self) -> int:
        """Of the memory it describes, padding included."""
        return _LIBRARY.dnnl_memory_desc_get_size(self)

    def _numbers(self, query: int, count: int) -> tuple[int, ...]:
        values = C.POINTER(C.c_int64)()
        call("memory_desc_query", self, query, C.byref(values))
        return tuple(values[:count])

    def _number(self, query: int) -> int:
        value = C.c_int32()
        call("memory_desc_query", self, query, C.byref(value))
        return value.value

    @property
    def shape(self) -> tuple[int, ...]:
        return self._numbers(K.QUERY_DIMS, self._number(K.QUERY_NDIMS_S32))

    @property
    def steps(self) -> tuple[int, ...] | None:
        """Steps in elements; None where blocks of elements lie together."""
        blocked = self._number(K.QUERY_INNER_NBLKS_S32)
        return None if blocked else self._numbers(K.QUERY_STRIDES, len(self.shape))

    @property
    def key(self) -> tuple:
        """All that tells it from another of the same data type."""
        rank, blocks = len(self.shape), self._number(K.QUERY_INNER_NBLKS_S32)
        sizes = (K.QUERY_DIMS, K.QUERY_PADDED_DIMS, K.QUERY_STRIDES)
        inner = (K.QUERY_INNER_BLKS, K.QUERY_INNER_IDXS)
        return (
            *(self._numbers(query, rank) for query in sizes),
            *(self._numbers(query, blocks) for query in inner),
            self.nbytes,
        )


def attributes(*post_ops) -> Handle:
    """Scratch memory comes with the operands; and what is done to each result before it is stored.

    Args:
        post_ops: (function, *arguments) of ``dnnl_post_ops_append_<function>``.
    """
    made = _made("primitive_attr", "primitive_attr_create")
    call("primitive_attr_set_scratchpad_mode", made, K.SCRATCHPAD_MODE_USER)
    if post_ops:
        chain = _made("post_ops", "post_ops_create")
        for function, *arguments in post_ops:
            call(f"post_ops_append_{function}", chain, *arguments)
        call("primitive_attr_set_post_ops", made, chain)
    return made


class Operation:
    """One way to compute something: an implementation and the layouts it wants."""

    def __init__(self, name: str, *arguments, rank: int = 0):
        """``dnnl_<name>_primitive_desc_create`` with what follows the engine.

        Args:
            rank: Among the implementations that can, oneDNN's best guess first.

        Raises:
            DnnlError: oneDNN refuses; ``status`` says why.
        """
        self.name, self._primitive = name, None
        self._asked = name, arguments, rank
        if name == "reorder":  # its operands could live on two engines
            source, target, attr = arguments
            arguments = source, ENGINE, target, ENGINE, attr
        else:
            arguments = ENGINE, *arguments
        self._handle = _made("primitive_desc", f"{name}_primitive_desc_create", *arguments)
        self._as_parameter_ = self._handle._as_parameter_
        for _ in range(rank):
            call("primitive_desc_next_impl", self)

    def following(self) -> Operation | None:
        """oneDNN's next best implementation of the same."""
        name, arguments, rank = self._asked
        try:
            return Operation(name, *arguments, rank=rank + 1)
        except DnnlError as error:
            if error.status != "last_impl_reached":
                raise
            return None

    @property
    def implementation(self) -> str:
        """oneDNN's name of it; what stands behind the last colon is the instruction set."""
        name = C.c_char_p()
        call("primitive_desc_query", self, K.QUERY_IMPL_INFO_STR, 0, C.byref(name))
        return name.value.decode()

    def descriptor(self, query: int) -> Descriptor:
        """What it wants, by a QUERY_..._MD."""
        value = _LIBRARY.dnnl_primitive_desc_query_md(self, query, 0)
        return Descriptor(Handle("memory_desc", value, self, borrowed=True))

    @property
    def scratch(self) -> int:
        """Bytes."""
        return self.descriptor(K.QUERY_SCRATCHPAD_MD).nbytes

    @property
    def primitive(self) -> Handle:
        """Its code; made when first asked for, since candidates that lose are never run."""
        if self._primitive is None:
            self._primitive = _made("primitive", "primitive_create", self)
        return self._primitive


class _Argument(C.Structure):
    _fields_ = [("argument", C.c_int), ("memory", C.c_void_p)]


class Launch:
    """An operation and, for each argument, where among the addresses of a plan its operand is.

    Args:
        operands: (argument, descriptor, place among the addresses, offset in bytes).
    """

    def __init__(self, operation: Operation, operands: list[tuple[int, Descriptor, int, int]]):
        self.operation, self.operands = operation, operands
        self._lock, self._shared = Lock(), None

    def _objects(self, addresses):
        memories = []
        for _, descriptor, place, offset in self.operands:
            address = C.c_void_p(addresses[place] + offset)
            memories.append(_made("memory", "memory_create", descriptor, ENGINE, address))
        pairs = zip(self.operands, memories)
        entries = [_Argument(o[0], m._as_parameter_.value) for o, m in pairs]
        return memories, (_Argument * len(entries))(*entries)

    def run(self, *addresses: int) -> None:
        """Runs on operands that may lie elsewhere each time."""
        with self._lock:  # the memory objects are shared, and the call lets other threads run
            if self._shared is None:
                memories, table = self._objects(addresses)
                self._shared = memories, table, self._fixed(table), list(addresses)
            memories, _, fixed, last = self._shared
            if last != (addresses := list(addresses)):
                move = _LIBRARY.dnnl_memory_set_data_handle
                for memory, (_, _, place, offset) in zip(memories, self.operands):
                    changed = last[place] != addresses[place]
                    if changed and (status := move(memory, addresses[place] + offset)):
                        raise DnnlError("dnnl_memory_set_data_handle", status)
                last[:] = addresses
            if status := _EXECUTE(*fixed):
                raise DnnlError("dnnl_primitive_execute", status)

    def bind(self, *addresses: int):
        """A function of no arguments that runs on these operands."""
        memories, table = self._objects(addresses)
        fixed = self._fixed(table)

        def launch(execute=_EXECUTE, kept=(self, memories, table)):
            if status := execute(*fixed):
                raise DnnlError("dnnl_primitive_execute", status)

        return launch

    def _fixed(self, table):
        primitive = self.operation.primitive._as_parameter_
        return primitive, STREAM, len(table), C.c_void_p(C.addressof(table))


_EXECUTE = _LIBRARY.dnnl_primitive_execute
