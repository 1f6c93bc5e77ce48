"""notebooks/<framework>/framework.toml: who is measured, in what environment, in which variants."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from .. import project
from ..errors import SpecError
from .common import read_toml, table_to

DEVICES = ("cpu", "cuda")
CATEGORIES = ("default", "tuned")
PRECISIONS = ("fp32", "tf32", "bf16")  # of products; what is kept in memory is float32


@dataclass(frozen=True)
class Variant:
    """Documented switches of one framework; its notebooks read the variant's name from the job."""

    name: str
    category: str  # `class` in the file: "default" as the documentation begins, or "tuned"
    note: str
    workloads: tuple[str, ...] = ()  # none: all that the framework offers
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NotOffered:
    """What this framework does not do here, and why; an empty field stands for all."""

    reason: str
    workload: str = ""
    device: str = ""
    profile: str = ""
    precision: str = ""

    def covers(self, **asked: str | None) -> bool:
        return all(getattr(self, field) in ("", value) for field, value in asked.items())


@dataclass(frozen=True)
class Framework:
    """One folder of ``notebooks/``."""

    schema: int
    name: str
    title: str
    distribution: str  # whose version the tables show
    python: str  # accepted interpreters, as in ">=3.11,<3.14"
    requires: dict[str, tuple[str, ...]]  # by device: what the locks are compiled from
    variants: dict[str, Variant]
    imports: tuple[str, ...] = ()  # modules without which the environment is not ready
    precisions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by device; else fp32
    builds: tuple[str, ...] = ()  # other distributions that are this framework, for other devices
    torch_backend: bool = False  # CPU wheels for Linux lie outside the package index
    environment: dict[str, str] = field(default_factory=dict)  # of every kernel
    not_offered: tuple[NotOffered, ...] = ()
    judge: str = ""  # the variant whose float64 parity jobs, on the CPU, judge every framework
    source: str = ""  # the folder of this checkout that holds the framework itself

    @property
    def folder(self) -> Path:
        return project.NOTEBOOKS / self.name

    @property
    def locks(self) -> Path:
        return self.folder / "locks"

    @property
    def default(self) -> Variant:
        return next(v for v in self.variants.values() if v.category == "default")

    def version(self, versions: dict[str, str]) -> str:
        """Which version of it is among an environment's distributions; empty: none."""
        builds = self.distribution, *self.builds
        return next((versions[name] for name in builds if name in versions), "")

    def accepts(self, python: str) -> bool:
        """Whether an interpreter of version ``python`` ("3.11") will do."""
        return SpecifierSet(self.python).contains(python)

    def refusal(
        self,
        workload: str | None = None,
        device: str | None = None,
        profile: str | None = None,
        precision: str | None = None,
    ) -> str:
        """Why this is not offered; empty if it is. ``None`` asks about no particular one."""
        offered = self.precisions.get(device or "", ("fp32",))
        if device and precision and precision not in offered:
            return f"its notebooks do not compute in {precision} on {device}"
        asked = {"workload": workload, "device": device}
        asked |= {"profile": profile, "precision": precision}
        return next((entry.reason for entry in self.not_offered if entry.covers(**asked)), "")

    def variants_of(self, workload: str) -> list[Variant]:
        """The variants in which this framework does a workload, in the file's order."""
        return [v for v in self.variants.values() if not v.workloads or workload in v.workloads]


def names() -> list[str]:
    """The frameworks there are."""
    return project.names(project.NOTEBOOKS, "framework.toml")


def load(name: str) -> Framework:
    """Reads a framework.

    Raises:
        SpecError: It is unknown, or its file says something else than it may.
    """
    table = read_toml(project.NOTEBOOKS / name / "framework.toml")
    where = f"notebooks/{name}/framework.toml"
    if table.get("name") != name:
        raise SpecError(f"{where}: name is {table.get('name')!r}, its folder is called {name!r}")
    table["variants"] = {
        key: _variant(key, dict(entry), f"{where} [variants.{key}]")
        for key, entry in table.get("variants", {}).items()
    }
    table["not_offered"] = tuple(
        table_to(NotOffered, entry, f"{where} [[not_offered]]")
        for entry in table.get("not_offered", [])
    )
    for name_of in ("requires", "precisions"):
        table[name_of] = {key: tuple(value) for key, value in table.get(name_of, {}).items()}
    table["builds"] = tuple(table.get("builds", []))
    table["imports"] = tuple(table.get("imports", []))
    framework = table_to(Framework, table, where)
    _check(framework, where)
    return framework


def _variant(name: str, entry: dict[str, Any], where: str) -> Variant:
    category = entry.pop("class", None)
    if category not in CATEGORIES:
        raise SpecError(f"{where}: class is {category!r}; known: {', '.join(CATEGORIES)}")
    if "workloads" in entry:
        entry["workloads"] = tuple(entry["workloads"])
    return table_to(Variant, {"name": name, "category": category, **entry}, where)


def _check(framework: Framework, where: str) -> None:
    if framework.schema != 1:
        raise SpecError(f"{where}: schema is {framework.schema!r}; this suite reads 1")
    refused = (entry.device for entry in framework.not_offered if entry.device)
    for device in [*framework.requires, *framework.precisions, *refused]:
        if device not in DEVICES:
            raise SpecError(f"{where}: device {device!r}; known: {', '.join(DEVICES)}")
    for precision in (one for each in framework.precisions.values() for one in each):
        if precision not in PRECISIONS:
            raise SpecError(f"{where}: precision {precision!r}; known: {', '.join(PRECISIONS)}")
    defaults = [v.name for v in framework.variants.values() if v.category == "default"]
    if len(defaults) != 1:
        raise SpecError(
            f"{where}: one variant is the default, here {len(defaults)}: {', '.join(defaults)}"
        )
    try:
        SpecifierSet(framework.python)
    except InvalidSpecifier:
        raise SpecError(
            f"{where}: python is {framework.python!r}, not a version specifier",
            fix='write it as in ">=3.11,<3.14"',
        ) from None
