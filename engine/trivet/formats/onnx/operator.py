"""What makes a function an ONNX operator: inputs by position, attributes by keyword."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...errors import FormatError
from ...launch import EAGER, sending_to
from ...tape import Tensor

Value = Tensor | np.ndarray  # an array: known on the host without running anything

DTYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
          11: "float64", 16: "bfloat16"}  # fmt: skip  # by ONNX's number


def from_host(array: np.ndarray, device: str = "cpu") -> Tensor:
    """A constant; equal ones are one Tensor, which a captured step finds again at every call."""
    return _constant(np.ascontiguousarray(array).tobytes(), array.dtype, array.shape, device)


@lru_cache(maxsize=1024)
def _constant(content: bytes, dtype, shape, device) -> Tensor:
    with sending_to(EAGER):  # no launch of a captured step: its value never changes
        return Tensor(np.frombuffer(content, dtype).reshape(shape), device=device)


@dataclass(frozen=True)
class Node:
    """A node of the graph, read."""

    operator: str
    name: str
    domain: str
    opset: int
    inputs: tuple[str, ...]  # "" where an optional one is left out
    outputs: tuple[str, ...]
    attributes: Mapping

    def __str__(self) -> str:
        return f"ONNX node {self.name!r} ({self.operator}, opset {self.opset})"

    def refuse(self, expected: str, got, fix: str) -> FormatError:
        """The error for what the engine cannot do."""
        return FormatError(f"{self}: expected {expected}; got {got}.", fix)


@dataclass(frozen=True)
class Operator:
    """A function and how a node's inputs and attributes are handed to it."""

    run: Callable
    inputs: tuple[str, ...]
    several: bool  # any number of inputs
    attributes: frozenset[str]
    required: frozenset[str]  # out of the attributes
    told: frozenset[str]  # out of "node" and "training": what else it wants to know
    host: frozenset[str]  # inputs that it takes as arrays
    state: frozenset[str]  # inputs that training updates without a gradient
    outputs: int  # at most
    only: Mapping[str, tuple]  # values that an attribute may take

    def input_name(self, position: int) -> str:
        return self.inputs[min(position, len(self.inputs) - 1)]

    def check(self, node: Node) -> None:
        """Refuses what can be known to be unknown before anything runs."""
        if unknown := sorted(node.attributes.keys() - self.attributes):
            known = ", ".join(sorted(self.attributes)) or "none"
            raise node.refuse(
                f"attributes out of: {known}", ", ".join(unknown), "export without them."
            )
        if missing := sorted(self.required - node.attributes.keys()):
            raise node.refuse(f"attributes {', '.join(missing)}", "none", "check the exporter.")
        for name, values in self.only.items():
            if (value := node.attributes.get(name, values[0])) not in values:
                expected = f"{name} out of {', '.join(map(repr, values))}"
                raise node.refuse(expected, repr(value), "export with one of them.")
        if len(node.inputs) > len(self.inputs) and not self.several:
            raise node.refuse(
                f"at most {len(self.inputs)} inputs", len(node.inputs), "drop the others."
            )
        if any(node.outputs[self.outputs :]):
            raise node.refuse(
                f"at most {self.outputs} outputs", len(node.outputs), "drop the others."
            )


OPERATORS: dict[str, Operator] = {}
MISSING = inspect.Parameter.empty  # an attribute without a default


def operator(*names: str, host=(), state=(), outputs: int = 1, only: Mapping | None = None):
    """Enters the decorated function as an operator.

    Its positional parameters are the operator's inputs, its keyword-only ones the attributes with
    ONNX's defaults; what is an attribute in one opset and an input in another is among ``host`` and
    gets either. Keywords ``node`` and ``training`` are no attributes, but the node itself and
    whether the network is in training.

    Args:
        host: Inputs taken as arrays: sizes, axes, bounds.
        state: Inputs that are buffers instead of parameters.
        outputs: How many it can give; a function with several returns a tuple.
        only: Values that an attribute may take, the default first.
    """

    def register(function):
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        told = options.keys() & {"node", "training"}
        entry = Operator(
            run=function,
            inputs=tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY),
            several=any(p.kind is p.VAR_POSITIONAL for p in parameters),
            attributes=frozenset(options.keys() - told) | frozenset(host),
            required=frozenset(name for name in options.keys() - told if options[name] is MISSING),
            told=frozenset(told),
            host=frozenset(host),
            state=frozenset(state),
            outputs=outputs,
            only=only or {},
        )
        OPERATORS.update(dict.fromkeys(names, entry))
        return function

    return register
