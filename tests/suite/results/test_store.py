"""Results are read as what they claim to be, or refused."""

import json

import pytest
from rosetta import schema, store
from rosetta.errors import ResultError


@pytest.fixture
def run(results):
    run = results()
    run.timing(run.cell("good"), [0.01])
    return run


def events(run):
    (path,) = (run.folder / "events").glob("*.jsonl")
    return path


def test_a_record_survives_the_round_trip(run):
    record = store.Run(run.folder).measured("timing-arrays-good-eager-fp32-r1")
    assert record.complete and not record.error
    assert [(lap.seconds, lap.steps) for lap in record.phase("train")] == [
        (1.0, 1),
        (pytest.approx(0.1), 10),
    ]


def test_a_line_torn_by_a_kill_is_dropped_only_at_the_end(run):
    path = events(run)
    whole = path.read_text()
    path.write_text(whole.rsplit("\n", 2)[0] + '\n{"event": "lap", "sec')
    record = store.read_events(path)
    assert len(record.laps) == 2 and not record.complete
    path.write_text(whole[:-20] + "\n" + whole)
    with pytest.raises(ResultError, match=r"r1\.jsonl:3: a line that is not JSON"):
        store.read_events(path)


def test_a_record_without_its_end_is_not_a_measurement(run):
    path = events(run)
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")
    loaded = store.Run(run.folder)
    job = path.stem
    assert loaded.state(job).state == "measured" and loaded.measured(job) is None


@pytest.mark.parametrize("what", ["run.json", "events"])
def test_another_schema_is_refused_not_guessed(run, what):
    path = run.folder / "run.json" if what == "run.json" else events(run)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99', 1))
    with pytest.raises(ResultError, match="schema 99; this rosetta reads 1\n  Fix: the version"):
        store.read_events(path) if what == "events" else store.Run(run.folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"event": "lap", "phase": "train", "seconds": "fast"}, "'fast' is not of type 'number'"),
        ({"event": "lap", "phase": "train"}, "'seconds' is a required property"),
        ({"event": "sleep"}, "'sleep' is not one of"),
        ([1], "is not of type 'object'"),
    ],
)
def test_a_line_that_no_probe_writes_is_refused_with_its_place(run, line, message):
    path = events(run)
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    with pytest.raises(ResultError, match=r"r1\.jsonl:5: .*" + message):
        store.read_events(path)


def test_a_file_that_does_not_begin_with_a_header_is_refused(run):
    path = events(run)
    path.write_text(path.read_text().split("\n", 1)[1])
    with pytest.raises(ResultError, match="expected the event 'header', found 'lap'"):
        store.read_events(path)


def test_the_last_state_of_a_job_counts_and_one_that_never_began_is_planned(run):
    (job,) = [j["id"] for j in run.plan["jobs"]]
    with (run.folder / "jobs.jsonl").open("a") as file:
        file.write(json.dumps({"job": job, "state": "failed", "time": "t", "reason": "why"}))
        file.write('\n{"job": "x", "sta')
    loaded = store.Run(run.folder)
    assert (loaded.state(job).state, loaded.state(job).reason) == ("failed", "why")
    assert loaded.state("another").state == "planned"


def test_runs_are_found_the_newest_first(results):
    names = ["10-quick", "14-quick", "12-quick"]
    machine = [results(name) for name in names]
    for run in machine:
        run.write()
    (machine[0].folder.parent / "README.md").write_text("not a run")
    found = store.runs(machine[0].machine)
    assert [run.name for run in found] == ["14-quick", "12-quick", "10-quick"]
    assert store.machines() == [machine[0].machine]


def test_a_plan_that_is_not_one_says_where(run):
    run.plan["cells"][0]["state"] = "maybe"
    run.write()
    with pytest.raises(ResultError, match=r"\['cells'\]\[0\]\['state'\]: 'maybe' is not one of"):
        store.Run(run.folder)


def test_a_job_is_checked_as_a_notebook_will_get_it(run):
    with pytest.raises(ResultError, match="'schema' is a required property"):
        schema.check("job", {"workload": "tiny"}, "job")
