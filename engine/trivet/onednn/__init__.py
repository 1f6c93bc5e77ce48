"""Kernels of oneDNN. Importing it raises BackendMissing where the library is not installed."""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):  # each file registers its kernels
    import_module(f"{__name__}.{module.name}")
