"""Fixtures of the engine's tests."""

import numpy as np
import pytest
from trivet import device, registry

for backend in registry.PREFERENCE["cpu"]:  # registers before a test takes a copy of the registry
    registry.missing(backend)


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """Fresh memory is all ones, NaN as a float: a kernel that reads what nobody wrote fails."""

    def poisoned(nbytes, allocate=device._empty_cpu):
        memory = allocate(nbytes)
        memory[...] = 0xFF
        return memory

    monkeypatch.setitem(device._EMPTY, "cpu", poisoned)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Random cases beside PyTorch take most of the time: they stay out of the quick tier."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("slow")
