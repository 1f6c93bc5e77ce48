"""Makes the lock files again. For maintainers; it needs the package index.

    .rosetta/env/rosetta/bin/python harness/make_locks.py [NAME...]

NAME is a framework, `rosetta` or `dev`; none means all. Change the versions in
`notebooks/<framework>/framework.toml`, `harness/pyproject.toml` or `harness/locks/dev.in`, run
this, build what can be built here with `make setup` and `make test`, and only then add to TESTED
what was. A combination that does not resolve gets no lock, and says so here: on such a platform
the framework is a row with the reason.

The CPU wheels of torch lie outside the package index; their digests are in
`locks/torch-cpu.sha256`. Such a lock is compiled for the index's own torch, whose CUDA packages are
then left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rosetta.env import locks, uv
from rosetta.project import HARNESS
from rosetta.spec import framework as frameworks

PLATFORMS = {  # ours -> uv's
    "linux-x86_64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "macos-arm64": "aarch64-apple-darwin",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TESTED = {("cpu", "linux-x86_64", "3.11")}
CUDA_ONLY = re.compile(r"nvidia-|cuda-|triton")


@dataclass(frozen=True)
class Wanted:
    """One lock file to be."""

    path: Path
    requires: tuple[str, ...]
    device: str
    platform: str
    python: str
    torch_backend: bool


def wanted(names: list[str]) -> Iterator[Wanted]:
    """All lock files of ``names``, whether they resolve or not."""
    for platform in PLATFORMS:
        for python in PYTHONS:
            for name in set(names) & {"rosetta", "dev"}:
                path = HARNESS / "locks" / locks.file_name(name, platform, python)
                yield Wanted(path, own_requirements(name), "cpu", platform, python, True)
    for name in [n for n in frameworks.names() if n in names]:
        framework = frameworks.load(name)
        for device, requires in framework.requires.items():
            for platform in PLATFORMS if device == "cpu" else ["linux-x86_64"]:
                for python in filter(framework.accepts, PYTHONS):
                    path = framework.locks / locks.file_name(device, platform, python)
                    backend = framework.torch_backend and device == "cpu"
                    yield Wanted(path, requires, device, platform, python, backend)


def own_requirements(name: str) -> tuple[str, ...]:
    """What the orchestrating environment needs, and what `dev` adds."""
    table = tomllib.loads((HARNESS / "pyproject.toml").read_text("utf-8"))
    more = (HARNESS / "locks" / "dev.in").read_text("utf-8").splitlines() if name == "dev" else []
    return tuple(table["project"]["dependencies"] + more)


def compiled(lock: Wanted) -> str:
    """The requirements with versions and hashes.

    Raises:
        subprocess.CalledProcessError: They do not resolve; ``stderr`` says why.
    """
    options = ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", "--no-config"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:"]
    options += ["--python-version", lock.python, "--python-platform", PLATFORMS[lock.platform]]
    return subprocess.run(
        [*uv.command("pip", "compile"), *options, "-"],
        input="\n".join(lock.requires),
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def with_cpu_torch(text: str, lock: Wanted) -> str:
    """``text`` with torch's CPU wheel in place of the index's, and without the CUDA packages."""
    blocks = re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.MULTILINE)
    return "".join(
        cpu_wheel(block, lock) if block.startswith("torch==") else block
        for block in blocks
        if not CUDA_ONLY.match(block)
    )


def cpu_wheel(block: str, lock: Wanted) -> str:
    version = block.split()[0].removeprefix("torch==")
    tag = "cp" + lock.python.replace(".", "")
    ending = f"{tag}-{tag}-{PLATFORMS[lock.platform].partition('-')[2]}_{lock.platform[6:]}.whl"
    for line in (HARNESS / "locks" / "torch-cpu.sha256").read_text("utf-8").splitlines():
        digest, _, wheel = line.partition("  ")
        if wheel == f"torch-{version}+cpu-{ending}":
            return f"torch=={version}+cpu \\\n    --hash=sha256:{digest}\n"
    raise SystemExit(f"locks/torch-cpu.sha256 has no torch-{version}+cpu-{ending}: add its digest")


def header(lock: Wanted) -> str:
    if (lock.device, lock.platform, lock.python) in TESTED:
        state = "tested"
    elif lock.device == "cuda":
        state = "untested: no GPU was at hand"
    else:
        state = "untested: resolved, never installed"
    return f"# {state}\n# {lock.path.stem}, made by harness/make_locks.py\n"


def main() -> None:
    known = [*frameworks.names(), "rosetta", "dev"]
    names = sys.argv[1:] or known
    if unknown := set(names) - set(known):
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    for lock in wanted(names):
        label = "/".join(lock.path.parts[-3:])
        try:
            text = compiled(lock)
        except subprocess.CalledProcessError as error:
            lock.path.unlink(missing_ok=True)
            print(f"{label}: no lock: {uv.last_lines(error.stderr)}")
            continue
        if lock.torch_backend and lock.platform.startswith("linux"):
            text = with_cpu_torch(text, lock)
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        lock.path.write_text(header(lock) + text, "utf-8")
        print(f"{label}: {text.count('==')} packages")


if __name__ == "__main__":
    main()
