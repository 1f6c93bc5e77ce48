"""A table of what a network is made of."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..config import no_grad
from ..tape import Tensor
from .module import Module


@dataclass(frozen=True)
class Row:
    name: str
    type: str
    shape: tuple[int, ...] | None  # of the output; None if it is not one Tensor
    parameters: int  # of its own that no earlier row has counted
    flops: int  # of one forward; products and additions of convolutions and matrices


@dataclass(frozen=True)
class Summary:
    """Rows in the order in which the layers ran, and totals."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "type", "output", "parameters", "flops")
        lines = [
            (r.name, r.type, str(r.shape or "-"), f"{r.parameters:,}", f"{r.flops:,}")
            for r in self.rows
        ]
        lines = [head, *lines, ("total", "", "", f"{self.parameters:,}", f"{self.flops:,}")]
        widths = [max(map(len, column)) for column in zip(*lines)]
        texts = []
        for *words, parameters, flops in lines:
            left = [word.ljust(width) for word, width in zip(words, widths)]
            texts.append("  ".join([*left, parameters.rjust(widths[3]), flops.rjust(widths[4])]))
        return "\n".join(texts)


def summary(net: Module, *inputs: Tensor | tuple[int, ...]) -> Summary:
    """Runs the network once, in evaluation, and lists the layers that computed or own something.

    Args:
        inputs: What the network is called with; a shape stands for zeros of the network's dtype.

    >>> from trivet import nn
    >>> print(summary(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (4, 3)))
    layer  type    output  parameters  flops
    0      Linear  (4, 2)           8     48
    1      ReLU    (4, 2)           0      0
    total                           8     48
    """
    dtype = next((p.dtype for p in net.parameters()), "float32")
    tensors = [x if isinstance(x, Tensor) else Tensor(np.zeros(x, dtype)) for x in inputs]
    rows: list[Row] = []
    seen: set[int] = set()
    modes = {module: module.training for module in net.named_modules().values()}
    with ExitStack() as stack:
        stack.enter_context(no_grad())
        for name, module in net.named_modules().items():
            inner = [v for v in vars(module).values() if isinstance(v, Module)]
            if not inner or module.own_parameters():
                stack.enter_context(module.on_output(partial(_note, rows, seen, name)))
        try:
            net.eval()(*tensors)
        finally:  # a shape that does not fit must not leave dropout off
            for module, mode in modes.items():
                module.training = mode
    return Summary(tuple(rows))


def _note(rows, seen, name, module, inputs, y):
    fresh = [p for p in module.own_parameters() if id(p) not in seen]
    seen.update(map(id, fresh))
    rows.append(
        Row(
            name or "-",
            type(module).__name__,
            y.shape if isinstance(y, Tensor) else None,
            sum(p.size for p in fresh),
            module.flops(inputs, y),
        )
    )
