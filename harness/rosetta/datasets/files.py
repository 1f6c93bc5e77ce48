"""Digests of files, what a digest has to be, and writing that a kill cannot leave half done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import DataError
from .definition import Known

CHUNK = 1 << 20  # bytes
Progress = Callable[[str, int, int], None]  # what, done, total
SILENT_BELOW = 100_000_000  # bytes; hashing less takes under a second


def quiet(what: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


def digest_of(path: Path, algorithm: str = "sha256", progress: Progress = quiet) -> str:
    """Hex digest of a file's bytes."""
    size, done = path.stat().st_size, 0
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
            done += len(block)
            if size > SILENT_BELOW:
                progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def md5_of(content: bytes) -> str:
    """The digest that CIFAR and NIH publish; against accidents, not against attackers."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_known(path: Path, known: Known | None, progress: Progress = quiet) -> bool:
    """Whether ``path`` is the official file.

    A file with the official name and size but another digest is damaged and refused. Another size
    is another file: the caller checks its content and labels it ``unofficial``.

    Returns:
        True if its published digest matches, False if it is another file or none is published.

    Raises:
        DataError: right size, wrong digest.
    """
    if known is None or path.stat().st_size != known.bytes or not (known.sha256 or known.md5):
        return False
    algorithm = "sha256" if known.sha256 else "md5"
    expected, found = getattr(known, algorithm), digest_of(path, algorithm, progress)
    if found != expected:
        raise DataError(
            f"{path} is damaged: expected {algorithm} {expected}, found {found}",
            "delete it and fetch it again from its publisher",
        )
    return True


def describe(known: Known | None, found: str) -> str:
    """The digests a refusal of a damaged file names: ``expected ..., found ...``."""
    if known is None:
        return f"no digest is published for it, found sha256 {found}"
    if known.sha256 or known.md5:
        published = f"sha256 {known.sha256}" if known.sha256 else f"md5 {known.md5}"
        return f"expected {known.bytes} bytes with {published}, found sha256 {found}"
    return f"expected {known.bytes} bytes, found sha256 {found}"


def write_atomically(path: Path, content: bytes) -> None:
    """The file is there whole or not at all, whoever is killed and whoever else writes it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)
