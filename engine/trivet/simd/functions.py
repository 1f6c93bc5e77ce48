"""Functions of vectors, made of the operators of ``ssa`` alone."""

from __future__ import annotations

from collections.abc import Sequence

from .ssa import Value
from .target import LANES


class Functions:
    """What an Emitter can do beyond single instructions."""

    def maximum(self, x: Value, bound) -> Value:
        """The larger of the two; NaN where x is NaN."""
        return (x < bound).choose(Value(self, x._like(bound)), x)

    def minimum(self, x: Value, bound) -> Value:
        """The smaller of the two; NaN where x is NaN."""
        return (x > bound).choose(Value(self, x._like(bound)), x)

    def larger(self, a: Value, b: Value) -> Value:
        """The larger of the two; NaN where either is NaN."""
        return ((a > b) | a.differs(a)).choose(a, b)

    def smaller(self, a: Value, b: Value) -> Value:
        """The smaller of the two; NaN where either is NaN."""
        return ((a < b) | a.differs(a)).choose(a, b)

    def total(self, x: Value) -> Value:
        """The sum of all lanes, in every lane."""
        return self._folded(x, lambda a, b: a + b)

    def largest(self, x: Value) -> Value:
        """The largest of all lanes, in every lane; NaN if any is."""
        return self._folded(x, self.larger)

    def _folded(self, x, function):
        step = LANES // 2
        while step:
            x = function(x, self.shuffle(x, [(k + step) % LANES for k in range(LANES)]))
            step //= 2
        return x

    def exp(self, x: Value) -> Value:
        """exp within 2 units of the last place; below -87.3 it is 0, above 88.7 inf; NaN stays.

        Source: Cephes' expf: x = n ln 2 + r with a polynomial of degree 6 in r.
        """
        y, n = self._split_exp(self.minimum(self.maximum(x, -87.33654), 88.72283))
        # 2**n in two factors: n reaches 128, which one exponent cannot hold
        half = Value(self, self.builder.ashr(n.ssa, self.integer(1).ssa))
        y = y * self._power_of_two(half) * self._power_of_two(n - half)
        y = (x > 88.72283).choose(self.constant(float("inf")), y)
        return (x < -87.33654).choose(self.constant(0.0), y)

    def _split_exp(self, x: Value) -> tuple[Value, Value]:
        """exp(x) = y * 2**n."""
        n = self.round(x * 1.44269504)
        r = x - n * 0.693359375 + n * 2.12194440e-4  # ln 2 in two parts
        p = r * 1.9875691500e-4 + 1.3981999507e-3
        for c in (8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = p * r + c
        return p * r * r + r + 1.0, n.to_integers()

    def _power_of_two(self, n: Value) -> Value:
        return ((n + 127) << 23).as_floats()

    def _logistic(self, x: Value) -> Value:
        """1 / (1 + exp(-x)), of what is further than 87 from 0 as of 87; NaN stays."""
        y, n = self._split_exp(0.0 - self.minimum(self.maximum(x, -87.0), 87.0))
        return self.reciprocal(y * self._power_of_two(n) + 1.0)

    def log(self, x: Value) -> Value:
        """log within 2 units of the last place; 0 gives -inf, what is below gives NaN.

        Source: Cephes' logf: x = 2**n m with m in [sqrt 1/2, sqrt 2), polynomial in m - 1.
        """
        tiny = x < 1.17549435e-38  # subnormals have no exponent of their own
        held = tiny.choose(x * 8388608.0, x)
        bits = held.as_integers()
        n = (bits >> 23).to_floats() - tiny.choose(self.constant(149.0), 126.0)
        m = ((bits & 0x7FFFFF) | 0x3F000000).as_floats()  # [1/2, 1)
        low = m < 0.707106781186547524
        n = low.choose(n - 1.0, n)
        r = low.choose(m + m, m) - 1.0
        p = r * 7.0376836292e-2 + -1.1514610310e-1
        for c in (1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
                  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1):  # fmt: skip
            p = p * r + c
        square = r * r
        y = p * r * square + n * -2.12194440e-4 - square * 0.5
        y = r + y + n * 0.693359375
        y = (x < float("inf")).choose(y, x)  # inf and NaN are their own logarithms
        y = x.equals(0.0).choose(self.constant(float("-inf")), y)
        return (x < 0.0).choose(self.constant(float("nan")), y)

    def log1p(self, x: Value) -> Value:
        """log(1 + x) for x >= 0, as exact for small x.

        Source: Goldberg, "What every computer scientist should know", 1991, theorem 4.
        """
        u = x + 1.0
        moved = u - 1.0
        return moved.equals(0.0).choose(x, self.log(u) * (x / moved))

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + exp(-x)); 0 below -87, and NaN stays."""
        return (x < -87.0).choose(self.constant(0.0), self._logistic(x))

    def tanh(self, x: Value) -> Value:
        """By exp; near 0, where that would cancel, by its odd polynomial (Cephes' tanhf)."""
        square = x * x
        p = square * -5.70498872745e-3 + 2.06390887954e-2
        for c in (-5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1):
            p = p * square + c
        small = p * square * x + x
        large = 1.0 - self._logistic(x * -2.0) * 2.0
        return (self.absolute(x) < 0.625).choose(small, large)

    def woven(self, a: Value, b: Value) -> list[Value]:
        """a0 b0 a1 b1 ..., in two vectors."""
        both = [k // 2 + LANES * (k % 2) for k in range(2 * LANES)]
        return [self.shuffle(a, both[:LANES], b), self.shuffle(a, both[LANES:], b)]

    def interleaved(self, vectors: Sequence[Value]) -> list[Value]:
        """Lane 0 of each of a few vectors, then lane 1 of each, ..., in as many vectors."""
        count, made = len(vectors), []
        for first in range(0, count * LANES, LANES):
            places = [divmod(first + k, count) for k in range(LANES)]  # (lane, vector)
            held = self.shuffle(vectors[0], [lane for lane, _ in places])
            for v in range(1, count):
                lanes = [k if w != v else LANES + lane for k, (lane, w) in enumerate(places)]
                held = self.shuffle(held, lanes, vectors[v])
            made.append(held)
        return made

    def transposed(self, rows: Sequence[Value]) -> list[Value]:
        """Vector k of the result holds lane k of each of the LANES vectors given."""
        rows, half = list(rows), LANES // 2
        while half:  # weaving the halves of the list log2 LANES times is the transposition
            rows = [v for a, b in zip(rows[: LANES // 2], rows[LANES // 2 :])
                    for v in self.woven(a, b)]  # fmt: skip
            half //= 2
        return rows
