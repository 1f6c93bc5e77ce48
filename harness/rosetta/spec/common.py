"""A TOML table into a dataclass; what it does not know it refuses, with the nearest known key."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import SpecError


def read_toml(path: Path) -> dict[str, Any]:
    """The table in ``path``.

    Raises:
        SpecError: No such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.parent.name for p in path.parents[1].glob(f"*/{path.name}")))
        raise SpecError(
            f"{path.parent.name!r} is not known: {path.parents[1].name}/ has {known or 'nothing'}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: {error}") from None


T = TypeVar("T")


def table_to(cls: type[T], table: dict[str, Any], where: str) -> T:
    """``cls(**table)`` with every unknown or missing key named.

    Raises:
        SpecError: A key that ``cls`` lacks, or one without default that ``table`` lacks.
    """
    known = [f.name for f in fields(cls)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SpecError(f"{where}: unknown key {key!r}; {hint}")
    for f in fields(cls):
        if f.name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise SpecError(f"{where}: missing key {f.name!r}")
    return cls(**table)
