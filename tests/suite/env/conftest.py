"""A made-up framework of one small pure-Python package, for tests that install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rosetta import project
from rosetta.env import interpreters, locks
from rosetta.spec import framework as frameworks
from rosetta.spec.framework import Framework

TOML = """
schema = 1
name = "{name}"
title = "Tiny"
distribution = "six"
imports = ["six"]
python = "{python}"
requires = {{ cpu = ["six==1.17.0"] }}
[environment]
TINY_BACKEND = "numpy"
[variants.plain]
class = "default"
note = "as it comes"
[[not_offered]]
device = "cuda"
reason = "it is made up"
"""
SIX = """# tested
six==1.17.0 \\
    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
"""
WRONG = SIX.replace("4721f391", "00000000")

Make = Callable[..., Framework]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that is made at run time goes here."""
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes framework.toml and one lock file; makes them the only frameworks there are."""
    monkeypatch.setattr(project, "NOTEBOOKS", tmp_path / "notebooks")

    def write(name: str = "tiny", lock: str = SIX, python: str = interpreters.running()):
        folder = tmp_path / "notebooks" / name
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        text = TOML.format(name=name, python=f"=={python}.*")
        (folder / "framework.toml").write_text(text)
        tag = locks.platform_tag()
        (folder / "locks" / locks.file_name("cpu", tag, python)).write_text(lock)
        return frameworks.load(name)

    return write
