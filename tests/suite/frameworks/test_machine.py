"""Every framework's real machine.py in its real environment, with next to no time."""

import json
from pathlib import Path

import pytest
from rosetta import project as here
from rosetta.env import environments
from rosetta.spec import framework

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted(path.parent.name for path in (ROOT / "notebooks").glob("*/machine.py"))
pytestmark = [pytest.mark.slow, pytest.mark.frameworks]


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_tells_what_the_machine_can_do(checkout, name):
    project = checkout("benchmarks", "notebooks")
    home = Path(project.environment["ROSETTA_HOME"])
    home.mkdir()
    if not environments.status(framework.load(name), "cpu"):
        pytest.skip(f"it is not set up here: rosetta setup {name}")
    (home / "env").symlink_to(here.home() / "env")
    done = project.rosetta("machine", name, "--device", "cpu", "--seconds", "0.5", "--json")
    found = json.loads(done.stdout)
    figures = {f["figure"]: f for f in found["best"]}
    assert set(figures) == {"gemm", "convolution", "copy", "dispatch"}
    assert all(f["n"] == 3 and f["framework"] == name for f in figures.values())
    assert "fp32" in {f["precision"] for f in found["best"] if f["figure"] == "gemm"}
    assert 1e8 < figures["gemm"]["median"] < 1e15 and 1e-8 < figures["dispatch"]["median"] < 1
    left_out = [entry for turn in found["turns"] for entry in turn["printed"]["left_out"]]
    assert all(entry["reason"].startswith("TooLong: ") for entry in left_out), left_out
