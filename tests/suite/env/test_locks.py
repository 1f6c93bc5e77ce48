"""The committed lock files: exact, hashed, without addresses, and in step with what they lock."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rosetta import project
from rosetta.env import locks
from rosetta.env.locks import Lock
from rosetta.spec import framework as frameworks

ALL = sorted([*project.NOTEBOOKS.glob("*/locks/*.txt"), *project.HARNESS.glob("locks/*.txt")])
PINNED = r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^\s;]+( ;[^\\]+)? \\"
LINE = re.compile(rf"#.*|{PINNED}|    --hash=sha256:\w{{64}}( \\)?")


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_lock_holds_versions_and_hashes_and_nothing_else(path: Path):
    lines = path.read_text().splitlines()
    assert lines[0] == "# tested" or lines[0].startswith("# untested: ")
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert "://" not in path.read_text()


@pytest.mark.parametrize("name", frameworks.names())
def test_locks_have_the_versions_that_framework_toml_requires(name: str):
    framework = frameworks.load(name)
    for path in framework.locks.glob("*.txt"):
        packages = Lock(path, "").packages
        for text in framework.requires[path.name.partition("-")[0]]:
            requirement = Requirement(text)
            if not requirement.marker:
                name = requirement.name.replace("_", "-").lower()
                assert packages[name].partition("+")[0] in requirement.specifier


@pytest.mark.parametrize("name", frameworks.names())
def test_every_framework_has_a_tested_lock_for_linux(name: str):
    found = locks.find(frameworks.load(name).locks, "cpu", "linux-x86_64")
    assert any(lock.tested for lock in found)


def test_the_cpu_lock_of_torch_pulls_no_cuda():
    for lock in locks.find(frameworks.load("pytorch").locks, "cpu", "linux-x86_64"):
        assert lock.packages["torch"].endswith("+cpu")
        assert not [n for n in lock.packages if re.match(r"nvidia|cuda|triton", n)]


def test_a_changed_comment_is_not_a_changed_lock(tmp_path: Path):
    one, two = tmp_path / "cpu-x-py311.txt", tmp_path / "cpu-y-py311.txt"
    one.write_text("# tested\nsix==1.0 \\\n    --hash=sha256:00\n")
    two.write_text("# untested: why\nsix==1.0 \\\n    --hash=sha256:00\n")
    assert Lock(one, "3.11").digest == Lock(two, "3.11").digest
    assert Lock(one, "3.11").tested and not Lock(two, "3.11").tested


def test_locks_are_ordered_by_python_not_by_letter(tmp_path: Path):
    for python in ("311", "39", "310"):
        (tmp_path / f"cpu-linux-x86_64-py{python}.txt").write_text("# tested\n")
    found = locks.find(tmp_path, "cpu", "linux-x86_64")
    assert [lock.python for lock in found] == ["3.9", "3.10", "3.11"]
