"""Adopted environments: a cluster's module, a vendor's container, a machine without an index.

An adopted environment stays untouched. What it lacks (ipykernel, for one) is installed into a folder
of ours, the overlay, which stands at the END of `sys.path`: the environment's own packages always
win, and the overlay is resolved under the constraint of the versions that are there. PYTHONPATH
would put it first, so the kernelspec appends it (`kernels`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from ..errors import EnvironmentFailed
from ..spec.framework import Framework
from . import kernels, locks, record, uv
from .exclusive import Say, exclusive
from .locks import canonical
from .record import Environment


def adopt(framework: Framework, device: str, python: Path, say: Say) -> Environment:
    """Makes an existing environment the framework's own.

    Args:
        framework: Whose.
        device: ``cpu`` or ``cuda``.
        python: Its interpreter.
        say: Receives lines of progress.

    Raises:
        EnvironmentFailed: It does not start, lacks the framework, or what it lacks besides cannot
            be installed beside it.
    """
    kernel = record.kernel_name(framework.name, device)
    python = Path(os.path.abspath(python))  # not resolved: a venv's python is a link
    version, found = record.inventory(python)
    ours = {canonical(name) for name in (framework.distribution, *framework.builds)}
    if not ours & found.keys():
        raise EnvironmentFailed(
            f"{python} has no {framework.distribution}; it has {len(found)} other distributions",
            fix=f"install {framework.title} there, or leave out --use {framework.name}=...",
        )
    overlay = record.folder(kernel).with_name(f"{kernel}-overlay")
    with exclusive(record.folder(kernel).with_suffix(".lock"), say) as descriptor:
        record.discard(kernel)
        shutil.rmtree(overlay, ignore_errors=True)
        lacking = [name for name in _names(framework, device) if name not in found.keys() | ours]
        if lacking:
            say(f"lacks {', '.join(lacking)}: installing beside it")
            _fill(overlay, python, lacking, found, say, descriptor)
            version, found = record.inventory(python, str(overlay))
        environment = _environment(framework, device, python, version, found)
        if lacking:
            environment = _with_overlay(environment, overlay)
        _check_kernel(environment)
        record.write(environment)
    kernels.write(framework, environment)
    return environment


def _names(framework: Framework, device: str) -> list[str]:
    requirements = map(Requirement, framework.requires.get(device, ()))
    return [canonical(r.name) for r in requirements if not r.marker or r.marker.evaluate()]


def _fill(
    overlay: Path, python: Path, names: list[str], found: dict[str, str], say: Say, descriptor: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        # A local version ("+cpu", a vendor's) is on no index and needs not be: it is there already.
        pins = (f"{name}=={version}\n" for name, version in found.items() if "+" not in version)
        constraints.write_text("".join(pins), "utf-8")
        where = ["--python", str(python), "--target", str(overlay)]
        options = [*where, "--constraint", str(constraints), "--only-binary", ":all:"]
        uv.run(["pip", "install", *options, *names], say, descriptor)


def _environment(
    framework: Framework, device: str, python: Path, version: str, found: dict[str, str]
) -> Environment:
    """Compared with the lock for its Python, else with the nearest there is."""
    minor = ".".join(version.split(".")[:2])
    known = locks.find(framework.locks, device, locks.platform_tag())
    same = [lock for lock in known if lock.python == minor] or known[-1:]
    lock = same[0] if same else None
    return Environment(
        framework=framework.name,
        device=device,
        kernel=record.kernel_name(framework.name, device),
        python=str(python),
        python_version=version,
        lock=lock.path.name if lock else "",
        lock_digest=record.digest_of(found),
        tested=False,
        adopted=True,
        versions=found,
        differences=record.differences(found, lock.packages if lock else {}),
    )
