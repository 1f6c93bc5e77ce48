"""Lock files: requirements with versions and hashes, one for each device, platform and Python."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_NAME = re.compile(r".+-py(\d)(\d+)\.txt$")
_PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    """One lock file, ``<device>-<platform>-py<XY>.txt``."""

    path: Path
    python: str  # "3.11"

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @property
    def digest(self) -> str:
        """sha256 of what is installed: a changed comment is not a changed environment."""
        lines = [line for line in self.text.splitlines() if not line.startswith("#")]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def tested(self) -> bool:
        """Whether its first line says that it was built and tested."""
        return self.text.partition("\n")[0].strip() == "# tested"

    @property
    def packages(self) -> dict[str, str]:
        """Name to version."""
        return {canonical(name): version for name, version in _PINNED.findall(self.text)}

    def block(self, name: str) -> str:
        """The lines of one package."""
        found = re.search(rf"^{re.escape(name)}==.*\n(?:[ \t].*\n)*", self.text, re.MULTILINE)
        return found[0] if found else ""


def canonical(name: str) -> str:
    """One spelling for a distribution's name, as the package index has it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def file_name(kind: str, platform_tag: str, python: str) -> str:
    """Of the lock for ``kind`` (a device, ``rosetta`` or ``dev``)."""
    return f"{kind}-{platform_tag}-py{python.replace('.', '')}.txt"


def platform_tag() -> str:
    """This machine's, as lock files have it: ``linux-x86_64``, ``macos-arm64``."""
    system = platform.system().lower().replace("darwin", "macos")
    return f"{system}-{platform.machine().lower()}"


def find(folder: Path, kind: str, platform_tag: str) -> list[Lock]:
    """The locks in ``folder`` for ``kind`` on a platform, oldest Python first."""
    found = []
    for path in folder.glob(f"{kind}-{platform_tag}-py*.txt"):
        if match := _NAME.match(path.name):
            found.append(Lock(path, f"{match[1]}.{match[2]}"))
    return sorted(found, key=lambda lock: minor(lock.python))


def minor(python: str) -> tuple[int, ...]:
    """``"3.11"`` as numbers, which sort."""
    return tuple(int(part) for part in python.split("."))
