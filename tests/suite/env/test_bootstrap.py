"""harness/bootstrap.py: nothing but a Python is needed, and an old one is told so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rosetta import project
from rosetta.env import interpreters, orchestrating
from rosetta.errors import EnvironmentFailed

BOOTSTRAP = project.HARNESS / "bootstrap.py"


@pytest.mark.parametrize("python", ["3.6", "3.8", "3.10"])
def test_an_old_python_is_refused_with_the_fix(python: str):
    interpreter = interpreters.find(python)
    if interpreter is None:
        pytest.skip(f"no Python {python} here")
    done = subprocess.run([interpreter, BOOTSTRAP], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"needs Python 3.11 or later; {interpreter} is Python {python}\n" in done.stderr
    assert "Fix: make PYTHON=python3.11" in done.stderr


def test_an_unknown_argument_is_named():
    done = subprocess.run([sys.executable, BOOTSTRAP, "prod"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "takes `dev` or nothing, not 'prod'" in done.stderr


def test_a_python_without_a_lock_is_told_which_have_one(tmp_path: Path, monkeypatch):
    (tmp_path / "locks").mkdir()
    tag = orchestrating.locks.platform_tag()
    (tmp_path / "locks" / f"rosetta-{tag}-py310.txt").write_text("# tested\n")
    monkeypatch.setattr(project, "HARNESS", tmp_path)
    with pytest.raises(EnvironmentFailed, match=r"Python 3.10\n  Fix: make PYTHON=python3"):
        orchestrating.own_lock("rosetta")


@pytest.mark.slow
def test_a_half_built_environment_is_rebuilt_and_then_reused(home: Path):
    folder = home / "env" / "rosetta"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("cut off while it was written")
    python = orchestrating.ensure(print)
    code = "import rosetta, typer, papermill; print(rosetta.__file__)"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=clean)
    assert done.stdout.strip() == str(project.HARNESS / "rosetta" / "__init__.py"), done.stderr
    said: list[str] = []
    assert orchestrating.ensure(said.append) == python
    assert said == []
