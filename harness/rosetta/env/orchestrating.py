"""The orchestrating environment: all but the frameworks. Needs the standard library alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .. import project
from ..errors import EnvironmentFailed, RosettaError
from . import locks
from .exclusive import Say, exclusive

DISTRIBUTIONS = ("harness", "engine")  # on the path of `dev`; the suite itself needs the first


def main(arguments: list[str]) -> None:
    """``[]`` ensures the orchestrating environment, ``["dev"]`` that and the developers' one."""
    if arguments not in ([], ["dev"]):
        sys.exit(f"bootstrap.py: takes `dev` or nothing, not {' '.join(arguments)!r}")
    try:
        python = ensure(say)
        ready = not arguments or is_built(project.home() / "env" / "dev", own_lock("dev"))
    except RosettaError as error:
        sys.exit(f"rosetta: {error}")
    if not ready:
        os.execv(python, [str(python), "-m", "rosetta.env.dev"])


def say(line: str) -> None:
    """A line of progress on stderr."""
    print(f"rosetta: {line}", file=sys.stderr, flush=True)


def ensure(say: Say) -> Path:
    """The orchestrating environment's interpreter, built first if need be.

    Raises:
        EnvironmentFailed: No lock for this Python and platform, or pip failed.
    """
    folder = project.home() / "env" / "rosetta"
    lock = own_lock("rosetta")
    if not is_built(folder, lock):
        with exclusive(folder.with_suffix(".lock"), say):
            if not is_built(folder, lock):
                _build(folder, lock, say)
    return python_in(folder)


def own_lock(kind: str) -> locks.Lock:
    """The lock of ``rosetta`` or ``dev`` for the running Python.

    Raises:
        EnvironmentFailed: There is none.
    """
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = locks.platform_tag()
    found = locks.find(project.HARNESS / "locks", kind, tag)
    for lock in found:
        if lock.python == running:
            return lock
    raise EnvironmentFailed(
        f"no lock file of {kind!r} for Python {running} on {tag}; "
        f"there are some for Python {', '.join(lock.python for lock in found) or '(none)'}",
        fix=f"make PYTHON=python{found[-1].python} ..." if found else "see docker/",
    )


def python_in(folder: Path) -> Path:
    """The interpreter of the environment ``folder``."""
    return folder / "bin" / "python"


def is_built(folder: Path, lock: locks.Lock) -> bool:
    """Whether ``folder`` was finished, from this very lock, in this very place."""
    try:
        stamp = json.loads(_stamp(folder).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return stamp == _expected(folder, lock) and python_in(folder).exists()


def finish(folder: Path, lock: locks.Lock, distributions: tuple[str, ...]) -> None:
    """Puts the project on the environment's path; writes the stamp, last of all."""
    packages = folder / "lib" / f"python{lock.python}" / "site-packages"
    paths = [str(project.ROOT / name) for name in distributions]
    (packages / "rosetta-project.pth").write_text("\n".join(paths) + "\n", "utf-8")
    script = folder / "bin" / "rosetta"
    script.write_text(f'#!/bin/sh\nexec "{python_in(folder)}" -m rosetta "$@"\n', "utf-8")
    script.chmod(0o755)
    partial = _stamp(folder).with_suffix(".partial")
    partial.write_text(json.dumps(_expected(folder, lock)), "utf-8")
    partial.replace(_stamp(folder))


def _stamp(folder: Path) -> Path:
    return folder.with_suffix(".json")


def _expected(folder: Path, lock: locks.Lock) -> dict[str, str]:
    return {"lock": lock.digest, "python": lock.python, "folder": str(folder)}


def _build(folder: Path, lock: locks.Lock, say: Say) -> None:
    """pip installs uv from the lock; uv, which is many times as fast, installs the rest."""
    say(f"making the orchestrating environment ({len(lock.packages)} packages)")
    began = time.monotonic()
    _stamp(folder).unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], "python3 -m venv")
    first = folder / "uv.txt"
    first.write_text(lock.block("uv"), "utf-8")
    pip = [str(python_in(folder)), "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--disable-pip-version-check", "--only-binary", ":all:"]
    _run([*pip, "--require-hashes", "--requirement", str(first)], "pip")
    _run([str(python_in(folder)), "-m", "rosetta.env.uv", str(folder), str(lock.path)], "uv")
    finish(folder, lock, DISTRIBUTIONS[:1])
    say(f"made in {time.monotonic() - began:.0f} s")


def _run(arguments: list[str], name: str) -> None:
    """What the tool says goes to the terminal; the exception names the likely causes."""
    environment = {**os.environ, "PYTHONPATH": str(project.HARNESS)}
    if status := subprocess.run(arguments, stdout=sys.stderr, env=environment).returncode:
        raise EnvironmentFailed(
            f"{name} ended with status {status}; its message stands above",
            fix="install what it asks for (on Debian: python3-venv), or reach a package index",
        )
