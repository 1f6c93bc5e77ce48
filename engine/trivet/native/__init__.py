"""Our own kernels for CPUs, written in the kernel language (``trivet.simd``). float32 only."""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):  # each file registers its kernels
    import_module(f"{__name__}.{module.name}")
