"""Decides between real data, a download and the stand-in, and hands over to ``prepare.py``."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import numpy as np

from .. import project
from ..errors import DataError, SpecError
from .definition import MARKER, DatasetSpec, spec
from .download import fetch_all
from .files import Progress
from .workers import prepare_module

STAND_IN = "stand-in"


@dataclass(frozen=True)
class Contents:
    """What a ``prepare.py`` returns: the data, and what its sources were found to be."""

    arrays: dict[str, np.ndarray]
    label: str
    note: str
    digests: dict[str, str] = field(default_factory=dict)  # source file -> sha256
    folders: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """Data ready to be written as canonical inputs.

    ``digest`` is the sha256 over the digests of the source files; for a stand-in, over its recipe.
    """

    name: str
    label: str  # "official" | "unofficial" | "stand-in" | "subset"
    digest: str
    note: str  # one sentence for the tables
    arrays: dict[str, np.ndarray]
    folders: dict[str, Path]


def load(
    name: str,
    options: dict,
    *,
    stand_in: bool,
    download: bool,
    large: bool,
    smoke: bool,
    progress: Progress,
) -> Dataset:
    """Reads the dataset ``name``, or draws its stand-in.

    ``stand_in`` asks for the stand-in outright. Else the data are looked for under
    ``ROSETTA_DATA``, then among earlier downloads, then downloaded if ``download``; else the
    stand-in is drawn.

    Args:
        name: a folder of ``data/``.
        options: settings of that dataset; those not given take the values of ``dataset.toml``.
        stand_in: draw, whatever there is.
        download: fetch what is missing from its publisher.
        large: fetch also above 1 GB.
        smoke: the stand-in's small form.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        DataError: data that are missing where they were said to be, cut off, altered or of another
            shape than their name says; a download that failed.
        SpecError: a dataset or an option that does not exist.
    """
    what = spec(name)
    settings = _settings(what, options)
    work = project.home() / "data" / name
    work.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(work / ".lock"):  # a second process waits instead of drawing twice
        folder = None if stand_in else _source(what)
        if folder is None and not stand_in and _downloads(what, download):
            folder = _official(what)
            fetch_all(what, folder, large=large, progress=progress)
        key = _key(what, settings, folder, smoke)
        module = prepare_module(what.folder / "prepare.py")
        if folder is None:
            drawn = module.stand_in(settings, smoke, work / f"stand-in-{key[:12]}", progress)
            return Dataset(name, STAND_IN, key, drawn.note, drawn.arrays, drawn.folders)
        read = module.read(folder, settings, work / f"prepared-{key[:12]}", progress)
    lines = "".join(f"{file}:{read.digests[file]}\n" for file in sorted(read.digests))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return Dataset(name, read.label, digest, read.note, read.arrays, read.folders)


def recipe(name: str, options: dict, *, stand_in: bool, smoke: bool, download: bool = False) -> str:
    """A cheap key: while it stays the same, ``load`` with these arguments gives the same again.

    It is made of the sources' names, sizes and times (not their content), the bytes of
    ``prepare.py`` and ``dataset.toml``, and the options. Where ``load`` would download first, it
    is the word ``download``: ask again afterwards.

    Raises:
        DataError: ``ROSETTA_DATA`` is set and lacks the dataset.
    """
    what = spec(name)
    settings = _settings(what, options)
    folder = None if stand_in else _source(what)
    if folder is None and not stand_in and _downloads(what, download):
        return "download"
    return _key(what, settings, folder, smoke)


def _settings(what: DatasetSpec, options: dict) -> dict:
    for key, value in options.items():
        if key not in what.options:
            known = ", ".join(what.options) or "none"
            raise SpecError(f"{what.name}: unknown option {key!r}", f"known options: {known}")
        if type(value) is not type(what.options[key]):
            raise SpecError(
                f"{what.name}: expected {key} like {what.options[key]!r}, got {value!r}",
                f"give a {type(what.options[key]).__name__}",
            )
    return what.options | options


def _source(what: DatasetSpec) -> Path | None:
    """The folder of the real data; None where none were promised."""
    root = os.environ.get("ROSETTA_DATA")
    names = (what.name, *what.aliases)
    if root:
        for name in names:
            folder = Path(root).expanduser().resolve() / name
            if folder.is_dir():
                return folder
        raise DataError(
            f"ROSETTA_DATA={root} holds no folder {' or '.join(repr(n) for n in names)}",
            f"put {what.title} there (data/{what.name}/README.md says how), unset ROSETTA_DATA,"
            " or ask for DATA=stand-in",
        )
    official = _official(what)
    wanted = [archive.file for archive in what.archives if archive.download]
    whole = bool(wanted) and all((official / file).is_file() for file in wanted)
    return official if whole else None


def _official(what: DatasetSpec) -> Path:
    return project.home() / "data" / what.name / "official"


def _downloads(what: DatasetSpec, download: bool) -> bool:
    return download and any(archive.download for archive in what.archives)


def _key(what: DatasetSpec, settings: dict, folder: Path | None, smoke: bool) -> str:
    if folder is None:
        parts: list = [STAND_IN, smoke]
    else:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".part")
        stats = [(p.relative_to(folder).as_posix(), p.stat()) for p in files]
        parts = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    recipes = [(what.folder / file).read_bytes() for file in ("prepare.py", MARKER)]
    parts += [settings, [hashlib.sha256(content).hexdigest() for content in recipes]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
