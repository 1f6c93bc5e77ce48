"""Ops that only look at values differently, or move them. What can be a view is one."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ShapeError
from ..geometry import broadcast
from ..launch import reorder, view
from ..spec import PLAIN, Spec, Strided, row_major
from ..tape import Tensor, compute, record
from . import checks
from .op import Sample, op


def _look(x: Tensor, shape, steps, start: int = 0) -> Tensor:
    """A view of x's memory: steps and start in elements of it."""
    natural = row_major(tuple(shape))
    plain = 0 in shape or all(n == 1 or s == r for n, s, r in zip(shape, steps, natural))
    spec = Spec(tuple(shape), x.dtype, PLAIN if plain else Strided(steps=tuple(steps)))
    start = 0 if 0 in shape else start * np.dtype(x.dtype).itemsize
    return Tensor(view(x.buffer, spec, x.buffer.offset + start))


def _viewable(x: Tensor) -> Tensor:
    """x, or a plain copy of a layout that only a backend can read."""
    return x if x.buffer.spec.steps is not None else Tensor(reorder(x.buffer, PLAIN))


def reshape_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for shape in [(6, 4), (24,), (2, 1, -1), (2, 3, 4)]:
        yield Sample((x, shape), differentiable=(0,))
    yield Sample((rng.standard_normal((0, 3)), (3, 0)), differentiable=(0,))
    yield Sample((x, (5, 5)), error=(ShapeError, "24 elements; got a shape (5, 5)"))
    yield Sample((x, (-1, -1)), error=(ShapeError, "at most one -1"))


@op(reshape_samples)
def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in row-major order under another shape; a view where x is plain.

    Shapes: x (any) -> shape; one -1 stands for whatever is left.

    Raises:
        ShapeError: The numbers of elements differ.

    >>> reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), (4,)).numpy()
    array([1., 2., 3., 4.], dtype=float32)
    """
    shape = tuple(shape)
    if shape.count(-1) == 1:
        known = -math.prod(shape)
        rest = x.size // known if known else 0
        shape = tuple(rest if n == -1 else n for n in shape)
    if min(shape, default=0) < 0 or math.prod(shape) != x.size:
        raise ShapeError(
            f"reshape: expected {x.size} elements; got a shape {shape} (at most one -1).",
            "choose sizes whose product is the number of elements.",
        )
    plain = x if x.buffer.spec.layout == PLAIN else Tensor(reorder(x.buffer, PLAIN))
    y, old = _look(plain, shape, row_major(shape)), x.shape
    return record(y, (x,), gradient=lambda gy, needs: (reshape(gy, old),), name="reshape")


def flatten_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    yield Sample((x,), differentiable=(0,))
    yield Sample((x,), dict(start=0), differentiable=(0,))


@op(flatten_samples)
def flatten(x: Tensor, *, start: int = 1) -> Tensor:
    """Merges the axes from ``start`` on.

    Shapes: x (N, ...) -> (N, M).

    >>> flatten(Tensor([[[1.0, 2.0], [3.0, 4.0]]])).numpy()
    array([[1., 2., 3., 4.]], dtype=float32)
    """
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))


def permute_samples(rng):
    x = rng.standard_normal((2, 3, 4))
    for axes in [(0, 1, 2), (2, 0, 1), (0, 2, -2)]:
        yield Sample((x, axes), differentiable=(0,))
    yield Sample((x, (0, 1)), error=(ShapeError, "each of 3 axes once; got (0, 1)"))


@op(permute_samples)
def permute(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order: axis i of the result is axis ``axes[i]`` of x. A view.

    Shapes: x (any) -> its sizes in that order.

    Raises:
        ShapeError: Not each axis once.

    >>> permute(Tensor([[1.0, 2.0]]), (1, 0)).shape
    (2, 1)
    """
    order = tuple(checks.axis("permute", a, x.ndim) for a in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(
            f"permute: expected each of {x.ndim} axes once; got {axes}.", "name every axis."
        )
    base = _viewable(x)
    steps = base.buffer.spec.steps
    y = _look(base, [x.shape[a] for a in order], [steps[a] for a in order])
    back = tuple(int(i) for i in np.argsort(order))
    return record(y, (x,), gradient=lambda gy, needs: (permute(gy, back),), name="permute")


def transpose_samples(rng):
    yield Sample((rng.standard_normal((2, 3, 4)), 0, 2), differentiable=(0,))
    yield Sample((rng.standard_normal((2, 3)),), differentiable=(0,))
    yield Sample((rng.standard_normal(3),), error=(ShapeError, "expected an axis in [-1, 1)"))


@op(transpose_samples)
def transpose(x: Tensor, a: int = -2, b: int = -1) -> Tensor:
    """Swaps two axes, the last two unless told. A view.

    Shapes: x (..., N, M) -> (..., M, N).

    >>> transpose(Tensor([[1.0, 2.0]])).shape
    (2, 1)
    """
    order = list(range(x.ndim))
    a, b = (checks.axis("transpose", axis, x.ndim) for axis in (a, b))
    order[a], order[b] = order[b], order[a]
    return permute(x, tuple(order))


def index_samples(rng):
    x = rng.standard_normal((4, 5, 3))
    for index in [1, -1, slice(1, 3), (slice(None), 2), (..., slice(None, None, 2))]:
        yield Sample((x, index), differentiable=(0,))
    yield Sample((x, (slice(None, None, -2), None, slice(4, 1, -1))), differentiable=(0,))
    yield Sample((x, slice(2, 2)), differentiable=(0,))
    yield Sample((x, 4), error=(ShapeError, "axis 0 of 4 elements; got 4"))
    yield Sample((x, (0, 0, 0, 0)), error=(ShapeError, "at most 3"))
    yield Sample((x, "a"), error=(ShapeError, "integers, slices, None and ...; got 'a'"))


@op(index_samples)
def index(x: Tensor, index) -> Tensor:
    """Basic indexing, ``x[index]``: integers, slices, None and ``...``. A view.

    Its gradient writes gy into zeros. For tensors of ids see ``take``.

    Shapes: as in NumPy.

    Raises:
        ShapeError: An index outside its axis, or too many of them.

    >>> Tensor([[1.0, 2.0], [3.0, 4.0]])[:, 1].numpy()
    array([2., 4.], dtype=float32)
    """
    base = _viewable(x)
    items = _full_index(index, x.ndim)
    steps, axis, start, shape, out_steps = base.buffer.spec.steps, 0, 0, [], []
    for item in items:
        if item is None:
            shape.append(1)
            out_steps.append(0)
            continue
        size, step = x.shape[axis], steps[axis]
        if isinstance(item, slice):
            first, last, by = _bounds(item, size)
            count = len(range(first, last, by))
            shape.append(count)
            out_steps.append(step * by)
            start += first * step if count else 0
        else:
            if not -size <= item < size:
                raise ShapeError(
                    f"index: expected an index inside axis {axis} of {size} elements; got {item}.",
                    f"stay within [{-size}, {size}).",
                )
            start += (item % size) * step
        axis += 1
    y, old = _look(base, shape, out_steps, start), x.shape
    return record(y, (x,), gradient=lambda gy, needs: (_unslice(gy, old, items),), name="index")


def _bounds(item: slice, size: int) -> tuple[int, int, int]:
    try:
        return item.indices(size)
    except (TypeError, ValueError) as why:
        raise ShapeError(
            f"index: expected a slice of integers; got {item}: {why}.",
            "use integers, and a step other than 0.",
        ) from why


def _full_index(index, ndim):
    """The index with ``...`` written out, one item per axis of x and per None; hashable."""
    items = list(index) if isinstance(index, tuple) else [index]
    for item in items:
        known = item is None or item is ... or isinstance(item, int | np.integer | slice)
        if not known or isinstance(item, bool):
            raise ShapeError(
                f"index: expected integers, slices, None and ...; got {item!r}.",
                "for ids in a Tensor use ops.take.",
            )
    given = sum(item is not None and item is not ... for item in items)
    if given > ndim:
        raise ShapeError(f"index: expected at most {ndim} indices; got {given}.", "drop some.")
    if len(items) - given - sum(item is None for item in items) > 1:
        raise ShapeError("index: expected at most one ...; got several.", "write out the others.")
    at = next((i for i, item in enumerate(items) if item is ...), len(items))
    items[at : at + 1] = [slice(None)] * (ndim - given)
    return tuple(item if item is None or isinstance(item, slice) else int(item) for item in items)


def _unslice(gy: Tensor, shape, items) -> Tensor:
    """Zeros with gy in the place that ``items`` names."""
    triples = tuple(
        (item.start, item.stop, item.step) if isinstance(item, slice) else item for item in items
    )  # Python 3.11 cannot hash a slice
    (gx,) = compute("unslice", gy, geometry=(shape, triples))
    return record(gx, (gy,), gradient=lambda v, needs: (index(v, items),), name="unslice")


def broadcast_samples(rng):
    for shape in [(3, 4), (2, 3, 4), (1, 3, 4)]:
        yield Sample((rng.standard_normal((3, 1)), shape), differentiable=(0,))
    yield Sample((rng.standard_normal(()), (0, 2)), differentiable=(0,))
    yield Sample((rng.standard_normal((3, 2)), (3, 4)), error=(ShapeError, "got (3, 2) and (3, 4)"))


@op(broadcast_samples)
def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x repeated along axes of size 1, as NumPy does it. A view, nothing is copied.

    Shapes: x (any) -> shape.

    Raises:
        ShapeError: x does not broadcast to the shape.

    >>> broadcast_to(Tensor([1.0, 2.0]), (2, 2)).numpy()
    array([[1., 2.],
           [1., 2.]], dtype=float32)
    """
    shape, old = tuple(shape), x.shape
    if broadcast("broadcast_to", old, shape) != shape:
        raise ShapeError(f"broadcast_to: expected {shape} to be the larger; got {old}.", "swap.")
    if shape == old:
        return x
    base, new = _viewable(x), len(shape) - x.ndim
    steps = [0 if n == 1 else s for n, s in zip(old, base.buffer.spec.steps)]
    y = _look(base, shape, [0] * new + steps)
    return record(y, (x,), gradient=lambda gy, needs: (sum_to(gy, old),), name="broadcast_to")


def sum_to_samples(rng):
    for shape in [(), (4,), (3, 1), (2, 1, 4), (2, 3, 4)]:
        yield Sample((rng.standard_normal((2, 3, 4)), shape), differentiable=(0,))


@op(sum_to_samples)
def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums over the axes along which ``shape`` would be broadcast to reach x.

    Shapes: x (any) -> shape, which broadcasts to x's.

    >>> sum_to(Tensor([[1.0, 2.0], [3.0, 4.0]]), (2, 1)).numpy()
    array([[3.],
           [7.]], dtype=float32)
    """
    if x.shape == shape:
        return x
    (y,) = compute("sum_to", x, geometry=tuple(shape))
    old = x.shape
    return record(y, (x,), gradient=lambda gy, needs: (broadcast_to(gy, old),), name="sum_to")


def unsqueeze_samples(rng):
    for axis in (0, 1, -1):
        yield Sample((rng.standard_normal((2, 3)), axis), differentiable=(0,))


@op(unsqueeze_samples)
def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """Puts an axis of size 1 in front of the given one. A view.

    Shapes: x (...) -> (..., 1, ...).

    >>> unsqueeze(Tensor([1.0, 2.0]), 1).shape
    (2, 1)
    """
    axis = checks.axis("unsqueeze", axis, x.ndim + 1)
    return index(x, (slice(None),) * axis + (None,))


def squeeze_samples(rng):
    x = rng.standard_normal((1, 3, 1))
    yield Sample((x,), differentiable=(0,))
    yield Sample((x, 2), differentiable=(0,))
    yield Sample((x, 1), error=(ShapeError, "axis 1 of size 1; got 3"))


@op(squeeze_samples)
def squeeze(x: Tensor, axis: int | None = None) -> Tensor:
    """Drops an axis of size 1, or all of them. A view.

    Shapes: x (..., 1, ...) -> (..., ...).

    Raises:
        ShapeError: The axis has another size.

    >>> squeeze(Tensor([[1.0], [2.0]])).shape
    (2,)
    """
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    axis = checks.axis("squeeze", axis, x.ndim)
    if x.shape[axis] != 1:
        raise ShapeError(
            f"squeeze: expected axis {axis} of size 1; got {x.shape[axis]}.", "sum or index it."
        )
    return reshape(x, x.shape[:axis] + x.shape[axis + 1 :])


def _reshape(x: Tensor, *shape) -> Tensor:
    """x.reshape(2, 3), x.reshape((2, 3)) or x.reshape([2, 3])"""
    return reshape(x, shape[0] if len(shape) == 1 and np.iterable(shape[0]) else shape)


Tensor.__getitem__ = index
# without it Python counts up until an IndexError, which no index raises here
Tensor.__iter__ = lambda x: (x[i] for i in range(len(x)))
Tensor.__contains__ = None  # `in` would compare objects, not numbers: refused
Tensor.reshape = _reshape
Tensor.permute = lambda x, *axes: permute(x, axes)
Tensor.transpose = transpose
Tensor.T = property(lambda x: transpose(x))
Tensor.flatten = flatten
Tensor.squeeze, Tensor.unsqueeze = squeeze, unsqueeze
