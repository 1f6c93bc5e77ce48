"""What is known of a built environment: written last, so that a half-built one has no record."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import project
from ..errors import EnvironmentFailed
from .locks import canonical

SCHEMA = 1

_INVENTORY = """
import sys
if len(sys.argv) > 1:
    import site
    site.addsitedir(sys.argv[1])
import json
from importlib import metadata
versions = {}
for distribution in metadata.distributions():
    name = distribution.metadata["Name"]
    if name:
        versions.setdefault(name, distribution.version)
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "versions": versions}))
"""


@dataclass(frozen=True)
class Difference:
    """A package that is not as the lock has it; an empty version stands for absence."""

    package: str
    locked: str
    found: str


@dataclass(frozen=True)
class Environment:
    """One framework's environment on one device, ready to run notebooks."""

    framework: str
    device: str
    kernel: str  # the kernelspec's name under ``kernels.jupyter_path()``
    python: str  # its interpreter
    python_version: str
    lock: str  # the lock file's name; of an adopted one, the lock it is compared with, or ""
    lock_digest: str  # of an adopted one, of all its versions
    tested: bool
    adopted: bool = False
    overlay: str = ""  # a folder with what an adopted environment lacked
    paths: tuple[str, ...] = ()  # PYTHONPATH under which it was adopted
    versions: dict[str, str] = field(default_factory=dict)  # what is really installed
    differences: tuple[Difference, ...] = ()  # from the lock

    def facts(self) -> dict[str, Any]:
        """What a result says about it: no path of this machine."""
        private = "framework", "kernel", "python", "overlay", "paths"
        return {key: value for key, value in asdict(self).items() if key not in private}


def kernel_name(framework: str, device: str) -> str:
    """One environment and one kernel for each device: their packages differ."""
    return framework if device == "cpu" else f"{framework}-{device}"


def folder(kernel: str) -> Path:
    """Where the environment of that kernel is built."""
    return project.home() / "env" / kernel


def read(kernel: str) -> Environment | None:
    """The record of a finished environment; None if there is none, or an older suite's."""
    try:
        table = json.loads(_file(kernel).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if table.pop("schema", None) != SCHEMA:
        return None
    table["differences"] = tuple(Difference(**entry) for entry in table["differences"])
    table["paths"] = tuple(table["paths"])
    return Environment(**table)


def write(environment: Environment) -> None:
    """Declares the environment finished."""
    file = _file(environment.kernel)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"schema": SCHEMA, **asdict(environment)}, indent=1), "utf-8")
    partial.replace(file)


def discard(kernel: str) -> None:
    """From here on it counts as not built."""
    _file(kernel).unlink(missing_ok=True)


def inventory(
    python: Path | str, overlay: str = "", paths: Iterable[str] = ()
) -> tuple[str, dict[str, str]]:
    """Python's version, and all distributions with their versions, as that interpreter sees them.

    Raises:
        EnvironmentFailed: It does not start, or is too old for ``importlib.metadata`` (3.8).
    """
    try:
        done = subprocess.run(
            [python, "-B", "-c", _INVENTORY, *([overlay] if overlay else [])],
            capture_output=True,
            text=True,
            env=clean_environment(paths),
        )
    except OSError as error:
        raise EnvironmentFailed(f"{python} does not start: {error.strerror}") from None
    if done.returncode:
        raise EnvironmentFailed(
            f"{python}: {(done.stderr.strip() or 'no message').splitlines()[-1]}"
        )
    answer = json.loads(done.stdout)
    found = {canonical(name): version for name, version in answer["versions"].items()}
    return answer["python"], found


def clean_environment(paths: Iterable[str] = ()) -> dict[str, str]:
    """This process's variables, with ``paths`` as PYTHONPATH and nothing else about Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    joined = os.pathsep.join(paths)
    return {**kept, "PYTHONPATH": joined} if joined else kept


def digest(versions: dict[str, str]) -> str:
    """sha256 of all names and versions."""
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()


def differences(found: dict[str, str], locked: dict[str, str]) -> tuple[Difference, ...]:
    """What the lock has otherwise or in addition; more than the lock has is no difference."""
    return tuple(
        Difference(name, version, found.get(name, ""))
        for name, version in sorted(locked.items())
        if found.get(name) != version
    )


def _file(kernel: str) -> Path:
    return project.home() / "env" / f"{kernel}.json"
