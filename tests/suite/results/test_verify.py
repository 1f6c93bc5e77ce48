"""`rosetta verify`: one line a finding, with evidence and what to do."""

import sys
from importlib import metadata

import numpy as np
import pytest
from rosetta import judge, project, references, store
from rosetta.commands.verify import environment_finding, parity_findings
from rosetta.env import record
from rosetta.env.locks import Lock
from rosetta.spec.framework import Framework, Variant

ARRAYS = {
    "losses": np.array([2.3, 2.1, 1.9]),
    "activation/conv": np.arange(1.0, 7.0),
    "gradient/conv.weight": np.ones(144),
    "gradient/conv.bias": np.ones(4),
    "gradient/gru.weight": np.ones(90),
    "gradient/gru.bias": np.ones(2),
    "gradient/input": np.ones(9),
}


@pytest.fixture
def plain():
    variants = {"loops": Variant("loops", "default", "by hand")}
    return Framework(1, "plain", "NumPy", "numpy", ">=3.11", {"cpu": ("numpy",)}, variants)


@pytest.fixture
def built(plain, tmp_path, monkeypatch):
    """Declares this very interpreter the environment of a lock with the given text."""
    monkeypatch.setattr(project, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path / "home"))

    def built(text, digest="", **other):
        path = plain.locks / "cpu-here-py311.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        known = {"python_version": "3", "tested": True, "python": sys.executable, "lock": path.name}
        known |= {"lock_digest": digest or Lock(path, "").digest, **other}
        record.write(record.Environment("plain", "cpu", "plain", **known))
        return environment_finding(plain, "cpu")

    return built


def test_an_environment_as_locked_is_ok(built):
    found = built(f"numpy=={metadata.version('numpy')}\nscipy=={metadata.version('scipy')}\n")
    assert (found.state, found.evidence) == ("ok", "all 2 packages as in cpu-here-py311.txt")


def test_a_package_that_differs_is_named_with_both_versions_and_the_fix(built):
    found = built("numpy==1.0\nno-such-thing==2\n")
    assert found.state == "FAIL" and found.fix == "rosetta setup plain --rebuild"
    assert f"numpy {metadata.version('numpy')} (lock: 1.0)" in found.evidence
    assert "no-such-thing missing (lock: 2)" in found.evidence


def test_a_lock_that_changed_since_is_a_failure_and_an_adopted_environment_is_none(built):
    text = f"numpy=={metadata.version('numpy')} --hash=sha256:0\n"
    found = built(text, digest="of another text")
    assert (found.state, found.fix) == ("FAIL", "rosetta setup plain")
    found = built("numpy==1.0\n", adopted=True)
    assert found.state == "ok" and "1 differences" in found.evidence


def test_an_interpreter_that_is_gone_is_a_failure(built, tmp_path):
    found = built("numpy==1\n", python=str(tmp_path / "gone/python"))
    assert found.state == "FAIL" and "does not start" in found.evidence


def test_what_is_not_set_up_fails_only_if_it_was_asked_for(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path))
    assert environment_finding(plain, "cpu").state == "skip"
    found = environment_finding(plain, "cpu", named=True)
    assert str(found) == (
        "FAIL environment of plain: not set up for cpu\n     Fix: rosetta setup plain"
    )


def findings(run):
    judge.judge_run(run.folder)
    found = parity_findings(store.Run(run.folder), {"good", "bad"})
    return {finding.what: finding for finding in found}


def test_each_framework_is_one_line_with_its_distances_and_bounds(results):
    run = results()
    run.inputs(**{"parity.x": np.zeros(3)})
    run.parity(run.cell("good", precision="fp64"), ARRAYS)
    run.parity(run.cell("good"), {k: v.astype(np.float32) for k, v in ARRAYS.items()})
    run.parity(run.cell("bad"), {**ARRAYS, "gradient/conv.bias": -np.ones(4)})
    found = findings(run)
    good, bad = found["tiny, good/eager"], found["tiny, bad/eager"]
    assert good.state == "ok" and good.evidence.startswith("240 parameters; first loss 2.1e-08")
    assert "(bound 1e-06); 3 losses" in good.evidence and "gradients 0.0e+00" in good.evidence
    assert bad.state == "FAIL" and bad.evidence.startswith("gradient/conv.bias: relative error")


def test_the_reference_is_compared_with_its_stored_losses(results):
    run = results()
    run.inputs(**{"parity.x": np.zeros(3)})
    run.parity(run.cell("good", precision="fp64"), ARRAYS)
    found = findings(run)["tiny, good/eager, float64 reference"]
    assert found.state == "skip" and "harness/make_reference.py" in found.fix
    references.keep(run.folder)
    found = findings(run)["tiny, good/eager, float64 reference"]
    assert found.state == "ok" and "3 losses 0.0e+00 (bound 1e-03)" in found.evidence


def test_a_job_that_failed_and_a_cell_that_cannot_be_are_lines_too(results):
    run = results()
    run.job(run.cell("bad"), "parity", state="failed", reason="ValueError: no luck")
    run.cell("good", "not offered", "it has no GRU")
    found = findings(run)
    assert found["tiny, bad/eager"].evidence == "ValueError: no luck"
    assert found["tiny, bad/eager"].fix.endswith("parity-arrays-bad-eager-fp32-r1.ipynb")
    good = found["tiny, good/eager"]
    assert (good.state, good.evidence) == ("skip", "not offered: it has no GRU")


def test_a_lost_parameter_is_counted(results):
    run = results()
    run.parity(run.cell("good", precision="fp64"), ARRAYS)
    run.parity(run.cell("good"), {**ARRAYS, "gradient/extra": np.ones(3)})
    judge.judge_run(run.folder)
    found = [f for f in parity_findings(store.Run(run.folder), {"good"}) if f.state == "FAIL"]
    (finding,) = found
    assert finding.evidence == "243 parameters, 240 expected"


def test_a_stored_trajectory_that_is_not_ours_fails_the_reference(results):
    run = results()
    run.inputs(**{"parity.x": np.zeros(3)})
    run.parity(run.cell("good", precision="fp64"), ARRAYS)
    (path,) = references.keep(run.folder)
    path.write_text(path.read_text().replace("1.9", "1.8"))
    found = findings(run)["tiny, good/eager, float64 reference"]
    assert (
        found.state == "FAIL" and "losses: that of step 3 is 1.9, reference 1.8" in found.evidence
    )
