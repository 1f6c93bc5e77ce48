"""Kernelspecs: private ones by themselves, the user's on request only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rosetta import project
from rosetta.env import kernels, record
from rosetta.env.record import Environment


@pytest.fixture
def environment(make, home: Path) -> Environment:
    """The record of a ready environment, around the running Python."""
    framework = make()
    (lock,) = framework.locks.iterdir()
    ready = Environment(
        framework="tiny",
        device="cpu",
        kernel="tiny",
        python=sys.executable,
        python_version="3.11.7",
        lock=lock.name,
        lock_digest="",
        tested=True,
        adopted=True,
    )
    record.write(ready)
    return ready


def test_the_private_kernelspec(make, home: Path, environment: Environment):
    kernels.write(make(), environment)
    spec = json.loads((home / "jupyter" / "kernels" / "tiny" / "kernel.json").read_text())
    assert spec["argv"] == [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert spec["display_name"] == "Tiny (cpu)"
    assert spec["language"] == "python"
    assert spec["env"]["PYTHONPATH"] == str(project.HARNESS)
    assert spec["env"]["TINY_BACKEND"] == "numpy"


def test_each_device_has_its_own_kernel():
    assert record.kernel_name("tiny", "cpu") == "tiny"
    assert record.kernel_name("tiny", "cuda") == "tiny-cuda"


def test_the_record_survives_reading(environment: Environment):
    assert record.read("tiny") == environment


def test_what_a_result_says_has_no_path_of_this_machine(environment: Environment):
    assert str(Path.home()) not in json.dumps(environment.facts())
    assert environment.facts()["adopted"] is True


def test_installed_for_the_user_and_removed_again(make, tmp_path: Path, environment: Environment):
    user = tmp_path / "user"
    user.mkdir()
    folder = make().folder
    code = (
        "import sys; from pathlib import Path; from rosetta import project;"
        "project.NOTEBOOKS = Path(sys.argv.pop(1)); import typer;"
        "from rosetta.commands.kernel import command; typer.run(command)"
    )
    variables = {**os.environ, "HOME": str(user), "PYTHONPATH": str(project.HARNESS)}
    for name in ("JUPYTER_DATA_DIR", "XDG_DATA_HOME", "JUPYTER_PLATFORM_DIRS"):
        variables.pop(name, None)

    def rosetta(*arguments: str) -> str:
        command = [sys.executable, "-c", code, str(folder.parent), *arguments]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return done.stdout

    assert not list(user.rglob("kernel.json"))
    assert rosetta("tiny", "--device", "cpu").startswith("installed ")
    (spec,) = user.rglob("kernel.json")
    assert spec.parent.name == "rosetta-tiny"
    assert json.loads(spec.read_text())["env"]["TINY_BACKEND"] == "numpy"
    assert rosetta("tiny", "--device", "cpu", "--remove").startswith("removed ")
    assert not list(user.rglob("kernel.json"))
    assert rosetta("tiny", "--device", "cpu", "--remove") == "there was none\n"
