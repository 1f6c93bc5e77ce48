"""Whole runs, through the command line, with real kernels: what is measured, lost, resumed."""

import json
import os
import signal

import pytest

pytestmark = pytest.mark.slow
RUN = ("run", "--profile", "smoke", "--threads", "1")


def kinds(states):
    return sorted({job.split("-")[0] for job in states})


def test_a_run_measures_every_kind_and_writes_its_page(project):
    done = project.rosetta(*RUN, "--json", "--reference", "plain/loops")
    states = project.states()
    assert kinds(states) == ["alone", "layers", "parity", "timing", "training"]
    assert {s["state"] for s in states.values()} == {"measured"}
    page = project.folder / "results/here/README.md"
    assert "STAND-IN" in page.read_text() and "NumPy" in page.read_text()
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["state"], row["data"], row["n"]) == ("measured", "stand-in", 1)
    assert 0.1 < row["accuracy"] < 1 and row["parity"]["state"] == "verified"
    for path in (*row["samples"], *row["notebooks"]):
        assert (project.folder / path).is_file(), path


def test_a_notebook_that_raises_leaves_its_copy_its_traceback_and_a_row(project):
    project.notebook("if job['kind'] == 'timing' and number == 1: raise ValueError('no luck')")
    done = project.rosetta(*RUN, "--json", code=1)
    failed = {j: s for j, s in project.states().items() if s["state"] == "failed"}
    (job,) = failed
    assert job.startswith("timing-") and "ValueError: no luck" in failed[job]["reason"]
    executed = project.runs[-1].parent / f"notebooks/{job}.ipynb"
    assert "no luck" in executed.read_text() and "Traceback" in executed.read_text()
    (row,) = json.loads(done.stdout)["rows"]
    assert row["state"] == "failed" and "no luck" in row["reason"]
    assert row["accuracy"] is not None, "the other kinds were measured all the same"


def test_a_notebook_that_hangs_is_ended_and_the_others_go_on(project):
    project.notebook("while job['kind'] == 'timing': time.sleep(1)")
    project.rosetta(*RUN, "--timeout", "20", code=1)
    states = project.states()
    (reason,) = [s["reason"] for s in states.values() if s["state"] == "failed"]
    assert reason == "ran longer than 20 s and was ended"
    assert "training" in kinds(states)
    assert not kernels_of(project)


def test_a_process_that_dies_is_a_row_with_the_reason(project):
    project.notebook("if job['kind'] == 'timing': os.kill(os.getpid(), 9)")
    project.rosetta(*RUN, code=1)
    (reason,) = [s["reason"] for s in project.states().values() if s["state"] == "failed"]
    assert "DeadKernelError" in reason


def test_kill_9_loses_nothing_measured_and_the_next_call_goes_on(project):
    project.notebook(f"while {stop(project)} and job['kind'] == 'timing': time.sleep(0.1)")
    process = project.begin(*RUN)
    project.wait_for(process, lambda: project.runs and "timing" in last_job(project))
    before = project.states()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    os.remove(project.folder / "stop")
    project.rosetta(*RUN)
    assert len(project.runs) == 1, "the same run went on"
    after = project.states()
    for job, state in before.items():
        if state["state"] == "measured":
            assert after[job] == state, "measured once, kept"
    cut = next(job for job, s in before.items() if s["state"] == "started")
    assert after[cut]["state"] == "measured" and after[cut]["attempt"] == 2
    assert {s["state"] for s in after.values()} == {"measured"}
    assert not kernels_of(project), "the kernel of the killed run did not outlive it"


def test_ctrl_c_writes_the_tables_of_what_was_measured(project):
    project.notebook(f"while {stop(project)} and job['kind'] == 'timing': time.sleep(0.1)")
    process = project.begin(*RUN)
    project.wait_for(process, lambda: project.runs and "timing" in last_job(project))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "nothing measured was lost" in output
    assert (project.folder / "results/here/README.md").is_file()
    assert {s["state"] for s in project.states().values()} == {"measured", "cut"}


def test_a_training_that_is_cut_goes_on_from_its_last_epoch(project):
    fault = f"while {stop(project)} and job['kind'] == 'training' and lap[0].index[0] == second: "
    project.notebook("second = run.array('order')[1, 0]\n    " + fault + "time.sleep(0.1)")
    process = project.begin(*RUN, "--kind", "training")
    mark = "home/runs/*/*/checkpoint.epoch"
    project.wait_for(process, lambda: list(project.folder.glob(mark)))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    os.remove(project.folder / "stop")
    project.rosetta(*RUN, "--kind", "training")
    (events,) = [
        p for p in project.runs[-1].parent.glob("events/*.jsonl") if "attempt" not in p.name
    ]
    entries = [json.loads(line) for line in events.read_text().splitlines()]
    assert [e["epoch"] for e in entries if e["event"] == "resumed"] == [1]
    steps = sum(e["steps"] for e in entries if e["event"] == "lap" and e["phase"] == "train")
    assert steps == 512 // 32, "one epoch was left to do"
    assert not list(project.folder.glob(mark)), "checkpoints go when the job is measured"


def test_another_plan_is_another_run(project):
    project.rosetta(*RUN, "--kind", "parity")
    project.rosetta(*RUN, "--kind", "timing")
    assert len(project.runs) == 2


def test_a_second_run_on_the_machine_says_who_runs_and_waits(project):
    project.notebook(f"while {stop(project)}: time.sleep(0.1)")
    first = project.begin(*RUN, "--kind", "timing")
    project.wait_for(first, lambda: project.runs and last_job(project))
    second = project.begin(*RUN, "--kind", "timing")
    said = second.stdout.readline() + second.stdout.readline()
    assert f"process {first.pid}" in said and "waiting" in said
    assert len(project.runs) == 1, "the second has not begun"
    os.remove(project.folder / "stop")
    first.communicate(timeout=300)
    second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(project.runs) == 2


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(project, small_disk):
    (project.folder / "results/here").symlink_to(small_disk)
    filler = small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(bytes(free - 60_000))
    done = project.rosetta(*RUN, code=2)
    assert "free space" in done.stderr and "Traceback" not in done.stderr
    filler.unlink()
    project.rosetta(*RUN)
    assert {s["state"] for s in project.states().values()} == {"measured"}
    assert len(project.runs) == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--profile", "fast"), "profile 'fast' is not known"),
        (("--precision", "fp8"), "precision 'fp8' is not known"),
        (("--framework", "pytoch"), "framework 'pytoch' is not known"),
        (("--workload", "mnist"), "workload 'mnist' is not known"),
        (("--kind", "speed"), "kind 'speed' is not known"),
        (("--data", "real"), "data 'real' is not known"),
        (("--variant", "turbo"), "variant 'turbo' is not known"),
    ],
)
def test_bad_input_is_named_with_what_is_known(project, words, text):
    done = project.rosetta("run", *words, code=2)
    assert text in done.stderr and "Fix: one of: " in done.stderr
    assert "Traceback" not in done.stderr


def stop(project):
    """A condition that holds until the test removes a file."""
    path = project.folder / "stop"
    path.write_text("")
    return f"os.path.exists({str(path)!r})"


def last_job(project):
    path = project.runs[-1].parent / "jobs.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return json.loads(lines[-1])["job"] if lines else ""


def kernels_of(project):
    """Processes that still run a kernel or a job of this project."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        if environment.get("ROSETTA_HOME") == project.environment["ROSETTA_HOME"]:
            found.append(process)
    _, alive = psutil.wait_procs(found, timeout=10)
    return alive
