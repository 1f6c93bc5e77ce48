"""What a notebook is fed and what it leaves behind, with NumPy in the framework's place."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosetta.probe import Run
from rosetta.probe.recorder import Recorder
from rosetta.probe.summary import curve

ROOT = Path(__file__).parents[3]
SCHEDULE = {
    "timing": {"steps": 9, "at_least": 5, "seconds": None, "epochs": None, "warmup": 0},
    "training": {"steps": None, "at_least": 5, "seconds": None, "epochs": 2, "warmup": 0},
    "parity": {"steps": 5},
    "layers": {"seconds": 0.01, "distinct": True},
}
for _kind in ("timing", "training"):
    SCHEDULE[_kind] |= {"validate": 1, "latency": 3 if _kind == "timing" else 0}


@pytest.fixture
def inputs(tmp_path):
    """A manifest of 20 samples, written by hand, as docs/contract.md says it."""
    rng = np.random.default_rng(0)
    arrays = {
        "train.x": rng.integers(0, 256, (20, 3), np.uint8),
        "train.y": rng.integers(0, 2, 20),
        "valid.y": rng.integers(0, 2, 7),
        "test.x": rng.integers(0, 256, (10, 3), np.uint8),
        "test.y": rng.integers(0, 2, 10),
        "parity.x": rng.integers(0, 256, (8, 3), np.uint8),
        "parity.y": rng.integers(0, 2, 8),
        "order": np.stack([rng.permutation(20) for _ in range(2)]),
        "augment": rng.integers(0, 9, (2, 20, 3)),
        "tensors/w": np.ones(3, np.float32),
        "parity/w": np.full(3, 2, np.float32),
    }
    entries = {}
    for number, (name, array) in enumerate(arrays.items()):
        np.save(tmp_path / f"{number}.npy", array)
        entries[name] = {"file": f"{number}.npy", "shape": list(array.shape)}
    layer = {"kind": "dense", "input": [3], "flops": 6}
    manifest = {
        "workload": "tiny",
        "digest": "d",
        "data": {"label": "stand-in"},
        "arrays": entries,
        "folders": {},
        "batch": {"cpu": 6},
        "parity_batch": 4,
        "feeds": ["arrays"],
        "schedule": SCHEDULE,
        "activations": ["fc"],
        "layers": [
            {"name": "fc", "like": "", **layer},
            {"name": "again", "like": "fc", **layer},
        ],
    }
    path = tmp_path / "inputs/tiny/quick.json"
    path.parent.mkdir(parents=True)
    for entry in entries.values():
        entry["file"] = "../../" + entry["file"]
    path.write_text(json.dumps(manifest))
    return path, arrays


@pytest.fixture
def start(inputs, tmp_path):
    def start(kind, **more):
        job = {"workload": "tiny", "framework": "numpy", "variant": "v", "precision": "fp32"}
        job |= {"profile": "quick", "kind": kind, "schedule": SCHEDULE[kind], **more}
        job |= {"inputs": str(inputs[0]), "out": str(tmp_path / "out")}
        job |= {"events": str(tmp_path / f"events{len(list(tmp_path.glob('events*')))}.jsonl")}
        started.append(Run(job, device="cpu", versions={}, synchronize=lambda value: None))
        return started[-1]

    started = []
    yield start
    for run in started:
        run._recorder._file.close()  # what a kernel's end does; the record stays as it is


def events(tmp_path, number=0):
    lines = (tmp_path / f"events{number}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def walk(run):
    """Runs through the laps as a notebook does; the steps of each."""
    laps = []
    for lap in run.laps():
        with run.lap("train", steps=len(lap)) as done:
            done([0.0])
        laps.append(lap)
    return laps


def test_laps_follow_the_recorded_order_and_the_first_stands_alone(start, inputs):
    _, arrays = inputs
    laps = walk(start("training"))
    assert len(laps[0]) == 1
    steps = [step for lap in laps for step in lap]
    assert len(steps) == 2 * 3, "two epochs of 20 samples in batches of 6: the rest is dropped"
    seen = np.concatenate([step.index for step in steps])
    np.testing.assert_array_equal(seen, arrays["order"][:, :18].ravel())
    crops = np.concatenate([step.augment for step in steps])
    np.testing.assert_array_equal(crops, arrays["augment"][:, :18].reshape(-1, 3))


def test_a_lap_never_crosses_the_end_of_an_epoch(start):
    ends = np.cumsum([len(lap) for lap in walk(start("training"))])
    assert 3 in ends and 6 in ends


def test_steps_for_a_loader_are_the_steps_of_the_laps(start):
    ahead = [step.index.tolist() for step in start("timing").steps()]
    laps = [step.index.tolist() for lap in walk(start("timing")) for step in lap]
    assert ahead == laps and len(laps) == 9


def test_a_time_limit_ends_timing_but_not_before_the_least_steps(start):
    schedule = SCHEDULE["timing"] | {"seconds": 1e-9, "steps": 10**6, "at_least": 4, "warmup": 2}
    steps = sum(len(lap) for lap in walk(start("timing", schedule=schedule)))
    assert 7 <= steps < 10**4, "one first step, two of warm-up, four that count"


def test_sections_that_a_job_does_not_ask_for_loop_over_nothing(start):
    run = start("parity")
    assert not list(run.laps()) and not list(run.steps()) and not list(run.test_batches())
    assert not list(run.validation()) and not list(run.single_samples()) and not run.layers
    (batches,) = run.parity_batches()
    assert [len(x) for x, _ in batches] == [4] * 5
    np.testing.assert_array_equal(batches[0][0], batches[2][0])
    np.testing.assert_array_equal(run.parity_tensors["w"], [2, 2, 2])


def test_evaluation_covers_every_test_sample_once(start):
    rows = list(start("training").test_batches())
    assert [len(range(10)[r]) for r in rows] == [6, 4]


def test_layers_of_one_shape_are_timed_once_and_keep_the_batch_in_front(start, tmp_path):
    run = start("layers")
    assert [(layer.name, layer.shape) for layer in run.layers] == [("fc", (6, 3))]
    run.layer("fc", forward=lambda: 1, total=lambda: 2)
    run.finish()
    laps = [e for e in events(tmp_path) if e["event"] == "lap"]
    assert {(e["layer"], e["work"]) for e in laps} == {("fc", "forward"), ("fc", "total")}


def test_a_lap_that_computed_nothing_leaves_no_event(start, tmp_path):
    run = start("timing")
    with run.lap("test") as done:
        done([])
    with run.lap("test") as done:
        done(np.zeros(3))
    assert [e["event"] for e in events(tmp_path)] == ["header", "lap"]


def test_a_loss_that_is_not_a_number_is_recorded_as_null(start, tmp_path):
    start("timing").losses([1.5, float("nan"), float("inf")])
    assert events(tmp_path)[1] == {"event": "losses", "values": [1.5, None, None]}


def test_an_error_under_the_clock_is_recorded_before_it_goes_on(start, tmp_path):
    run = start("timing")
    with pytest.raises(ZeroDivisionError), run.lap("train", steps=1):
        1 / 0
    assert events(tmp_path)[-1]["type"] == "ZeroDivisionError"


def test_training_goes_on_after_the_last_epoch_that_was_saved(start, tmp_path):
    state = {"epochs": 0}

    def checkpoint(run):
        run.checkpoint(
            lambda path: Path(path).write_text(str(state["epochs"])),
            lambda path: state.update(epochs=int(Path(path).read_text())),
        )

    run = start("training")
    checkpoint(run)
    for lap in run.laps():
        with run.lap("train", steps=len(lap)) as done:
            done([0.0])
        state["epochs"] = 1
        if (tmp_path / "out/checkpoint.epoch").exists():
            break  # as if killed in the second epoch
    state["epochs"] = 0
    run = start("training")
    checkpoint(run)
    assert sum(len(lap) for lap in walk(run)) == 3, "the second epoch is left"
    assert state["epochs"] == 1 and [e["event"] for e in events(tmp_path, 1)][1] == "resumed"


def test_arrays_come_back_under_the_names_of_the_contract(start, tmp_path):
    run = start("parity")
    run.parity(
        [1.0, 0.5], activations={"fc": [1]}, gradients={"w": [2], "input": [3]}, features=[4]
    )
    run.predictions([np.array([1, 0]), np.array([1])])
    arrays = np.load(tmp_path / "out/parity.npz")
    assert set(arrays) == {"losses", "activation/fc", "gradient/w", "gradient/input", "features"}
    assert np.load(tmp_path / "out/predictions.npy").tolist() == [1, 0, 1]


def test_by_hand_everything_is_done_whatever_the_folder(inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    job = {"workload": "tiny", "framework": "numpy", "variant": "v", "precision": "fp32"}
    run = Run(job | {"profile": "quick"}, "cpu", {}, lambda value: None)
    assert list(run.parity_batches()) and list(run.test_batches()) and run.layers
    for lap in run.laps():
        with run.lap("train", steps=len(lap)) as done:
            done([0.0])
        run.losses([1.0 / (1 + len(lap))] * len(lap))
    shown = run.finish()
    assert "<svg" in shown._repr_html_() and "by_hand" in repr(shown)


def test_missing_inputs_say_which_command_makes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="Fix: rosetta prepare tiny --profile smoke"):
        Run({"workload": "tiny", "profile": "smoke"}, "cpu", {}, lambda value: None)


def test_a_record_is_never_overwritten(tmp_path):
    Recorder(tmp_path / "a.jsonl", {}, lambda value: None).close()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "a.jsonl", {}, lambda value: None)


def test_a_lap_waits_for_the_device_on_both_sides(tmp_path):
    waited = []
    recorder = Recorder(tmp_path / "a.jsonl", {}, waited.append)
    with recorder.lap("train") as done:
        assert waited == [None]
        done("loss")
    recorder.close()
    assert waited == [None, ["loss"]]


def test_the_curve_has_a_point_for_each_finite_loss():
    drawn = curve([3.0, None, 2.0, 1.0])
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) == 3 and "step 4" in drawn
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights), "a falling loss goes down the page"


@pytest.mark.parametrize("path", sorted((ROOT / "harness/rosetta/probe").glob("*.py")), ids=str)
def test_the_probe_parses_on_the_oldest_python(path):
    import ast

    ast.parse(path.read_text("utf-8"), feature_version=(3, 6))


def test_the_probe_compiles_on_a_real_python_3_6():
    found = sorted(Path.home().glob(".pyenv/versions/3.6.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.6 on this machine")
    code = (
        "import sys; [compile(open(p, encoding='utf-8').read(), p, 'exec') for p in sys.argv[1:]]"
    )
    files = map(str, (ROOT / "harness/rosetta/probe").glob("*.py"))
    done = subprocess.run([found[0], "-c", code, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_probe_loads_nothing_else_of_the_suite():
    code = "import sys, rosetta.probe; print([m for m in sys.modules if m.startswith('rosetta.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all("probe" in name for name in eval(done.stdout))
