"""Reads a model into plain Python. The only file that needs the package ``onnx``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ... import dtypes
from ...errors import FormatError
from . import operators  # noqa: F401  enters them in OPERATORS
from .operator import DTYPES, OPERATORS, Node

try:
    import onnx
    from onnx import helper, inliner, numpy_helper
except ImportError:
    onnx = None


@dataclass(frozen=True)
class Model:
    """A graph, read."""

    nodes: list[Node]  # in an order in which they can run
    inputs: list[str]
    outputs: list[str]
    initialisers: dict[str, np.ndarray]
    input_dtypes: dict[str, str]


def read(source) -> Model:
    """The model of a file, or of a ModelProto.

    Raises:
        FormatError: No ``onnx`` package, no ONNX file, or types that the engine does not have.
    """
    proto = _written_out(_proto(source))
    graph = proto.graph
    initialisers = {t.name: _array(t, f"initialiser {t.name!r}") for t in graph.initializer}
    if graph.sparse_initializer:
        raise FormatError(
            "ONNX: expected dense initialisers; got sparse ones.", "export them as dense tensors."
        )
    inputs = [v for v in graph.input if v.name not in initialisers]
    nodes = list(_nodes(proto))
    _expect_order(nodes, {v.name for v in inputs} | initialisers.keys())
    return Model(
        nodes,
        [v.name for v in inputs],
        [v.name for v in graph.output],
        initialisers,
        {v.name: _input_dtype(v) for v in inputs},
    )


def _expect_order(nodes: list[Node], known: set[str]) -> None:
    """Every node reads what is there before it."""
    for node in nodes:
        if missing := [name for name in node.inputs if name and name not in known]:
            raise node.refuse(
                "inputs that an earlier node makes", ", ".join(missing), "check the exporter."
            )
        known.update(node.outputs)


def _proto(source):
    if onnx is None:
        raise FormatError(
            "trivet.formats.onnx: expected the package onnx; it is not installed.",
            "pip install 'trivet[onnx]'.",
        )
    if isinstance(source, onnx.ModelProto):
        return source
    try:
        proto = onnx.load(os.fspath(source))
    except OSError:
        raise
    except Exception as error:  # protobuf's own, which this package does not import
        raise FormatError(
            f"{source}: expected an ONNX model; got a file that cannot be read as one "
            f"({type(error).__name__}).",
            "check the download.",
        ) from error
    if not proto.opset_import or not proto.graph.output:
        raise FormatError(
            f"{source}: expected an ONNX model with opsets and outputs; got none.",
            "check the download.",
        )
    return proto


def _written_out(proto):
    """Functions of the model, and operators that only ONNX knows how to compose, as their nodes."""
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    tried: set[tuple[str, str]] = set()
    while (
        unknown := {(n.domain, n.op_type) for n in proto.graph.node if _composed(proto, n)} - tried
    ):
        tried |= unknown
        proto = _with_defaults(proto)
        try:
            proto = inliner.inline_selected_functions(
                proto, sorted(unknown), inline_schema_functions=True
            )
        except RuntimeError:  # of onnx itself: an input left out, whose type it then misses
            break
    return proto


def _composed(proto, node) -> bool:
    """Whether ONNX defines an operator by others, and the engine does not know it."""
    schema = None if node.op_type in OPERATORS else _schema(proto, node)
    return bool(schema) and (schema.has_function or schema.has_context_dependent_function)


def _with_defaults(proto):
    """A copy with default attributes written out, which ONNX's inliner would lose."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in copy.graph.node:
        if _composed(copy, node):
            given = {a.name for a in node.attribute}
            defaults = (a.default_value for a in _schema(copy, node).attributes.values())
            node.attribute.extend(a for a in defaults if a.name and a.name not in given)
    return copy


def _schema(proto, node):
    try:
        return onnx.defs.get_schema(node.op_type, _opset(proto, node.domain), node.domain)
    except onnx.defs.SchemaError:
        return None


def _opset(proto, domain: str) -> int:
    versions = {o.domain or "ai.onnx": o.version for o in proto.opset_import}
    return versions.get(domain or "ai.onnx", 1)


def _nodes(proto) -> Iterator[Node]:
    for i, n in enumerate(proto.graph.node):
        name = n.name or f"{n.op_type}_{i}"
        node = Node(n.op_type, name, n.domain, _opset(proto, n.domain), tuple(n.input),
                    tuple(n.output), {})  # fmt: skip
        if n.domain not in ("", "ai.onnx"):
            raise node.refuse(
                "an operator of ONNX's own domain",
                f"one of the domain {n.domain!r}",
                "export the model without custom operators.",
            )
        if n.op_type not in OPERATORS:
            left = " with an input left out, which onnx cannot write out in other operators"
            raise node.refuse(
                "an operator that the engine has",
                n.op_type + (left if _composed(proto, n) else ""),
                "docs/onnx.md lists those it has; export with these.",
            )
        node.attributes.update({a.name: _attribute(node, a) for a in n.attribute})
        OPERATORS[n.op_type].check(node)
        yield node


def _attribute(node: Node, attribute):
    value = helper.get_attribute_value(attribute)
    if attribute.name in ("to", "dtype"):  # ONNX's number of a dtype
        return _dtype(value, f"attribute {attribute.name!r} of {node}")
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return _array(value, f"attribute {attribute.name!r} of {node}")
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, int | float | bytes) for v in value):
        return tuple(v.decode() if isinstance(v, bytes) else v for v in value)
    kind = type(value).__name__
    raise node.refuse(f"a number, text or tensor as {attribute.name}", kind, "export without it.")


def _array(tensor, where: str) -> np.ndarray:
    _dtype(tensor.data_type, where)
    return np.array(numpy_helper.to_array(tensor))


def _input_dtype(value) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise FormatError(
            f"ONNX input {value.name!r}: expected a tensor; got a {kind}.",
            "export with tensors alone.",
        )
    return _dtype(value.type.tensor_type.elem_type, f"input {value.name!r}")


def _dtype(number: int, where: str) -> str:
    if number not in DTYPES:
        got = onnx.TensorProto.DataType.Name(number).lower()
        raise FormatError(
            f"ONNX {where}: expected a dtype out of {', '.join(dtypes.ALL)}; got {got}.",
            "convert the model to float32.",
        )
    return DTYPES[number]
