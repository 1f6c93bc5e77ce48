"""Values inside a block: SSA values of LLVM with Python's operators, and what makes them.

A block is Python that runs once, while a kernel is compiled. Its loops unroll, its lists are
registers; each operation on a Value adds one instruction to the code being emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import llvmlite.ir as ir

from .target import LANES

I1, I32, I64, F32 = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
POINTER = ir.PointerType()
VECTOR, INTEGERS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
# Products may be joined with sums (one rounding instead of two), and the sign of zero is free;
# order is kept, and NaN and inf are what they are.
FREEDOM = ("contract", "nsz")


class Value:
    """A vector of float32 or int32, a mask, or an int64 (address, count); as LLVM's SSA value."""

    __slots__ = ("emit", "ssa")

    def __init__(self, emit: Emitter, ssa):
        self.emit, self.ssa = emit, ssa

    @property
    def is_float(self) -> bool:
        kind = self.ssa.type
        return isinstance(getattr(kind, "element", kind), ir.FloatType)

    def _like(self, other):
        """The SSA value of another operand; a Python number in every lane."""
        if isinstance(other, Value):
            return other.ssa
        kind = self.ssa.type
        lanes = isinstance(kind, ir.VectorType)
        return ir.Constant(kind, [other] * kind.count if lanes else other)

    def _two(self, other, floats: str, integers: str, swapped: bool = False) -> Value:
        a, b = self.ssa, self._like(other)
        a, b = (b, a) if swapped else (a, b)
        builder = self.emit.builder
        if self.is_float:
            return Value(self.emit, getattr(builder, floats)(a, b, flags=FREEDOM))
        return Value(self.emit, getattr(builder, integers)(a, b))

    def __add__(self, other):
        return self._two(other, "fadd", "add")

    __radd__ = __add__

    def __sub__(self, other):
        return self._two(other, "fsub", "sub")

    def __rsub__(self, other):
        return self._two(other, "fsub", "sub", swapped=True)

    def __mul__(self, other):
        return self._two(other, "fmul", "mul")

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._two(other, "fdiv", "sdiv")

    def __rtruediv__(self, other):
        return self._two(other, "fdiv", "sdiv", swapped=True)

    def __and__(self, other):
        return Value(self.emit, self.emit.builder.and_(self.ssa, self._like(other)))

    def __or__(self, other):
        return Value(self.emit, self.emit.builder.or_(self.ssa, self._like(other)))

    def __xor__(self, other):
        return Value(self.emit, self.emit.builder.xor(self.ssa, self._like(other)))

    def __lshift__(self, other):
        return Value(self.emit, self.emit.builder.shl(self.ssa, self._like(other)))

    def __rshift__(self, other):
        """Bits move down, zeros follow."""
        return Value(self.emit, self.emit.builder.lshr(self.ssa, self._like(other)))

    def _compare(self, sign, other):
        builder = self.emit.builder
        if self.is_float:  # a comparison with NaN is false, but for !=
            compare = builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered
        else:
            compare = builder.icmp_signed
        return Value(self.emit, compare(sign, self.ssa, self._like(other)))

    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __ge__(self, other):
        return self._compare(">=", other)

    def equals(self, other) -> Value:
        return self._compare("==", other)

    def differs(self, other) -> Value:
        """Also true where either is NaN."""
        return self._compare("!=", other)

    def choose(self, yes: Value, no) -> Value:
        """Where this mask (or condition) is true ``yes``, elsewhere ``no``."""
        return Value(self.emit, self.emit.builder.select(self.ssa, yes.ssa, yes._like(no)))

    def as_floats(self) -> Value:
        """The same bits as float32."""
        return Value(self.emit, self.emit.builder.bitcast(self.ssa, VECTOR))

    def as_integers(self) -> Value:
        """The same bits as int32."""
        return Value(self.emit, self.emit.builder.bitcast(self.ssa, INTEGERS))

    def to_floats(self) -> Value:
        """int32 converted to float32."""
        return Value(self.emit, self.emit.builder.sitofp(self.ssa, VECTOR))

    def to_integers(self) -> Value:
        """float32 cut to int32."""
        return Value(self.emit, self.emit.builder.fptosi(self.ssa, INTEGERS))


class Emitter:
    """Makes values: loads, stores, constants, functions of vectors, loops. Addresses are bytes."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    # ---- memory

    def load(self, address: Value, mask: Value | None = None, kind=VECTOR) -> Value:
        """LANES float32 from an address; lanes outside the mask are 0 and not read."""
        pointer = self._pointer(address)
        if mask is None:
            return Value(self, self.builder.load(pointer, align=4, typ=kind))
        element = "f32" if kind is VECTOR else "i32"
        name = f"llvm.masked.load.v{LANES}{element}.p0"
        function = self._function(name, kind, POINTER, I32, mask.ssa.type, kind)
        nothing = ir.Constant(kind, [0] * LANES)
        operands = [pointer, ir.Constant(I32, 4), mask.ssa, nothing]
        return Value(self, self.builder.call(function, operands))

    def store(self, address: Value, value: Value, mask: Value | None = None) -> None:
        """LANES float32 (or int32) to an address; lanes outside the mask stay as they are."""
        pointer = self._pointer(address)
        if mask is None:
            self.builder.store(value.ssa, pointer, align=4)
            return
        kind = value.ssa.type
        element = "f32" if value.is_float else "i32"
        name = f"llvm.masked.store.v{LANES}{element}.p0"
        function = self._function(name, ir.VoidType(), kind, POINTER, I32, mask.ssa.type)
        self.builder.call(function, [value.ssa, pointer, ir.Constant(I32, 4), mask.ssa])

    def broadcast(self, address: Value) -> Value:
        """The float32 at an address, in every lane."""
        return self._splat(self.builder.load(self._pointer(address), align=4, typ=F32))

    def load_integers(self, address: Value, mask: Value | None = None) -> Value:
        """LANES int32."""
        return self.load(address, mask, INTEGERS)

    def store_one(self, address: Value, value: Value) -> None:
        """Lane 0 to an address."""
        lane = self.builder.extract_element(value.ssa, ir.Constant(I32, 0))
        self.builder.store(lane, self._pointer(address), align=4)

    # ---- making vectors

    def constant(self, number: float) -> Value:
        """One float32 in every lane."""
        return Value(self, ir.Constant(VECTOR, [float(number)] * LANES))

    def integer(self, number: int) -> Value:
        """One int32 (given as 32 unsigned bits) in every lane."""
        return Value(self, ir.Constant(INTEGERS, [number] * LANES))

    def spread(self, count: Value) -> Value:
        """The low 32 bits of an int64, in every lane."""
        return self._splat(self.builder.trunc(count.ssa, I32))

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

    def shuffle(self, value: Value, lanes: Sequence[int]) -> Value:
        """The lanes of a vector in another order."""
        order = ir.Constant(INTEGERS, list(lanes))
        return Value(self, self.builder.shuffle_vector(value.ssa, value.ssa, order))

    # ---- functions

    def maximum(self, x: Value, bound) -> Value:
        """The larger of the two; NaN where x is NaN."""
        return (x < bound).choose(Value(self, x._like(bound)), x)

    def minimum(self, x: Value, bound) -> Value:
        """The smaller of the two; NaN where x is NaN."""
        return (x > bound).choose(Value(self, x._like(bound)), x)

    def sqrt(self, x: Value) -> Value:
        return self._intrinsic("sqrt", x)

    def absolute(self, x: Value) -> Value:
        return self._intrinsic("fabs", x)

    def round(self, x: Value) -> Value:
        """To the nearest whole number, halves to the even one."""
        return self._intrinsic("rint", x)

    def high_product(self, a: Value, b: int) -> Value:
        """The upper 32 bits of the 64-bit product of unsigned int32 lanes and a constant."""
        wide = ir.VectorType(I64, LANES)
        builder = self.builder
        product = builder.mul(builder.zext(a.ssa, wide), ir.Constant(wide, [b] * LANES))
        shifted = builder.lshr(product, ir.Constant(wide, [32] * LANES))
        return Value(self, builder.trunc(shifted, INTEGERS))

    def exp(self, x: Value) -> Value:
        """exp within 2 units of the last place; below -87.3 it is 0, above 88.7 inf; NaN stays.

        Source: Cephes' expf: x = n ln 2 + r with a polynomial of degree 6 in r.
        """
        held = self.minimum(self.maximum(x, -87.33654), 88.72283)
        n = self.round(held * 1.44269504)
        r = held - n * 0.693359375 + n * 2.12194440e-4  # ln 2 in two parts
        p = r * 1.9875691500e-4 + 1.3981999507e-3
        for c in (8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = p * r + c
        y = p * r * r + r + 1.0
        # 2**n in two factors: n reaches 128, which one exponent cannot hold
        half = Value(self, self.builder.ashr(n.to_integers().ssa, self.integer(1).ssa))
        rest = n.to_integers() - half
        y = y * ((half + 127) << 23).as_floats() * ((rest + 127) << 23).as_floats()
        y = (x > 88.72283).choose(self.constant(float("inf")), y)
        return (x < -87.33654).choose(self.constant(0.0), y)

    def sigmoid(self, x: Value) -> Value:
        return 1.0 / (self.exp(0.0 - x) + 1.0)

    def tanh(self, x: Value) -> Value:
        """By exp; near 0, where that would cancel, by its odd polynomial (Cephes' tanhf)."""
        square = x * x
        p = square * -5.70498872745e-3 + 2.06390887954e-2
        for c in (-5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1):
            p = p * square + c
        small = p * square * x + x
        large = 1.0 - 2.0 / (self.exp(x * 2.0) + 1.0)
        return (self.absolute(x) < 0.625).choose(small, large)

    # ---- control

    def loop(
        self, count: Value, start: Sequence[Value], body: Callable[..., list[Value]]
    ) -> list[Value]:
        """``for _ in range(count): start = body(*start)``, count >= 1; the final values."""
        builder = self.builder
        before = builder.block
        head = builder.append_basic_block("loop")
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(I64)
        k.add_incoming(ir.Constant(I64, 0), before)
        carried = [builder.phi(value.ssa.type) for value in start]
        for phi, value in zip(carried, start):
            phi.add_incoming(value.ssa, before)
        results = body(*(Value(self, phi) for phi in carried))
        after, last = builder.add(k, ir.Constant(I64, 1)), builder.block
        k.add_incoming(after, last)
        for phi, value in zip(carried, results, strict=True):
            phi.add_incoming(value.ssa, last)
        end = builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed("<", after, count.ssa), head, end)
        builder.position_at_end(end)
        return results

    # ---- inside

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
        function = self._function(f"llvm.{name}.v{LANES}f32", kind, kind)
        return Value(self, self.builder.call(function, [x.ssa]))
