"""Rival plans: who wins, what is kept, what a result is valid for."""

import json

import numpy as np
import pytest
from trivet import Tensor, capture, ops, registry, tuning, using
from trivet.registry import Call, Plan
from trivet.spec import Spec, Strided

X = Spec((64, 64))
RUNS = []


def rival(name, times):
    def run(y, x):
        RUNS.append(name)
        for _ in range(times):
            np.multiply(x, 2, out=y)

    return Plan(run, (X,), (X,), name=name)


@pytest.fixture
def rivals(monkeypatch, tmp_path):
    """A backend whose first guess takes a hundred times as long as its second; an empty store."""
    monkeypatch.setenv("TRIVET_CACHE", str(tmp_path))
    monkeypatch.delenv("TRIVET_PLANS", raising=False)
    monkeypatch.setattr(tuning, "_RESULTS", {})
    monkeypatch.setattr(registry, "_KERNELS", dict(registry._KERNELS))
    monkeypatch.setattr(registry, "_CHOICES", {})
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["json", "trivet.reference"])  # any module
    registry.kernel("relu", "json")(lambda call: [rival("slow", 100), rival("fast", 1)])
    RUNS.clear()
    return tmp_path


def test_untuned_the_first_guess_runs(rivals):
    ops.relu(Tensor(np.ones((64, 64), "float32")))
    assert RUNS == ["slow"] and not list(rivals.rglob("*"))


def test_tuned_the_fastest_runs_and_a_later_process_need_not_measure(rivals, monkeypatch):
    x = Tensor(np.ones((64, 64), "float32"))
    with using(tuned=True):
        ops.relu(x)
        assert RUNS[-1] == "fast" and RUNS.count("slow") > 2
        (line,) = tuning.file().read_text("utf-8").split("\n")[1:]
        assert len(json.loads(line)["seconds"]) == 2
        monkeypatch.setattr(tuning, "_RESULTS", {})  # as a new process finds it
        registry._CHOICES.clear()
        RUNS.clear()
        ops.relu(x)
    assert RUNS == ["fast"]
    ops.relu(x)
    assert RUNS == ["fast", "slow"]  # another means, another choice


def test_half_a_line_of_a_killed_process_is_measured_again(rivals, monkeypatch):
    with using(tuned=True):
        ops.relu(Tensor(np.ones((64, 64), "float32")))
        text = tuning.file().read_text("utf-8")
        tuning.file().write_text(text[:-20], "utf-8")
        monkeypatch.setattr(tuning, "_RESULTS", {})
        registry._CHOICES.clear()
        RUNS.clear()
        ops.relu(Tensor(np.ones((64, 64), "float32")))
        assert RUNS.count("slow") > 2
        monkeypatch.setattr(tuning, "_RESULTS", {})
        assert tuning.seconds(Call("relu", (X,)), [rival("slow", 100), rival("fast", 1)])


def test_a_captured_step_says_which_plans_it_runs(rivals):
    x = Tensor(np.ones((64, 64), "float32"))
    steps = [capture(lambda x: ops.relu(x), tune=tune) for tune in (True, False, True)]
    digests = []
    for step in steps:
        for _ in range(3):
            y = step(x)
        assert y.numpy()[0, 0] == 2
        digests.append(step.program.digest())
    assert digests[0] == digests[2] != digests[1]


def test_views_race_in_memory_as_large_as_they_reach(rivals):
    """The steps of a view lead past the bytes it holds, and before them if it walks backwards."""

    def reader(name):
        def run(y, x):
            np.multiply(x, 2, out=y)

        return Plan(run, (view,), (Spec((4, 3)),), name=name)

    view = Spec((4, 3), layout=Strided(steps=(1000, -7)))
    call = Call("relu", (view,))
    assert len(tuning.seconds(call, [reader("a"), reader("b")])) == 2
    buffer = tuning._zeros(view, "cpu")
    low, high = np.lib.array_utils.byte_bounds(buffer.array())
    first = buffer.memory.ctypes.data
    assert first == low and high <= first + len(buffer.memory)
