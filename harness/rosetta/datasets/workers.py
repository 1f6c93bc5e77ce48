"""Runs a ``prepare.py``: here by its path, and its slow functions in two processes."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ..errors import SpecError

AHEAD = 8  # items under way per process: keeps both busy and little in memory


@lru_cache
def prepare_module(path: Path) -> ModuleType:
    """A ``prepare.py`` as a module; ``data/`` is a folder to read, not a package to import."""
    found = importlib.util.spec_from_file_location(f"rosetta_data_{path.parent.name}", path)
    if found is None or found.loader is None or not path.is_file():
        raise SpecError(f"expected {path}", "write it: read() and stand_in()")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def in_processes(prepare: str, function: str, items: Iterable[tuple]) -> Iterator:
    """``function(*item)`` of ``prepare.py`` for every item, results in order.

    Args:
        prepare: the ``__file__`` of the ``prepare.py`` that asks.
        function: the name of a function at its top level.
        items: arguments; taken only a little ahead of the results, so they may be large.
    """
    context = multiprocessing.get_context("spawn")  # the caller may have threads
    processes = min(2, os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        under_way: deque[Future] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(_call, prepare, function, item))
                if len(under_way) >= AHEAD * processes:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _call(prepare: str, function: str, arguments: tuple) -> object:
    return getattr(prepare_module(Path(prepare)), function)(*arguments)
