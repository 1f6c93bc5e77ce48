"""Batches of sequences of unequal lengths without padding: step after step, longest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DtypeError, ShapeError
from ..geometry import Packing
from ..tape import Tensor, compute, record
from .op import Sample, op
from .shape import transpose


@dataclass(frozen=True)
class PackedSequence:
    """What ``pack`` makes: the rows of all sequences, and which is whose.

    A function of single rows (an embedding, a dropout) may be applied to ``data``:
    ``PackedSequence(f(packed.data), packed.packing)``.
    """

    data: Tensor  # (rows, ...): all rows of step 0, then those of step 1, ...
    packing: Packing

    def __post_init__(self):
        if self.data.shape[:1] != (self.packing.rows,):
            raise ShapeError(
                f"PackedSequence: expected {self.packing.rows} rows; got data {self.data.shape}.",
                "make it with pack, or keep its rows.",
            )

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Rows of each step."""
        return self.packing.batch_sizes

    @property
    def order(self) -> tuple[int, ...]:
        """Which of the caller's sequences lies at each place of a step."""
        return self.packing.order


def pack_samples(rng):
    x = rng.standard_normal((3, 2, 2))
    yield Sample((x, [3, 4]), error=(ShapeError, "lengths in [1, 3]; got [4]"))
    yield Sample((x, [0, 3]), error=(ShapeError, "lengths in [1, 3]; got [0]"))
    yield Sample((x, [3, 3, 3]), error=(ShapeError, "got 3 for 2"))
    yield Sample((x, 3), error=(ValueError, "a list of integers; got 3"))
    yield Sample((x[0, 0], [3]), error=(ShapeError, "steps and sequences; got (2,)"))


@op(pack_samples)
def pack(x: Tensor, lengths: Sequence[int], *, batch_first: bool = False) -> PackedSequence:
    """A padded batch without its padding.

    Args:
        lengths: Steps of each sequence, on the host, in any order.
        batch_first: x is (N, T, ...).

    Shapes: x (T, N, ...) -> data (sum of lengths, ...).

    Raises:
        ShapeError: Not one length per sequence, or one outside [1, T].

    >>> padded = Tensor([[1.0, 4.0], [2.0, 0.0], [3.0, 0.0]])
    >>> packed = pack(padded, [3, 1])
    >>> packed.data.numpy(), packed.batch_sizes
    (array([1., 4., 2., 3.], dtype=float32), (2, 1, 1))
    """
    if x.ndim < 2:
        raise ShapeError(
            f"pack: expected axes of steps and sequences; got {x.shape}.", "pass (T, N, ...)."
        )
    x = transpose(x, 0, 1) if batch_first else x
    packing = Packing.of("pack", lengths, *x.shape[:2])
    return PackedSequence(pack_rows(x, packing), packing)


def unpack_samples(rng):
    x = rng.standard_normal((3, 2, 2))
    yield Sample((x,), error=(DtypeError, "a PackedSequence; got Tensor"))


@op(unpack_samples)
def unpack(packed: PackedSequence, *, batch_first: bool = False) -> Tensor:
    """The padded batch in the caller's order, with zeros behind each sequence's end.

    Args:
        batch_first: The result is (N, T, ...).

    Shapes: data (rows, ...) -> (T, N, ...), T the steps of the batch that was packed.

    >>> unpack(pack(Tensor([[1.0, 4.0], [2.0, 9.0]]), [2, 1])).numpy()
    array([[1., 4.],
           [2., 0.]], dtype=float32)
    """
    if not isinstance(packed, PackedSequence):
        raise DtypeError(
            f"unpack: expected a PackedSequence; got {type(packed).__name__}.", "pack it first."
        )
    y = unpack_rows(packed.data, packed.packing)
    return transpose(y, 0, 1) if batch_first else y


def pack_rows_samples(rng):
    for lengths, steps in [([2, 4, 1], 4), ([1, 2], 3), ([1], 1)]:
        packing = Packing.of("pack", lengths, steps, len(lengths))
        x = rng.standard_normal((steps, len(lengths), 2))
        yield Sample((x, packing), differentiable=(0,))


@op(pack_rows_samples)
def pack_rows(x: Tensor, packing: Packing) -> Tensor:
    """The rows of a padded batch that belong to a sequence; ``pack`` without its checks.

    Shapes: x (T, N, ...) -> (rows, ...).

    >>> pack_rows(Tensor([[1.0, 4.0], [2.0, 9.0]]), Packing((1, 2), 2)).numpy()
    array([4., 1., 9.], dtype=float32)
    """
    (y,) = compute("pack", x, geometry=packing)
    return record(y, (x,), gradient=lambda gy, needs: (unpack_rows(gy, packing),), name="pack")


def unpack_rows_samples(rng):
    for lengths, steps in [([2, 4, 1], 4), ([1, 2], 3), ([1], 1)]:
        packing = Packing.of("unpack", lengths, steps, len(lengths))
        yield Sample((rng.standard_normal((packing.rows, 2)), packing), differentiable=(0,))


@op(unpack_rows_samples)
def unpack_rows(x: Tensor, packing: Packing) -> Tensor:
    """The padded batch of packed rows; ``unpack`` without its checks.

    Shapes: x (rows, ...) -> (T, N, ...).

    >>> unpack_rows(Tensor([4.0, 1.0, 9.0]), Packing((1, 2), 2)).numpy()
    array([[1., 4.],
           [0., 9.]], dtype=float32)
    """
    (y,) = compute("unpack", x, geometry=packing)
    return record(y, (x,), gradient=lambda gy, needs: (pack_rows(gy, packing),), name="unpack")


def order_rows_samples(rng):
    yield Sample((rng.standard_normal((2, 3, 2)), (2, 0, 1)), differentiable=(0,))
    yield Sample((rng.standard_normal((0, 2)), ()), differentiable=(0,))
    yield Sample((rng.standard_normal((3, 2)), (0, 0, 1)), error=(ShapeError, "got (0, 0, 1)"))


@op(order_rows_samples)
def order_rows(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Rows in another order: row i of the result is row ``order[i]`` of x.

    The order is a constant of the program; for ids in a Tensor see ``take``.

    Shapes: x (..., N, H) -> the same.

    Raises:
        ShapeError: Not each row once.

    >>> order_rows(Tensor([[1.0], [2.0], [3.0]]), (2, 0, 1)).numpy()
    array([[3.],
           [1.],
           [2.]], dtype=float32)
    """
    if x.ndim < 2 or sorted(order) != list(range(x.shape[-2])):
        raise ShapeError(
            f"order_rows: expected each row of {x.shape} once; got {order}.",
            "name every row.",
        )
    (y,) = compute("order_rows", x, geometry=tuple(order))
    back = tuple(np.argsort(order).tolist())
    return record(y, (x,), gradient=lambda gy, needs: (order_rows(gy, back),), name="order_rows")
