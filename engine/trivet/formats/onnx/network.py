"""An ONNX graph as a module: runs node after node, trains by the tape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import ops
from ...config import no_grad
from ...dtypes import is_float
from ...errors import DtypeError, OptionError, TrivetError
from ...launch import EAGER, sending_to
from ...nn.module import Module, Parameter
from ...tape import Tensor
from .operator import OPERATORS, Node, Operator, Value, from_host
from .reading import Model, read


def load(source, *, device: str = "cpu") -> OnnxNetwork:
    """The network of an ONNX model.

    Float initialisers become Parameters under their names, the running statistics of batch
    normalisation become buffers; all else is constant. The network starts in evaluation, where it
    computes what ONNX says; ``train()`` switches its dropouts on, and lets its batch normalisations
    use the batch and update their statistics, as PyTorch does.

    Args:
        source: The file's path, or an ``onnx.ModelProto``.
        device: Where the Parameters lie.

    Raises:
        FormatError: The package onnx is not installed, the file is none of ONNX, or the model
            holds an operator, an attribute or a dtype that the engine does not know.

    >>> from onnx import parser
    >>> source = '''<ir_version: 8, opset_import: ["": 17]>
    ... line (float[N, 1] x) => (float[N, 1] y)
    ... <float[1, 1] slope = {2.0}, float[1] start = {1.0}>
    ... { p = MatMul(x, slope)  y = Add(p, start) }'''
    >>> net = load(parser.parse_model(source))
    >>> list(net.named_parameters()), net(Tensor([[3.0]])).item()
    (['slope', 'start'], 7.0)
    """
    return OnnxNetwork(read(source), device)


@dataclass(frozen=True)
class Step:
    """A node with its operator, and the values that nobody needs after it."""

    node: Node
    operator: Operator
    last_read: tuple[str, ...]


class OnnxNetwork(Module):
    """Takes the graph's inputs in their order; returns its output, or a tuple of its outputs.

    Raises:
        OptionError: Another number of inputs than the graph has.
        DtypeError: An input of another dtype than the graph says.
    """

    def __init__(self, model: Model, device: str = "cpu"):
        self.training = False
        self.inputs, self.outputs = model.inputs, model.outputs
        self._device, self._input_dtypes = device, model.input_dtypes
        self._uploaded: dict[str, Tensor] = {}  # constants that nodes take as tensors
        self._constants = dict(model.initialisers)
        self._weights: dict[str, Tensor] = {}
        for name, kind in _learned(model).items():
            self._weights[name] = kind(self._constants.pop(name), device=device)
        self._fold(model.nodes)

    def _fold(self, nodes: list[Node]) -> None:
        """Runs what depends on constants alone; uploads those that the rest takes as tensors."""
        rest = []
        for node in nodes:
            operator = OPERATORS[node.operator]
            if all(name in self._constants or not name for name in node.inputs):
                self._constants |= self._run(Step(node, operator, ()), self._constants)
            else:
                rest.append(node)
        read, wanted = _reads(rest), set(self.outputs)
        for name in self._constants.keys() - read.keys() - wanted:
            del self._constants[name]
        self._uploaded = {
            name: Tensor(constant, device=self._device)
            for name, constant in self._constants.items()
            if name in wanted or not all(_on_host(*reader) for reader in read[name])
        }
        steps: list[Step] = []
        for node in reversed(rest):
            over = {name for name in (*node.inputs, *node.outputs) if name} - wanted
            wanted |= over
            steps.append(Step(node, OPERATORS[node.operator], tuple(sorted(over))))
        self._steps = steps[::-1]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = self._constants | self._weights | dict(zip(self.inputs, self._checked(inputs)))
        for step in self._steps:
            values |= self._run(step, values)
            for name in step.last_read:
                values.pop(name, None)  # an optional output may not have been made
        outputs = tuple(self._tensor(name, values[name]) for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _checked(self, inputs):
        if len(inputs) != len(self.inputs):
            raise OptionError(
                f"OnnxNetwork: expected {len(self.inputs)} inputs ({', '.join(self.inputs)}); "
                f"got {len(inputs)}.",
                "pass one Tensor for each, in this order.",
            )
        for name, given in zip(self.inputs, inputs):
            dtype = self._input_dtypes[name]
            got = given.dtype if isinstance(given, Tensor) else type(given).__name__
            if got != dtype:
                raise DtypeError(
                    f"OnnxNetwork: expected input {name!r} as a Tensor of {dtype}; got {got}.",
                    f"convert it: Tensor(data, {dtype!r}).",
                )
        return inputs

    def _run(self, step: Step, values: dict[str, Value]) -> dict[str, Value]:
        """The node's outputs by name: arrays if all that it reads are arrays."""
        try:
            given = [values[name] if name else None for name in step.node.inputs]
            if any(isinstance(v, Tensor) for v in given):
                return self._named(step, self._call(step, given))
            with no_grad(), sending_to(EAGER):  # shapes and constants: not a part of the step
                made = self._named(step, self._call(step, given))
                return {k: v.numpy() if isinstance(v, Tensor) else v for k, v in made.items()}
        except TrivetError as error:
            error.add_note(f"in {step.node}")
            raise

    def _call(self, step: Step, given: list[Value | None]):
        operator, node = step.operator, step.node
        told = {"node": node, "training": self.training}
        options = {key: told[key] for key in operator.told} | dict(node.attributes)
        operands = [
            v if v is None else _array(v) if _on_host(node, i) else self._tensor(name, v)
            for i, (name, v) in enumerate(zip(node.inputs, given))
        ]
        return operator.run(*operands, **options)

    def _tensor(self, name: str, value: Value) -> Tensor:
        if isinstance(value, Tensor):
            return value
        uploaded = self._uploaded.get(name)
        return from_host(value, self._device) if uploaded is None else uploaded

    @staticmethod
    def _named(step: Step, made) -> dict[str, Value]:
        made = made if isinstance(made, tuple) else (made,)
        return {name: v for name, v in zip(step.node.outputs, made) if name}

    def to(self, dtype: str) -> Module:
        """As of any module, with its constants; a dtype that a node names (Cast) stays."""
        for name, constant in self._uploaded.items():
            if is_float(constant.dtype):
                self._uploaded[name] = ops.cast(constant, dtype)
        self._input_dtypes = {
            name: dtype if is_float(old) else old for name, old in self._input_dtypes.items()
        }
        return super().to(dtype)

    def own_parameters(self) -> list[Parameter]:
        return [t for t in self._weights.values() if isinstance(t, Parameter)]

    def _members(self, prefix: str = ""):
        # not attributes: a graph may call its weights "_1", "forward" or "training"
        for name, tensor in self._weights.items():
            yield prefix + name, tensor


def _reads(nodes: list[Node]) -> dict[str, list[tuple[Node, int]]]:
    """Who reads each name, and as which input."""
    found: dict[str, list[tuple[Node, int]]] = {}
    for node in nodes:
        for position, name in enumerate(node.inputs):
            if name:
                found.setdefault(name, []).append((node, position))
    return found


def _array(value: Value) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else value


def _on_host(node: Node, position: int) -> bool:
    operator = OPERATORS[node.operator]
    return operator.input_name(position) in operator.host


def _learned(model: Model) -> dict[str, type[Tensor]]:
    """Which initialisers are Parameters, which buffers: floats that some node takes as a tensor."""
    kinds: dict[str, type[Tensor]] = {}
    reads = _reads(model.nodes)
    for name, array in model.initialisers.items():
        if not is_float(array.dtype.name):
            continue
        uses = {
            OPERATORS[node.operator].input_name(i) in OPERATORS[node.operator].state
            for node, i in reads.get(name, [])
            if not _on_host(node, i)
        }
        if uses or name in model.outputs:
            kinds[name] = Tensor if uses == {True} else Parameter
    return kinds
