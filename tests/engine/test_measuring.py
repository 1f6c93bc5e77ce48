"""The measuring scripts: a quick run of each works, and errors say what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import measuring
import pytest
from rosetta import machine

ENGINE = Path(__file__).parents[2] / "engine"


def run(script, *options, **variables):
    return subprocess.run(
        [sys.executable, ENGINE / script, *map(str, options)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_quick_run_shows_how_a_step_grows(tmp_path):
    pytest.importorskip("torch")
    done = run("measure_growth.py", "--quick", "--seconds", 0.001, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "growth.json").read_text("utf-8"))
    one = found["threads"]["1"]
    for what, sizes in {"cnn": ["1", "4"], "block": ["8", "16"]}.items():
        assert list(one["summary"][what]) == sizes
        for size in sizes:
            ratios = one["summary"][what][size]["ratios"]
            assert len(ratios) == 4  # two ways by two
            for spread in ratios.values():
                assert 0 < spread["least"] <= spread["median"] <= spread["most"]
            bursts = [burst for ran in one["rounds"] for burst in ran[what][size].values()]
            assert len(bursts) == 2 * 4 and all(len(burst["laps"]) >= 3 for burst in bursts)
    assert set(found["versions"]["PyTorch eager"]) == {"python", "numpy", "torch"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "growth.json",
        "growth-1t.svg",
        "growth-1t.png",
    }


@pytest.mark.slow
def test_a_quick_run_shows_what_python_costs_in_a_replay(tmp_path):
    pytest.importorskip("numba")
    file = tmp_path / "new" / "replay.json"
    done = run("measure_replay.py", "--quick", "--out", file)
    assert done.returncode == 0, done.stderr
    assert "GRU, training, batch 2" in done.stdout
    found = json.loads(file.read_text("utf-8"))
    assert found["chains"]["relu"]["launch"] > found["chains"]["python"]["launch"] > 0
    cold, warm, untuned = (found["workloads"]["gru"][way] for way in ("cold", "warm", "untuned"))
    assert cold["compiled"] > 0 and cold["races"] > 0
    assert warm["compiled"] == warm["races"] == untuned["races"] == 0
    assert cold["digest"] == warm["digest"]
    assert sum(untuned["launches"].values()) > 10 and 0 < untuned["share"] < 1


def test_a_python_without_torch_is_refused_at_once(tmp_path):
    python = tmp_path / "python"
    done = run("measure_growth.py", "--torch-python", python, "--out", tmp_path / "growth")
    assert done.returncode == 1 and not (tmp_path / "growth").exists()
    assert done.stderr.startswith("Expected a Python that runs PyTorch; got ")
    assert "fix: --torch-python" in done.stderr and "Traceback" not in done.stderr
    python.write_text(f"#!{sys.executable} -S\nraise SystemExit('No module named torch')\n")
    python.chmod(0o755)
    done = run("measure_growth.py", "--torch-python", python)
    assert f"can import torch and numpy; {python} says: No module named torch" in done.stderr


def test_what_makes_no_sense_is_refused(tmp_path):
    few = run("measure_growth.py", "--rounds", 2)
    assert "expected 3 rounds at least; got 2" in few.stderr
    folder = run("measure_replay.py", "--out", tmp_path)
    assert "Expected --out to name a file" in folder.stderr and folder.returncode == 1
    nothing = run("measure_replay.py", "--seconds", 0)
    assert "expected a number above 0; got '0'" in nothing.stderr
    threads = run("measure_replay.py", "--quick", OMP_NUM_THREADS="many")
    assert "Expected OMP_NUM_THREADS to be a whole number" in threads.stderr


def test_a_process_that_ends_is_an_error():
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (
        pytest.raises(measuring.MeasuringError, match="ended with exit code 3"),
        measuring.Process(command, 1) as process,
    ):
        process.ask(work=1)


def test_the_machine_has_the_name_that_the_suite_gives_it(monkeypatch):
    monkeypatch.delenv("ROSETTA_MACHINE", raising=False)
    facts = {"cpu": "Maker(R) Chip", "cores": 4, "gpus": ["Large, 24 GB"]}
    monkeypatch.setattr(machine, "fingerprint", lambda: facts)
    assert measuring.machine_name() == "maker-chip-4c"
    monkeypatch.setenv("ROSETTA_MACHINE", "My Machine")
    assert measuring.machine_name() == "my-machine"


def test_json_has_numbers_side_by_side(tmp_path):
    found = {"laps": [1e-06, 2.5, None], "nested": [[1], ["a, [b]"]], "none": []}
    measuring.write_json(tmp_path / "found.json", found)
    text = (tmp_path / "found.json").read_text("utf-8")
    assert json.loads(text) == found and "[ 1e-06, 2.5, null ]" in text
