"""Fetches a publisher's file: resumed after a cut, verified, then given its name."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from ..errors import DataError
from .definition import Archive, DatasetSpec
from .files import CHUNK, Progress, digest_of

LARGE = 1_000_000_000  # bytes; above this nothing is fetched unasked
ATTEMPTS = 5  # connections in a row that brought nothing new
TIMEOUT = 60  # seconds without a byte
TYPICAL = 12_500_000  # bytes per second (100 Mbit/s), for the estimate shown beforehand


def fetch_all(spec: DatasetSpec, folder: Path, *, large: bool, progress: Progress) -> None:
    """Puts the files of ``spec`` that are marked ``download`` into ``folder``.

    Raises:
        DataError: over 1 GB without ``large``; a file that its publisher gives no address for; too
            little room; no connection; a digest that does not match.
    """
    missing = [a for a in spec.archives if a.download and not (folder / a.file).is_file()]
    total = sum(archive.bytes for archive in missing)
    offline = [archive.file for archive in missing if not archive.url]
    if total > LARGE and not large:
        raise DataError(
            f"{spec.name}: {spec.title} is {_size(total)}, {_time(total)}; nothing above 1 GB is"
            " downloaded unasked",
            f"rosetta prepare {spec.name} (or DOWNLOAD=1); ROSETTA_DATA=<folder that has it>;"
            " or DATA=stand-in",
        )
    if offline:
        raise DataError(
            f"{spec.name}: {', '.join(offline)} cannot be downloaded: {spec.homepage} gives no"
            " direct address",
            f"save it from there into {folder}, then repeat the command",
        )
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DataError(
            f"{folder}: {spec.name} needs {_size(total)}, there is room for {_size(free)}",
            "make room, or set ROSETTA_HOME to another disk",
        )
    progress(f"downloading {spec.name}: {_size(total)}, {_time(total)}", 0, total)
    for archive in missing:
        fetch(archive, folder, progress)


def fetch(archive: Archive, folder: Path, progress: Progress) -> Path:
    """One file. A part left by an earlier call is continued with a ``Range`` request.

    Returns:
        Its path in ``folder``; it has that name only once it is whole and verified.

    Raises:
        DataError: no connection, or the digest does not match (the part is then deleted).
    """
    part = folder / f"{archive.file}.part"
    failures = 0
    while _held(part) < archive.bytes:
        before, reason = _held(part), "the connection was closed early"
        try:
            _receive(archive, part, progress)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = str(error)
        if _held(part) < archive.bytes:
            failures = failures + 1 if _held(part) <= before else 0
        if failures == ATTEMPTS:
            raise DataError(
                f"{archive.url}: {reason} ({_held(part)} of {archive.bytes} bytes are kept)",
                "repeat the command to go on from there; or put the file under ROSETTA_DATA; or"
                " DATA=stand-in",
            )
    _verify(archive, part, progress)
    os.replace(part, folder / archive.file)
    return folder / archive.file


def _receive(archive: Archive, part: Path, progress: Progress) -> None:
    start = _held(part)
    request = urllib.request.Request(archive.url, headers={"User-Agent": "rosetta"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        resumed = response.status == 206
        done = start if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while done <= archive.bytes and (block := response.read(CHUNK)):
                file.write(block)
                done += len(block)
                progress(f"downloading {archive.file}", done, archive.bytes)


def _verify(archive: Archive, part: Path, progress: Progress) -> None:
    algorithm = "sha256" if archive.sha256 else "md5"
    expected = getattr(archive, algorithm)
    found = digest_of(part, algorithm, progress)
    if _held(part) == archive.bytes and (found == expected or not expected):
        return
    size = _held(part)
    part.unlink()
    raise DataError(
        f"{archive.url}: expected {archive.bytes} bytes with {algorithm} {expected}, got {size}"
        f" with {found}; the file was deleted",
        "repeat the command; if it happens again, the publisher's file is no longer the one known",
    )


def _held(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= LARGE else f"{count / 1e6:.0f} MB"


def _time(count: int) -> str:
    minutes = count / TYPICAL / 60
    return f"about {max(1, round(minutes))} min at 100 Mbit/s"
