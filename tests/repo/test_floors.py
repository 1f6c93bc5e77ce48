"""Who may import whom: a module imports lower floors only, so every change has one direction."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = {
    "rosetta": [
        {"errors", "project", "probe"},
        {"spec", "schema", "row", "progress"},
        {"datasets", "env", "machine", "store", "weights"},
        {"inputs", "stats"},
        {"roofline"},
        {"agreement", "measured", "references"},
        {"judge"},
        {"rows"},
        {"runner", "report"},
        {"commands"},
        {"cli"},
        {"__main__"},
    ],
    "trivet": [
        {"errors"},
        {"geometry", "spec", "dtypes", "config", "rng", "folders"},
        {"registry", "device", "lib"},
        {"simd"},
        {"reference", "onednn", "native", "tuning"},
        {"launch"},
        {"tape"},
        {"ops"},
        {"nn", "optim"},
        {"graph", "loader"},
        {"zoo", "formats", "explain"},
    ],
}
OTHER_DISTRIBUTION = {"rosetta": "trivet", "trivet": "rosetta"}


def modules(package):
    folder = ROOT / {"rosetta": "harness", "trivet": "engine"}[package] / package
    return [path for path in sorted(folder.rglob("*.py")) if path != folder / "__init__.py"]


def part(package, path):
    """The module or folder right below the package that a file belongs to."""
    folder = ROOT / {"rosetta": "harness", "trivet": "engine"}[package] / package
    return path.relative_to(folder).with_suffix("").parts[0]


def imported(package, path):
    """Every absolute name a file imports, relative imports resolved."""
    folder = ROOT / {"rosetta": "harness", "trivet": "engine"}[package]
    here = list(path.relative_to(folder).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


FILES = [(package, path) for package in FLOORS for path in modules(package)]


@pytest.mark.parametrize("package, path", FILES, ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_a_module_imports_only_lower_floors(package, path):
    floor = {name: n for n, names in enumerate(FLOORS[package]) for name in names}
    own = part(package, path)
    assert own in floor, f"{own} stands on no floor: add it to FLOORS"
    for name in imported(package, path):
        if not name.startswith(f"{package}."):
            continue
        other = name.split(".")[1]
        assert other == own or floor[other] < floor[own], f"{own} imports {other}"


@pytest.mark.parametrize("package", ["rosetta", "trivet"])
def test_neither_distribution_imports_the_other(package):
    for path in modules(package):
        names = {name.split(".")[0] for name in imported(package, path)}
        assert OTHER_DISTRIBUTION[package] not in names, path


@pytest.mark.parametrize("path", sorted((ROOT / "harness/rosetta/probe").glob("*.py")), ids=str)
def test_the_probe_needs_the_standard_library_and_numpy_only(path):
    known = {"numpy", "rosetta"} | set(__import__("sys").stdlib_module_names)
    assert {name.split(".")[0] for name in imported("rosetta", path)} <= known
