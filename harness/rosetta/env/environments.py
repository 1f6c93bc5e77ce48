"""Builds, finds and repairs the environments of frameworks."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

from .. import project
from ..errors import EnvironmentFailed
from ..progress import console
from ..spec.framework import Framework
from . import imports, interpreters, kernels, locks, record, uv
from .adopt import adopt
from .exclusive import Say, exclusive
from .locks import Lock
from .orchestrating import python_in
from .record import Environment
from .telling import telling


class NotInstallable(EnvironmentFailed):
    """Not offered on this device, no lock for this platform, no interpreter: a row, no failure."""


def status(framework: Framework, device: str) -> Environment | None:
    """The environment if it is ready and matches its lock; builds nothing."""
    environment = record.read(record.kernel_name(framework.name, device))
    if environment is None or not Path(environment.python).exists():
        return None
    if environment.adopted:
        return environment
    lock = framework.locks / environment.lock
    current = lock.exists() and Lock(lock, "").digest == environment.lock_digest
    return environment if current else None


def ensure(framework: Framework, device: str, say: Say) -> Environment:
    """The framework's environment, built or repaired first if need be.

    Args:
        framework: Whose.
        device: ``cpu`` or ``cuda``.
        say: Receives lines of progress.

    Raises:
        NotInstallable: It cannot be had on this machine; the message is the reason.
        EnvironmentFailed: It could be had, but the installation failed; the message is the reason.
    """
    kernel = record.kernel_name(framework.name, device)
    environment = status(framework, device)
    if environment is None:
        with exclusive(record.folder(kernel).with_suffix(".lock"), say) as descriptor:
            environment = status(framework, device)  # the one we waited for may have built it
            if environment is None:
                environment = _build(framework, device, say, descriptor)
    kernels.write(framework, environment)
    return environment


def outcome(framework: Framework, device: str, foreign: Path | None = None) -> Environment | str:
    """``ensure`` with its progress on the terminal; a failure as "state: reason".

    Args:
        framework: Whose.
        device: ``cpu`` or ``cuda``.
        foreign: The interpreter of an environment to adopt instead of building one.
    """
    began = time.monotonic()
    known = status(framework, device)
    try:
        with telling(framework.title) as say:
            if foreign:
                return adopt(framework, device, foreign, say)
            environment = ensure(framework, device, say)
    except NotInstallable as error:
        return f"not installable: {_sentence(error)}"
    except EnvironmentFailed as error:
        return f"failed: {_sentence(error)}"
    if known is None:
        console.print(f"{framework.title}: ready after {time.monotonic() - began:.0f} s")
    return environment


def _sentence(error: EnvironmentFailed) -> str:
    return str(error).replace("\n  Fix: ", "; ")


def forget(framework: Framework, device: str) -> None:
    """The next ``ensure`` builds it anew, from its lock."""
    record.discard(record.kernel_name(framework.name, device))


def choose(framework: Framework, device: str) -> tuple[Lock, Path]:
    """The lock to install, and the interpreter to install it for.

    Raises:
        NotInstallable: There is none for this device, platform or Python.
    """
    if reason := framework.refusal(device=device):
        raise NotInstallable(f"not offered on {device}: {reason}")
    tag = locks.platform_tag()
    known = locks.find(framework.locks, device, tag)
    accepted = SpecifierSet(framework.python)
    fitting = [lock for lock in known if accepted.contains(lock.python)]
    if not fitting:
        raise NotInstallable(f"has no lock file for {device} on {tag}")
    for lock in sorted(fitting, key=_preference):
        if interpreter := interpreters.find(lock.python):
            return lock, interpreter
    wanted = " or ".join(lock.python for lock in fitting)
    raise NotInstallable(
        f"needs Python {wanted}; none was found on PATH, in pyenv or in uv",
        fix=f"install Python {fitting[-1].python}, or `rosetta setup --use "
        f"{framework.name}=PATH/TO/python` to adopt an environment that has {framework.title}",
    )


def _preference(lock: Lock) -> tuple[bool, bool, tuple[int, ...]]:
    newest_first = tuple(-part for part in locks.minor(lock.python))
    return not lock.tested, lock.python != interpreters.running(), newest_first


def _build(framework: Framework, device: str, say: Say, descriptor: int) -> Environment:
    lock, interpreter = choose(framework, device)
    kernel = record.kernel_name(framework.name, device)
    record.discard(kernel)
    kernels.remove(kernel)
    tested = "" if lock.tested else ", untested"
    say(f"installing {len(lock.packages)} packages for Python {lock.python} ({device}{tested})")
    folder = record.folder(kernel)
    make(folder, lock, interpreter, say, descriptor)
    if framework.source:
        link(folder, lock, project.ROOT / framework.source)
    say("importing it once")
    imports.check(framework, python_in(folder))
    python_version, versions = record.inventory(python_in(folder))
    environment = Environment(
        framework=framework.name,
        device=device,
        kernel=kernel,
        python=str(python_in(folder)),
        python_version=python_version,
        lock=lock.path.name,
        lock_digest=lock.digest,
        tested=lock.tested,
        versions=versions,
        differences=record.differences(versions, lock.packages),
    )
    record.write(environment)
    return environment


def link(folder: Path, lock: Lock, source: Path) -> None:
    """Puts a distribution of this checkout into an environment, as an editable install would.

    No build tool is needed: a path to its folder, and the metadata that give its version.
    """
    about = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    packages = folder / "lib" / f"python{lock.python}" / "site-packages"
    (packages / f"{about['name']}.pth").write_text(f"{source}\n", "utf-8")
    metadata = packages / f"{about['name']}-{about['version']}.dist-info"
    metadata.mkdir()
    text = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    (metadata / "METADATA").write_text(text, "utf-8")


def make(folder: Path, lock: Lock, interpreter: Path, say: Say, descriptor: int) -> None:
    """A new virtual environment in ``folder`` with exactly what ``lock`` lists.

    Raises:
        EnvironmentFailed: uv failed.
    """
    venv = ["venv", "--clear", "--no-project", "--python", str(interpreter), str(folder)]
    uv.run(venv, say, descriptor)
    uv.install(folder, lock.path, say, descriptor)
