"""`rosetta machine` through the command line, with NumPy as the framework."""

import json
import signal
import sys

import pytest
from rosetta import schema
from rosetta.commands import machine as command
from rosetta.errors import SpecError
from rosetta.runner import roofline
from rosetta.spec import framework

SCRIPT = """
import sys
import numpy as np
from rosetta.probe.roofline import Machine

machine = Machine({"numpy": np.__version__})
FAULT
a = np.ones((64, 64), np.float32)
for precision in ("fp32", "bf16"):
    machine.gemm(precision, 64, lambda: lambda: a @ a)
machine.copy(lambda: np.ones(1 << 20, np.uint8).copy)
machine.dispatch("abs", lambda: lambda: np.abs(a[0, :8]))
machine.measure()
print("a library says goodbye")
"""


def script(project, name, fault="pass"):
    project.write(f"notebooks/{name}/machine.py", SCRIPT.replace("FAULT", fault))


def second(project):
    """Another framework, the same again under another name."""
    folder = project.folder / "notebooks"
    text = (folder / "plain/framework.toml").read_text()
    project.write("notebooks/other/framework.toml", text.replace('"plain"', '"other"'))
    project.rosetta("setup", "--use", f"other={sys.executable}", "other")


def kept(project):
    return json.loads((project.folder / "results/here/roofline.json").read_text())


@pytest.mark.slow
def test_it_measures_in_rounds_with_the_threads_of_a_job_and_keeps_every_lap(project):
    script(project, "plain")
    done = project.rosetta("machine", "--threads", "1", "--seconds", "0.2", "--json")
    (found,) = kept(project)["measurements"]
    assert json.loads(done.stdout) == found
    schema.check("roofline", kept(project), "roofline.json")
    assert [(t["framework"], t["round"]) for t in found["turns"]] == [
        ("plain", n) for n in (1, 2, 3)
    ]
    for turn in found["turns"]:
        facts = turn["printed"]["environment"]
        assert facts["threads"]["OMP_NUM_THREADS"] == "1" and facts["affinity"] == 1
        assert all(sample["laps"] for sample in turn["printed"]["samples"])
    best = [(f["figure"], f["precision"], f["n"]) for f in found["best"]]
    assert best == [("gemm", "fp32", 3), ("gemm", "bf16", 3), ("copy", "", 3), ("dispatch", "", 3)]
    assert found["machine"]["name"] == "here" and found["machine"]["cpu"]
    assert found["frameworks"]["plain"]["version"] == found["best"][0]["version"]
    assert str(project.folder) not in json.dumps(found), "a committed file names no path"
    assert "1/3 NumPy round 1" in done.stderr


@pytest.mark.slow
def test_rows_measured_before_are_shares_of_it(project):
    project.rosetta("run", "--profile", "smoke", "--threads", "1")
    script(project, "plain")
    project.rosetta("machine", "--threads", "1", "--seconds", "0.1")
    folder = project.folder / "results/here"
    (row,) = json.loads((folder / "rows.json").read_text())["rows"]
    (best, *_) = kept(project)["measurements"][0]["best"]
    flops = 122880 * row["batch"] / row["step_seconds"]["median"]  # as the workload counts them
    assert row["roofline"] == pytest.approx(flops / best["median"])
    assert row["layers"][0]["share"] == pytest.approx(row["layers"][0]["flops"] / best["median"])
    page = (folder / "README.md").read_text()
    assert "% of GEMM" in page and "## What the machine can do: CPU, 1 thread\n" in page
    assert "(#what-the-machine-can-do-cpu-1-thread)" in page


@pytest.mark.slow
def test_one_that_fails_is_told_and_counts_for_nothing(project):
    script(project, "plain")
    second(project)
    script(project, "other", "raise ValueError('no luck in ' + __file__)")
    done = project.rosetta("machine", "--seconds", "0.1", code=1)
    (found,) = kept(project)["measurements"]
    facts = found["frameworks"]["other"]
    assert facts["state"] == "failed"
    assert facts["reason"] == "exit code 1: ValueError: no luck in ./notebooks/other/machine.py"
    assert {t["framework"] for t in found["turns"]} == {"plain"}
    assert done.stderr.count("failed other") == 1 and "GEMM fp32" in done.stdout


@pytest.mark.slow
def test_where_all_fail_nothing_is_written(project):
    script(project, "plain", "sys.exit()")  # it says that all is well, and printed nothing
    done = project.rosetta("machine", "--seconds", "0.1", code=1)
    assert "printed no JSON document" in done.stderr
    assert not (project.folder / "results/here").exists()


@pytest.mark.slow
def test_an_interrupt_writes_nothing_and_ends_the_script(project):
    begun = project.folder / "begun"
    script(project, "plain", f"open({str(begun)!r}, 'w'); import time; time.sleep(300)")
    process = project.begin("machine", "--seconds", "0.1")
    project.wait_for(process, begun.exists)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted; nothing was written" in said
    assert not (project.folder / "results/here").exists()


@pytest.mark.slow
def test_what_cannot_be_asked_is_named(project):
    done = project.rosetta("machine", "plain", code=2)
    assert "framework 'plain' has no machine.py" in done.stderr
    project.write("notebooks/new/framework.toml",
                  (project.folder / "notebooks/plain/framework.toml").read_text()
                  .replace('"plain"', '"new"'))  # fmt: skip
    script(project, "new")
    for words in (["new"], []):
        done = project.rosetta("machine", *words, code=2)
        assert "not set up for cpu: new" in done.stderr and "rosetta setup new" in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("tpu", 1, 1.0, 3), r"device 'tpu' is not known[\s\S]*cpu, cuda"),
        (("cpu", 4096, 1.0, 3), r"--threads 4096: this process may use \d+ cores"),
        (("cpu", -1, 1.0, 3), r"--threads -1"),
        (("cpu", 1, 0.0, 3), r"--seconds 0: expected a number above zero"),
        (("cpu", 1, float("nan"), 3), r"--seconds nan"),
        (("cpu", 1, 1.0, 2), r"--rounds 2: fewer than 3 have no interval"),
    ],
)
def test_bad_input_is_refused_with_what_would_do(given, message):
    with pytest.raises(SpecError, match=message):
        command._checked(*given)


def test_an_unknown_framework_is_refused_with_those_that_can_be_asked():
    known = [framework.load(name) for name in framework.names()]
    with pytest.raises(SpecError, match=r"'theano' is not known[\s\S]*jax_flax, pytorch, trivet"):
        roofline.choose(["theano"], known, "cpu")


def test_the_copied_array_is_larger_than_the_cache_but_leaves_memory():
    gib = 2**30
    assert roofline.copied_bytes(480 * 2**20, 24 * gib) == 480 * 2**20
    assert roofline.copied_bytes(0, 24 * gib) == 64 * 2**20, "a cache that is not known"
    assert roofline.copied_bytes(480 * 2**20, gib) == gib // 8
