"""Finds Pythons on this machine: the running one, on PATH, in pyenv, in uv."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from . import uv
from .locks import minor

_ASK = (
    "import sys; print('%d.%d' % sys.version_info[:2]); "
    "print(getattr(sys, '_base_executable', None) or sys.executable)"
)


def find(python: str) -> Path | None:
    """An interpreter of version ``python`` ("3.11") that starts."""
    for candidate in _candidates(python):
        answer = ask(candidate)
        if answer and answer[0] == python:
            return answer[1]
    return None


@cache
def ask(candidate: Path) -> tuple[str, Path] | None:
    """Version and base interpreter of ``candidate``; None if it does not start (a pyenv shim)."""
    try:
        done = subprocess.run(
            [candidate, "-c", _ASK], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, base = done.stdout.split("\n")[:2]
    return version, Path(base)


def running() -> str:
    """The running Python's version, as locks name it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _candidates(python: str) -> Iterator[Path]:
    if python == running():
        yield Path(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder, f"python{python}")
        if path.is_file() and os.access(path, os.X_OK):
            yield path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    patches = [p for p in root.glob(f"versions/{python}.*/bin/python") if _is_release(p)]
    yield from sorted(patches, key=lambda p: minor(p.parents[1].name), reverse=True)
    yield from (path for version, path in _of_uv() if version == python)


def _is_release(path: Path) -> bool:
    return path.parents[1].name.replace(".", "").isdigit()


@cache
def _of_uv() -> list[tuple[str, Path]]:
    done = subprocess.run(
        uv.command("python", "list", "--only-installed", "--output-format", "json"),
        capture_output=True,
        text=True,
        env=uv.environment(),
    )
    if done.returncode:
        return []
    found = json.loads(done.stdout)
    return [(".".join(f["version"].split(".")[:2]), Path(f["path"])) for f in found]
