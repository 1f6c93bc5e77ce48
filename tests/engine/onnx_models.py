"""Small ONNX models for tests, written as text."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from trivet.formats.onnx import load

DATA = Path(os.environ.get("ROSETTA_DATA", ""))
needs_data = pytest.mark.skipif(
    "ROSETTA_DATA" not in os.environ, reason="needs ROSETTA_DATA with models/onnx"
)


def build(body, weights=None, *, inputs=None, outputs="y", opset=17):
    """A network from ONNX's text; inputs by name, None for a size that is free."""
    inputs = {"x": ("float", None)} if inputs is None else inputs
    kinds = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
    text = f'<ir_version: 8, opset_import: ["": {opset}]> net () => () {{ {body} }}'
    proto = parser.parse_model(text)
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, kinds[kind], shape)
        for name, (kind, shape) in inputs.items()
    )
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()
    )
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return load(proto)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def outputs(net, xs):
    y = net(*xs)
    return y if isinstance(y, tuple) else (y,)
