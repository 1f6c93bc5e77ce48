"""Tar archives, read as a stream: nothing is unpacked, so nothing can leave a folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import DataError
from .definition import Known
from .files import CHUNK, describe, digest_of

LARGEST = 64 << 20  # bytes of one member; the largest that any dataset here holds is 31 MB
OPENERS = {b"\x1f\x8b": gzip.open, b"\xfd7": lzma.open, b"BZ": bz2.open}


def members(path: Path, known: Known | None = None) -> Iterator[tuple[str, bytes]]:
    """The regular files of a tar archive, compressed or not, in its order.

    The archive is read to its end, past the last member, so that the checksum of its compression
    is verified too.

    Args:
        path: ``.tar``, ``.tar.gz``, ``.tar.xz`` or ``.tar.bz2``; told by content, not by name.
        known: what the official archive is known to be, for the text of a refusal.

    Yields:
        Name as stored (POSIX, relative) and content.

    Raises:
        DataError: cut off or damaged; a member that points outside, is a link or a device, or is
            larger than 64 MiB.
    """
    try:
        with _decompressed(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if _is_file(path, member):
                        file = tar.extractfile(member)
                        content = file.read() if file else b""
                        yield member.name, content
            while stream.read(CHUNK):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path} is cut off or damaged ({error}): {describe(known, digest_of(path))}",
            "delete it and fetch it again from its publisher",
        ) from None


def _decompressed(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        magic = file.read(2)
    return OPENERS.get(magic, open)(path, "rb")


def _is_file(path: Path, member: tarfile.TarInfo) -> bool:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise DataError(
            f"{path}: member {member.name!r} points outside the archive's folder",
            "do not use this archive; take the publisher's",
        )
    if member.isdir():
        return False
    if not member.isreg():
        raise DataError(
            f"{path}: member {member.name!r} is a link or a device, expected files only",
            "pack the files themselves",
        )
    if member.size > LARGEST:
        raise DataError(
            f"{path}: member {member.name!r} has {member.size} bytes, expected at most {LARGEST}",
            "do not use this archive; take the publisher's",
        )
    return True
