"""Reads ``data/<name>/dataset.toml`` into frozen dataclasses; refuses what it does not know."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from .. import project
from ..errors import SpecError

MARKER = "dataset.toml"


@dataclass(frozen=True)
class Known:
    """The publisher's file: its size in bytes and its hex digests, "" where none is known."""

    bytes: int
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Archive(Known):
    """One published file and where it comes from.

    ``url`` is empty where the publisher gives no direct address; ``download = false`` marks a
    second form of the same data, which is recognised but not fetched.
    """

    file: str = field(kw_only=True)
    url: str = ""
    download: bool = True


@dataclass(frozen=True)
class DatasetSpec:
    """One ``dataset.toml``."""

    schema: int
    name: str
    title: str
    licence: str
    citation: str
    homepage: str
    stand_in: str  # what the stand-in shows, one sentence
    shapes: dict[str, list]  # array -> dtype, then the shape of one sample
    folder: Path
    aliases: tuple[str, ...] = ()
    options: dict = field(default_factory=dict)  # name -> default
    archives: tuple[Archive, ...] = ()
    files: dict[str, Known] = field(default_factory=dict)  # unpacked official files

    def known(self, name: str) -> Known | None:
        """What is known of the official file ``name``, packed or unpacked; None if nothing is."""
        packed = {archive.file: archive for archive in self.archives}
        return packed.get(name) or self.files.get(name)


def spec(name: str) -> DatasetSpec:
    """The definition of the dataset ``name``.

    Raises:
        SpecError: no such dataset, or a key that is unknown or missing.
    """
    path = project.DATA / name / MARKER
    if not path.is_file():
        known = project.names(project.DATA, MARKER)
        raise SpecError(
            f"expected the name of a dataset, got {name!r}", f"one of: {', '.join(known)}"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}", "mend that line") from None
    archives = tuple(
        _build(Archive, row, f"{path} [[archives]]") for row in table.pop("archives", [])
    )
    files = {
        file: _build(Known, row, f"{path} [files]") for file, row in table.pop("files", {}).items()
    }
    table |= {"archives": archives, "files": files, "aliases": tuple(table.get("aliases", ()))}
    found = _build(DatasetSpec, table | {"folder": path.parent}, str(path))
    if found.name != name or found.schema != 1:
        raise SpecError(
            f"{path}: expected name {name!r} and schema 1, got {found.name!r} and {found.schema!r}",
            "name the folder as the dataset",
        )
    return found


def _build(kind: type, table: dict, where: str):
    names = [f.name for f in fields(kind)]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            raise SpecError(
                f"{where}: unknown key {key!r}",
                f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(names)}",
            )
    for f in fields(kind):
        if f.name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise SpecError(f"{where}: missing key {f.name!r}", f"add {f.name} = ...")
    return kind(**table)
