"""What a block computes with: values of LLVM that have Python's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import llvmlite.ir as ir

from .target import LANES

if TYPE_CHECKING:
    from .values import Emitter

I32, I64 = ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()
VECTOR, INTEGERS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
DOUBLES, WIDE = ir.VectorType(F64, LANES), ir.VectorType(I64, LANES)
POINTERS = ir.VectorType(POINTER, LANES)
# Products may be joined with sums (one rounding instead of two), and the sign of zero is free;
# order is kept, and NaN and inf are what they are.
FREEDOM = ("contract", "nsz")


class Value:
    """A vector (float32, float64, int32), a mask, an int64 or a float32; as LLVM's SSA value."""

    __slots__ = ("emit", "ssa")

    def __init__(self, emit: Emitter, ssa):
        self.emit, self.ssa = emit, ssa

    @property
    def is_float(self) -> bool:
        kind = self.ssa.type
        return isinstance(getattr(kind, "element", kind), ir.FloatType | ir.DoubleType)

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
        """False where either is NaN."""
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

    def widened(self) -> Value:
        """float32 as float64, unsigned int32 as int64: twice the registers."""
        builder = self.emit.builder
        if self.is_float:
            return Value(self.emit, builder.fpext(self.ssa, DOUBLES))
        return Value(self.emit, builder.zext(self.ssa, WIDE))

    def narrowed(self) -> Value:
        """float64 rounded to float32; the low 32 bits of int64."""
        builder = self.emit.builder
        if self.is_float:
            return Value(self.emit, builder.fptrunc(self.ssa, VECTOR))
        return Value(self.emit, builder.trunc(self.ssa, INTEGERS))
