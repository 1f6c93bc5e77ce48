"""ONNX models as networks that run and train.

``load`` takes a file or a ``ModelProto``. Each operator is a function over Tensors in
``operators/``; an operator that the engine does not know but ONNX defines by others is written
out in those.
"""

from .network import OnnxNetwork, load

__all__ = ["OnnxNetwork", "load"]
