"""Tensor and tape: notes what ran, pulls gradients back through it. Knows no ops.

The chain rule needs every node after all of its consumers. A node is made after its inputs, so
walking from the newest node to the oldest is such an order, and needs no counting of in-degrees:
when a node's turn comes, nobody is left who could still add to its gradient.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count

from .config import is_recording, recording
from .device import Buffer
from .dtypes import expect_float, expect_one_float, from_host
from .errors import GradientError, ShapeError
from .launch import download, launch, reorder, upload
from .spec import PLAIN, Layout

_SERIAL = count()


class Tensor:
    """A value on a device and, if gradients flow through it, the node that made it.

    Args:
        data: Numbers or an array, copied. NumPy arrays keep their dtype; Python's floats become
            float32, its integers int64.
        dtype: One of ``trivet.dtypes.ALL``.
        device: Where it lies.
        requires_grad: True makes it a leaf that ``backward`` fills ``.grad`` of.

    Raises:
        DtypeError: An unknown dtype, floats for an integer dtype, or a gradient of integers.
        DeviceError: No such device.
    """

    __array_ufunc__ = None  # numpy leaves `scalar * tensor` to the operators of Tensor

    def __init__(
        self, data, dtype: str | None = None, *, device: str = "cpu", requires_grad: bool = False
    ):
        self.buffer = data if isinstance(data, Buffer) else upload(from_host(data, dtype), device)
        self.requires_grad = requires_grad
        self.node: Node | None = None
        self.place = 0  # among the outputs of its node
        self.grad: Tensor | None = None
        if requires_grad:
            expect_float(self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.buffer.spec.shape

    @property
    def dtype(self) -> str:
        return self.buffer.spec.dtype

    @property
    def device(self) -> str:
        return self.buffer.device

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.buffer.spec.size

    def __repr__(self) -> str:
        return f"Tensor({self.buffer.spec})"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: expected at least one axis; got ().", "use .item().")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def numpy(self):
        """A copy on the host."""
        return download(self.buffer)

    def __array__(self, dtype=None, copy=None):
        """For ``np.asarray(x)``, which would else make an array of Tensors."""
        return self.numpy().astype(dtype or self.dtype, copy=False)

    def item(self) -> float | int | bool:
        """The one number in it, as Python's."""
        if self.size != 1:
            raise ShapeError(f"item: expected one element; got {self.shape}.", "use .numpy().")
        return self.numpy().item()

    def detach(self) -> Tensor:
        """The same memory without a history: gradients stop here."""
        return Tensor(self.buffer)

    def write(self, data) -> None:
        """Overwrites the value in place with host data of the same shape."""
        array = from_host(data, self.dtype)
        if array.shape != self.shape:
            raise ShapeError(
                f"write: expected data {self.shape}; got {array.shape}.",
                "a Tensor keeps its shape for life; make a new one.",
            )
        reorder(upload(array, self.device), self.buffer.spec.layout, into=self.buffer)

    def backward(self, gradient: Tensor | None = None, *, keep_graph: bool = False) -> None:
        """Adds d self / d leaf to ``.grad`` of every leaf that self depends on.

        Args:
            gradient: d loss / d self, of self's shape; a scalar needs none.
            keep_graph: False frees each node's saved values once they were used.
        """
        taken = _taken(gradient)
        for leaf, g in _pull(self, gradient, keep_graph=keep_graph).items():
            if leaf.grad is None:
                leaf.grad = _own(g, taken).detach()
                continue
            if (leaf.grad.shape, leaf.grad.dtype) != (g.shape, g.dtype):
                raise GradientError(
                    f"Expected .grad {g.dtype} {g.shape}, to add to; got {leaf.grad}.",
                    "set .grad to None, or to a tensor like its own.",
                )
            launch("accumulate", leaf.grad.buffer, g.buffer)


Edge = Tensor | tuple["Node", int]  # a leaf, or an output of a node


class Node:
    """A recorded op. Links nodes, not tensors: a value that nobody saved is freed at once."""

    __slots__ = ("edges", "gradient", "name", "outputs", "saved", "serial", "several")

    def __init__(self, name, edges, saved, gradient, outputs, several):
        self.serial = next(_SERIAL)
        self.name: str = name
        self.edges: list[Edge | None] = edges  # one per input; None: no gradient flows there
        # (buffer, version, edge or place among outputs) each, None for None
        self.saved: list[tuple | None] | None = saved
        self.gradient: Callable | None = gradient
        self.outputs: int = outputs
        self.several: bool = several  # gradient takes a tuple, one per output

    def __lt__(self, other: Node) -> bool:
        return self.serial > other.serial  # a heap gives the newest first

    def pull(self, gys: list[Tensor | None]):
        """(edge, gradient) per input, from the gradients of the outputs."""
        if self.saved is None:
            raise GradientError(
                f"{self.name}: expected values saved for the gradient; an earlier backward "
                "has freed them.",
                "call the earlier one with keep_graph=True.",
            )
        values = []
        for kept in self.saved:
            if kept is None:
                values.append(None)
                continue
            buffer, version, edge = kept
            replaced = isinstance(edge, Tensor) and edge.buffer is not buffer  # by Module.to
            if replaced or buffer.version != version:
                raise GradientError(
                    f"{self.name}: expected the {buffer.spec} saved for its gradient unchanged; "
                    f"got one {'replaced' if replaced else 'written in place'} since.",
                    "call backward before the write, or write to a copy.",
                )
            values.append(_attached(buffer, (self, edge) if isinstance(edge, int) else edge))
        needs = tuple(edge is not None for edge in self.edges)
        gy = tuple(gys) if self.several else gys[0]
        return zip(self.edges, self.gradient(gy, needs, *values), strict=True)

    def free(self) -> None:
        """Lets go of saved values and of the graph behind: their memory is free at once."""
        self.saved, self.gradient = None, None
        self.edges = [None] * len(self.edges)


def compute(
    name: str,
    *tensors: Tensor,
    geometry=None,
    partner: Tensor | None = None,
    auxiliaries: bool = True,
) -> list[Tensor]:
    """Launches a kernel on tensors; nothing is recorded."""
    expect_one_float(name, (t.dtype for t in tensors))
    outs = launch(
        name,
        *(t.buffer for t in tensors),
        geometry=geometry,
        partner=None if partner is None else partner.buffer,
        auxiliaries=auxiliaries,
    )
    return [Tensor(b) for b in outs]


def records(*inputs: Tensor) -> bool:
    """Whether a gradient can be asked of what these inputs make."""
    return is_recording() and any(t.requires_grad for t in inputs)


def record(outputs: Tensor | tuple[Tensor, ...], inputs, *, saved=(), gradient, name: str = ""):
    """Notes how outputs were made; returns them.

    ``gradient(gy, needs, *saved)`` returns one gradient per input: a tensor of the input's shape,
    gy itself, or None. With a tuple of outputs ``gy`` is a tuple too, None where nothing flowed.
    ``needs`` says per input whether its gradient is wanted. Values come only through ``saved``,
    where a change of them is noticed; None there stays None, for a value that only the gradient
    of an input needs that wants none. ``name`` stands in errors; it is the function's unless given.
    """
    if records(*inputs):
        several = isinstance(outputs, tuple)
        made = outputs if several else (outputs,)
        kept = []
        for t in saved:
            if t is None:
                kept.append(None)
                continue
            place = next((i for i, y in enumerate(made) if t is y), None)
            kept.append((t.buffer, t.buffer.version, _edge(t) if place is None else place))
        name = name or gradient.__qualname__.partition(".")[0].strip("_")
        node = Node(name, [_edge(t) for t in inputs], kept, gradient, len(made), several)
        for place, y in enumerate(made):
            y.node, y.place, y.requires_grad = node, place, True
    return outputs


def grad(
    y: Tensor,
    xs: Sequence[Tensor],
    *,
    gradient: Tensor | None = None,
    keep_graph: bool = False,
    create_graph: bool = False,
) -> list[Tensor]:
    """d y / d x for each x, each in memory of its own; nobody's ``.grad`` changes.

    Args:
        y: A scalar, or any tensor together with ``gradient``, d loss / d y.
        keep_graph: False frees each node's saved values once they were used.
        create_graph: The results can be differentiated again.

    Raises:
        GradientError: y does not depend on an x, or has no history.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> (slope,) = grad((x * x).sum(), [x], create_graph=True)
    >>> (curvature,) = grad(slope.sum(), [x])
    >>> slope.item(), curvature.item()
    (6.0, 2.0)
    """
    edges = [_edge(x) for x in xs]
    found = _pull(y, gradient, edges, keep_graph or create_graph, create_graph)
    if alien := [x for x, edge in zip(xs, edges) if edge not in found]:
        raise GradientError(
            f"Expected xs that y depends on; got {alien}.", "build them with requires_grad=True."
        )
    if not create_graph:
        found = {edge: g.detach() for edge, g in found.items()}
    taken = _taken(gradient)
    return [_own(found[edge], taken) for edge in edges]


def _pull(y, gradient, wanted=(), keep_graph=False, create_graph=False) -> dict[Edge, Tensor]:
    """Gradients of y by edge: those of all leaves, and of the node outputs that are wanted."""
    with recording(create_graph):
        found = {_edge(y): _seed(y, gradient)}
        heap = [y.node] if y.node else []
        seen = set(heap)
        while heap:
            node = heapq.heappop(heap)
            places = [(node, i) for i in range(node.outputs)]
            gys = [found.get(p) if p in wanted else found.pop(p, None) for p in places]
            for edge, g in node.pull(gys):
                if edge is None or g is None:
                    continue
                found[edge] = found[edge] + g if edge in found else g
                if isinstance(edge, tuple) and edge[0] not in seen:
                    seen.add(edge[0])
                    heapq.heappush(heap, edge[0])
            if not keep_graph:
                node.free()
    return found


def _seed(y, gradient):
    if _edge(y) is None or (gradient is None and y.shape):
        raise GradientError(
            f"Expected a scalar made from tensors with requires_grad=True; got {y}.",
            "reduce it with y.sum(), and check that recording is on.",
        )
    if gradient is None:
        return compute("fill", y, geometry=((), 1.0))[0]
    if (gradient.shape, gradient.dtype) != (y.shape, y.dtype):
        raise GradientError(
            f"Expected a gradient {y.dtype} {y.shape}; got {gradient.dtype} {gradient.shape}.",
            "pass d loss / d y, one number per element of y.",
        )
    return gradient


def _taken(gradient: Tensor | None) -> set[Buffer]:
    """Memory that no result may lie in: what the caller gave is his."""
    return set() if gradient is None else {gradient.buffer}


def _own(g: Tensor, taken: set[Buffer]) -> Tensor:
    """g where no other gradient lies: a + b hands one value to both, but each may be written."""
    if g.buffer.base or g.buffer in taken:
        copy = Tensor(reorder(g.buffer, _owned_layout(g.buffer)))
        g = record(copy, (g,), gradient=lambda gy, needs: (gy,), name="copy")
    taken.add(g.buffer)
    return g


def _owned_layout(buffer: Buffer) -> Layout:
    """The layout of a copy: a view's copy is plain."""
    return PLAIN if buffer.base else buffer.spec.layout


def _edge(t: Tensor) -> Edge | None:
    if t.node:
        return t.node, t.place
    return t if t.requires_grad else None


def _attached(buffer: Buffer, edge: Edge | None) -> Tensor:
    """A saved value as the tensor it was."""
    if isinstance(edge, Tensor):
        return edge
    t = Tensor(buffer)
    if edge is not None:
        (t.node, t.place), t.requires_grad = edge, True
    return t
