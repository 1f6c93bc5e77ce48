"""Differentiable functions of Tensors, one file per family."""

from importlib import import_module
from pkgutil import iter_modules

from .op import OPS, Sample, op

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
globals().update({name: function for name, (function, _) in OPS.items()})

__all__ = ["OPS", "Sample", "op", *OPS]
