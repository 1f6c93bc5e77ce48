"""What a block makes values with: loads, stores, constants, loops.

A block is Python that runs once, while a kernel is compiled. Its loops unroll, its lists are
registers; each operation on a Value adds one instruction to the code being emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llvmlite.ir as ir

from .functions import Functions
from .ssa import (
    DOUBLES,
    F32,
    F64,
    I32,
    I64,
    INTEGERS,
    POINTER,
    POINTERS,
    VECTOR,
    WIDE,
    Value,
)
from .target import ESTIMATES, LANES


class Emitter(Functions):
    """Makes values: loads, stores, constants, functions of vectors, loops. Addresses are bytes."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    # ---- memory

    def load(self, address: Value, mask: Value | None = None) -> Value:
        """LANES float32 from an address; lanes outside the mask are 0 and not read."""
        pointer = self._pointer(address)
        if mask is None:
            return Value(self, self.builder.load(pointer, align=4, typ=VECTOR))
        name = f"llvm.masked.load.v{LANES}f32.p0"
        function = self._function(name, VECTOR, POINTER, I32, mask.ssa.type, VECTOR)
        operands = [pointer, ir.Constant(I32, 4), mask.ssa, self.zeros().ssa]
        return Value(self, self.builder.call(function, operands))

    def store(self, address: Value, value: Value, mask: Value | None = None) -> None:
        """A vector to an address; lanes outside the mask stay as they are, none of float64."""
        pointer = self._pointer(address)
        if mask is None:
            self.builder.store(value.ssa, pointer, align=4)
            return
        kind = value.ssa.type
        element = "f32" if value.is_float else "i32"
        name = f"llvm.masked.store.v{LANES}{element}.p0"
        function = self._function(name, ir.VoidType(), kind, POINTER, I32, mask.ssa.type)
        self.builder.call(function, [value.ssa, pointer, ir.Constant(I32, 4), mask.ssa])

    def load_doubles(self, address: Value) -> Value:
        """LANES float64 from an address."""
        return Value(self, self.builder.load(self._pointer(address), align=8, typ=DOUBLES))

    def broadcast(self, address: Value) -> Value:
        """The float32 at an address, in every lane."""
        return self._splat(self.builder.load(self._pointer(address), align=4, typ=F32))

    def broadcast_double(self, address: Value) -> Value:
        """The float64 at an address, in every lane."""
        return self._splat(self.builder.load(self._pointer(address), align=8, typ=F64))

    def entry(self, table: Value, place: int) -> Value:
        """Number ``place`` of a kernel's table: an address or a count."""
        return Value(self, self.builder.load(self._pointer(table + 8 * place), typ=I64))

    def gather(self, address: Value, step: Value, mask: Value) -> Value:
        """LANES float32, ``step`` bytes from one to the next; lanes outside the mask are 0."""
        function = self._function(
            f"llvm.masked.gather.v{LANES}f32.v{LANES}p0",
            VECTOR, POINTERS, I32, mask.ssa.type, VECTOR,
        )  # fmt: skip
        operands = [self._places(address, step), I32(4), mask.ssa, self.zeros().ssa]
        return Value(self, self.builder.call(function, operands))

    def scatter(self, address: Value, step: Value, value: Value, mask: Value) -> None:
        """LANES float32, ``step`` bytes from one to the next; nothing outside the mask."""
        function = self._function(
            f"llvm.masked.scatter.v{LANES}f32.v{LANES}p0",
            ir.VoidType(), VECTOR, POINTERS, I32, mask.ssa.type,
        )  # fmt: skip
        places = self._places(address, step)
        self.builder.call(function, [value.ssa, places, I32(4), mask.ssa])

    def load_bits(self, address: Value) -> tuple[Value, Value]:
        """The two masks that ``store_bits`` put there."""
        kind = ir.IntType(2 * LANES)
        bits = self.builder.load(self._pointer(address), align=1, typ=kind)
        both = self.builder.bitcast(bits, ir.VectorType(ir.IntType(1), 2 * LANES))
        halves = range(LANES), range(LANES, 2 * LANES)
        orders = (ir.Constant(INTEGERS, list(half)) for half in halves)
        a, b = (Value(self, self.builder.shuffle_vector(both, both, order)) for order in orders)
        return a, b

    def store_bits(self, address: Value, a: Value, b: Value) -> None:
        """Two masks as 2 * LANES bits: with four lanes one alone would be half a byte."""
        order = ir.Constant(ir.VectorType(I32, 2 * LANES), list(range(2 * LANES)))
        both = self.builder.shuffle_vector(a.ssa, b.ssa, order)
        bits = self.builder.bitcast(both, ir.IntType(2 * LANES))
        self.builder.store(bits, self._pointer(address), align=1)

    def store_one(self, address: Value, value: Value) -> None:
        """Lane 0 to an address."""
        lane = self.builder.extract_element(value.ssa, ir.Constant(I32, 0))
        self.builder.store(lane, self._pointer(address), align=4)

    def store_integer(self, address: Value, scalar: Value) -> None:
        """An int64 to an address."""
        self.builder.store(scalar.ssa, self._pointer(address))

    # ---- making vectors

    def constant(self, number: float) -> Value:
        """One float32 in every lane."""
        return Value(self, ir.Constant(VECTOR, [float(number)] * LANES))

    def number(self, number: int) -> Value:
        """An int64."""
        return Value(self, ir.Constant(I64, number))

    def integer(self, number: int) -> Value:
        """One int32 (given as 32 unsigned bits) in every lane."""
        return Value(self, ir.Constant(INTEGERS, [number] * LANES))

    def spread(self, scalar: Value) -> Value:
        """A float32, or the low 32 bits of an int64, in every lane."""
        whole = scalar.ssa.type == I64
        return self._splat(self.builder.trunc(scalar.ssa, I32) if whole else scalar.ssa)

    def spread_bits(self, bits: Value) -> Value:
        """The float32 whose bits are the low ones of an int64 (``float_bits``), in every lane."""
        return Value(self, self.builder.bitcast(self.spread(bits).ssa, VECTOR))

    def spread_double(self, bits: Value) -> Value:
        """The float64 of these bits (``double_bits``), in every lane."""
        return self._splat(self.builder.bitcast(bits.ssa, F64))

    def zeros(self, kind=VECTOR) -> Value:
        """0 in every lane; ``kind=DOUBLES`` to sum in float64."""
        return Value(self, ir.Constant(kind, [0] * LANES))

    def count_from(self, start: Value) -> Value:
        """int32 lanes start, start + 1, ..."""
        return Value(self, ir.Constant(INTEGERS, list(range(LANES)))) + self.spread(start)

    def first(self, count: Value) -> Value:
        """The mask of the first ``count`` lanes; all if there are fewer lanes."""
        few = (count < LANES).choose(count, LANES)
        few = (few > 0).choose(few, 0)
        return Value(self, ir.Constant(INTEGERS, list(range(LANES)))) < self.spread(few)

    def only_if(self, condition: Value, mask: Value) -> Value:
        """The mask if the condition (of int64) holds, else no lane."""
        none = ir.Constant(mask.ssa.type, [0] * LANES)
        return Value(self, self.builder.select(condition.ssa, mask.ssa, none))

    def shuffle(self, value: Value, lanes: Sequence[int], other: Value | None = None) -> Value:
        """The lanes of a vector in another order; lane LANES + k is lane k of the other one."""
        order = ir.Constant(INTEGERS, list(lanes))
        other = value if other is None else other
        return Value(self, self.builder.shuffle_vector(value.ssa, other.ssa, order))

    # ---- functions

    def sqrt(self, x: Value) -> Value:
        """The square root, rounded as IEEE 754 says; NaN below 0."""
        return self._intrinsic("sqrt", x)

    def reciprocal(self, x: Value) -> Value:
        """1 / x within 2 units of the last place, for x whose size is in [1e-37, 1e37].

        Where the machine estimates it (AVX-512: 14 bits), by a step of Newton's method, which takes
        a third of a division's time.
        """
        if not ESTIMATES:
            return 1.0 / x
        kind = x.ssa.type
        function = self._function("llvm.x86.avx512.rcp14.ps.512", kind, kind, kind, ir.IntType(16))
        given = [x.ssa, x.ssa, ir.Constant(ir.IntType(16), 0xFFFF)]
        guess = Value(self, self.builder.call(function, given))
        return (1.0 - x * guess) * guess + guess

    def absolute(self, x: Value) -> Value:
        """Without the sign; NaN stays."""
        return self._intrinsic("fabs", x)

    def round(self, x: Value) -> Value:
        """To the nearest whole number, halves to the even one."""
        return self._intrinsic("rint", x)

    # ---- control

    def loop(
        self, count: Value, start: Sequence[Value], body: Callable[..., list[Value]]
    ) -> list[Value]:
        """``for _ in range(count): start = body(*start)``, count >= 1; the final values."""
        builder = self.builder
        head, turn, carried = self._entered("loop", start)
        results = body(*(Value(self, phi) for phi in carried))
        following = self._handed_on(turn, carried, results)
        end = builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", following, count.ssa), head, end)
        builder.position_at_end(end)
        return results

    def repeat(
        self, count: Value, start: Sequence[Value], body: Callable[..., list[Value]]
    ) -> list[Value]:
        """As ``loop``, but count may be 0."""
        builder = self.builder
        head, turn, carried = self._entered("repeat", start)
        inside, end = builder.append_basic_block("body"), builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", turn, count.ssa), inside, end)
        builder.position_at_end(inside)
        self._handed_on(turn, carried, body(*(Value(self, phi) for phi in carried)))
        builder.branch(head)
        builder.position_at_end(end)
        return [Value(self, phi) for phi in carried]

    def sweep(
        self, count: Value, start: Sequence[Value], body: Callable[..., list[Value]]
    ) -> list[Value]:
        """For each vector of ``count`` elements ``start = body(bytes from the first, *start)``.

        The body has a further argument, ``mask=``: None, but for the last, incomplete vector.
        """
        whole = count / LANES
        rest = count - whole * LANES

        def complete(at, *state):
            return [at + 4 * LANES, *body(at, *state, mask=None)]

        def incomplete(at, *state):
            return [at, *body(at, *state, mask=self.first(rest))]

        state = self.repeat(whole, [self.number(0), *start], complete)
        return self.repeat((rest + LANES - 1) / LANES, state, incomplete)[1:]

    def when(self, condition: Value, body: Callable[[], None]) -> None:
        """``if condition: body()``, of a condition on int64."""
        builder = self.builder
        yes, end = builder.append_basic_block("when"), builder.append_basic_block("end")
        builder.cbranch(condition.ssa, yes, end)
        builder.position_at_end(yes)
        body()
        builder.branch(end)
        builder.position_at_end(end)

    # ---- inside

    def _entered(self, name: str, start: Sequence[Value]):
        """Begins a loop: its first block, the number of the turn, what one turn hands the next."""
        builder, before = self.builder, self.builder.block
        head = builder.append_basic_block(name)
        builder.branch(head)
        builder.position_at_end(head)
        turn = builder.phi(I64)
        turn.add_incoming(ir.Constant(I64, 0), before)
        carried = [builder.phi(value.ssa.type) for value in start]
        for phi, value in zip(carried, start):
            phi.add_incoming(value.ssa, before)
        return head, turn, carried

    def _handed_on(self, turn, carried, results: Sequence[Value]):
        """Ends a turn in the current block; the number of the next one."""
        builder, last = self.builder, self.builder.block
        following = builder.add(turn, ir.Constant(I64, 1))
        turn.add_incoming(following, last)
        for phi, value in zip(carried, results, strict=True):
            phi.add_incoming(value.ssa, last)
        return following

    def _places(self, address: Value, step: Value):
        """The addresses of LANES elements."""
        counts = Value(self, ir.Constant(WIDE, list(range(LANES))))
        addresses = self._splat(address.ssa) + counts * self._splat(step.ssa)
        return self.builder.inttoptr(addresses.ssa, POINTERS)

    def _pointer(self, address: Value):
        return self.builder.inttoptr(address.ssa, POINTER)

    def _splat(self, scalar) -> Value:
        zero = ir.Constant(I32, 0)
        kind = ir.VectorType(scalar.type, LANES)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, zero)
        lanes = ir.Constant(INTEGERS, [0] * LANES)
        return Value(self, self.builder.shuffle_vector(one, one, lanes))

    def _function(self, name, result, *operands):
        known = self.builder.module.globals.get(name)
        kind = ir.FunctionType(result, operands)
        return known or ir.Function(self.builder.module, kind, name)

    def _intrinsic(self, name, x: Value) -> Value:
        kind = x.ssa.type
        element = "f64" if kind == DOUBLES else "f32"
        function = self._function(f"llvm.{name}.v{LANES}{element}", kind, kind)
        return Value(self, self.builder.call(function, [x.ssa]))
