"""From records to rows: what a reader of the tables relies on."""

import json

import numpy as np
import pytest
from rosetta import judge, rows
from rosetta.row import conditions


def by_framework(run, **kw):
    return {row.framework: row for row in rows.rows(run.machine, **kw)}


def test_ratios_are_paired_by_round_so_that_drift_cancels(results):
    run = results()
    run.timing(run.cell("good"), [0.010, 0.012, 0.020])
    run.timing(run.cell("slow"), [0.020, 0.0241, 0.0401])
    run.timing(run.cell("same"), [0.010, 0.012, 0.020])
    found = by_framework(run)
    assert found["good"].verdict == "reference" and found["good"].ratio is None
    assert found["good"].step_seconds.median == pytest.approx(0.012)
    slow = found["slow"]
    assert slow.n == 3 and slow.ratio.median == pytest.approx(2.005, abs=1e-3)
    assert slow.ratio.low > 1.9, "the machine drifted by a factor of two, the pairs did not"
    assert slow.verdict == "SLOWER (unverified)"
    assert found["same"].verdict == "SAME (unverified)"
    assert slow.samples_per_second == pytest.approx(64 / 0.0241)
    assert slow.epoch_seconds == pytest.approx(10 * 0.0241)  # 640 samples
    assert found["slow"].step_seconds.low < 0.02 < found["slow"].step_seconds.high


def test_the_reference_can_be_another_and_its_absence_is_said(results):
    run = results()
    run.timing(run.cell("good"), [0.01] * 3)
    run.timing(run.cell("slow"), [0.02] * 3)
    found = by_framework(run, reference="slow/eager")
    assert found["good"].verdict.startswith("FASTER") and found["slow"].verdict == "reference"
    found = by_framework(run, reference="none/eager")
    assert found["good"].verdict == "no ratio: none/eager was not measured in this run"


def test_every_cell_is_a_row_with_its_reason(results):
    run = results()
    run.timing(run.cell("good"), [0.01] * 3)
    run.cell("a", "not offered", "the GRU has no kernel for it")
    run.cell("b", "not installable", "no wheel for this Python")
    run.job(run.cell("c"), "timing", state="failed", reason="ValueError: no luck")
    run.job(run.cell("d"), "timing", state="started")
    run.job(run.cell("e"), "timing", state=None)
    found = {k: (r.state, r.reason) for k, r in by_framework(run).items()}
    assert found == {
        "good": ("measured", ""),
        "a": ("not offered", "the GRU has no kernel for it"),
        "b": ("not installable", "no wheel for this Python"),
        "c": ("failed", "round 1: ValueError: no luck"),
        "d": ("interrupted", "cut off"),
        "e": ("interrupted", "the run ended before it"),
    }


def test_what_failed_beside_a_measurement_is_said(results):
    run = results()
    cell = run.cell("good")
    run.timing(cell, [0.01, 0.01])
    run.job(cell, "timing", 3, state="failed", reason="out of memory")
    run.record(run.job(cell, "training"), ends=False)
    row = by_framework(run)["good"]
    assert (row.state, row.n) == ("measured", 2)
    assert row.reason == (
        "round 3: out of memory; training: the notebook ended without closing its record"
    )
    assert row.step_seconds.low is None, "two rounds are too few for an interval"


def test_numbers_outside_a_bound_have_no_ratio(results):
    run = results()
    base = {"losses": np.array([2.3, 2.1]), "activation/conv": np.ones((2, 3))}
    run.parity(run.cell("good", precision="fp64"), base)
    for name, factor in (("good", 1.0), ("bad", 1.5)):
        cell = run.cell(name)
        run.timing(cell, [0.01, 0.01, 0.01])
        run.parity(cell, {**base, "activation/conv": base["activation/conv"] * factor})
    judge.judge_run(run.folder)
    found = by_framework(run)
    assert found["bad"].parity.state == "outside" and found["bad"].ratio is None
    assert found["bad"].verdict == "no ratio: its numbers are outside the bound"
    assert found["bad"].parity.reason.startswith("activation/conv: relative error 5.0e-01")
    assert found["good"].parity.state == "verified"
    assert found["good"].parity.reference_curve == (2.3, 2.1)
    found = by_framework(run, reference="bad/eager")
    assert "the reference's numbers are outside" in found["good"].verdict


def test_parity_holds_for_the_kernels_that_it_ran(results):
    run = results()
    base = {"losses": np.array([2.3, 2.1]), "activation/conv": np.ones((2, 3))}
    run.parity(run.cell("good", precision="fp64"), base)
    for name, timed in (("good", "aaaa"), ("bad", "bbbb")):
        cell = run.cell(name)
        for round in (1, 2, 3):
            job = run.job(cell, "timing", round)
            run.record(job, [("train", 0.1, 10)], [("kernels", {"name": timed})])
        run.parity(cell, base, [("kernels", {"name": "aaaa"})])
    judge.judge_run(run.folder)
    found = by_framework(run)
    assert (found["good"].parity.reason, found["good"].kernels) == ("", "aaaa")
    assert found["bad"].parity.state == "unverified"
    assert found["bad"].parity.reason == "parity ran the kernels aaaa, the clock bbbb"


def test_cold_is_the_first_round_and_warm_the_later_ones(results):
    run = results()
    cell = run.cell("good")
    for round, (first, compiling) in enumerate([(9.0, 8.0), (2.0, 1.5), (3.0, 0.5)], 1):
        name = run.job(cell, "timing", round)
        memory = {"peak_host_bytes": round * 1000, "peak_device_bytes": None}
        run.record(
            name,
            [("train", first, 1), ("train", 0.1, 10), ("validate", 4.0, 1), ("validate", 0.2, 1)],
            [("compile", {"seconds": compiling, "what": "step"}), ("memory", memory)],
        )
    row = by_framework(run)["good"]
    assert (row.first_step_cold, row.first_step_warm) == (9.0, 2.5)
    assert (row.compile_cold, row.compile_warm) == (8.0, 1.0)
    assert row.validate_seconds == pytest.approx(0.2)
    assert (row.peak_host_bytes_cold, row.peak_host_bytes) == (1000, 3000)
    assert row.peak_device_bytes is None


def test_a_first_round_that_was_begun_again_is_not_cold(results):
    run = results()
    run.timing(run.cell("good"), [0.01, 0.01], first=2.0, attempt=2)
    row = by_framework(run)["good"]
    assert (row.first_step_cold, row.first_step_warm) == (None, 2.0)


def test_io_lag_is_files_beyond_synthetic_by_round(results):
    run = results()
    run.timing(run.cell("good", feed="files"), [0.03, 0.06, 0.09])
    run.timing(run.cell("good", feed="synthetic"), [0.02, 0.04, 0.06])
    found = {row.feed: row for row in rows.rows(run.machine)}
    assert found["files"].io_lag_seconds == pytest.approx(0.02)
    assert found["files"].io_lag.median == pytest.approx(1.5)
    assert found["synthetic"].io_lag is None
    assert conditions(found["files"]) != conditions(found["synthetic"])


def trained(run, accuracy, losses=(2.3, 1.0)):
    run.inputs(**{"test.y": np.zeros(1000, np.int64)})
    right = np.arange(1000) >= 1000 * accuracy
    run.training(run.cell("good"), right.astype(np.int64), losses)
    judge.judge_run(run.folder)
    (row,) = rows.rows(run.machine)
    return row


@pytest.mark.parametrize(
    ("profile", "label", "accuracy", "band"),
    [
        ("full", "official", 0.77, "inside"),
        ("full", "unofficial", 0.60, "outside"),
        ("full", "stand-in", 0.77, "not judged: stand-in data"),
        ("quick", "official", 0.77, "not judged: profile quick"),
    ],
)
def test_an_accuracy_is_judged_only_after_a_whole_training_on_real_data(
    results, profile, label, accuracy, band
):
    row = trained(results("12", profile=profile, label=label), accuracy)
    assert (row.accuracy, row.band, row.trained_steps) == (accuracy, band, 2)


def test_a_wrong_first_loss_is_outside_whatever_is_learnt_later(results):
    row = trained(results("12", profile="full", label="official"), 0.77, losses=(4.6, 1.0))
    assert row.band == "outside: the first loss is 4.600 nats, expected 2.3 +- 0.5"


def test_a_training_that_was_resumed_is_one_curve(results):
    run = results()
    name = run.job(run.cell("good"), "training", epochs=3)
    run.record(name, events=[("losses", {"values": [6, 5, 4, 9]})], ends=False, suffix=".attempt1")
    run.record(name, events=[("resumed", {"epoch": 1}), ("losses", {"values": [3, 2, 1, 0]})])
    row = by_framework(run)["good"]
    assert row.curve == (6, 5, 3, 2, 1, 0) and row.trained_steps == 6


def test_a_long_curve_is_thinned(results):
    run = results()
    run.training(run.cell("good"), losses=list(range(1001)))
    row = by_framework(run)["good"]
    assert len(row.curve) <= 500 and row.trained_steps == 1001 and row.curve[0] == 0


def test_layers_leave_out_the_calibrating_laps_and_know_their_flops(results):
    run = results()
    tags = {"layer": "conv", "work": "forward"}
    laps = [(5.0, 1), (3.0, 1), (0.20, 10), (0.10, 10), (0.30, 10)]
    run.record(run.job(run.cell("good"), "layers"), [("layer", *lap, tags) for lap in laps])
    (time,) = by_framework(run)["good"].layers
    assert (time.seconds, time.low, time.high) == pytest.approx((0.02, 0.01, 0.03))
    assert time.kind == "conv" and time.flops == pytest.approx(1000 * 64 / 0.02)


def test_the_newest_run_counts_unless_it_was_interrupted(results):
    for name, seconds in (("10", 0.01), ("11", 0.02)):
        run = results(name)
        run.timing(run.cell("good"), [seconds])
    cut = results("12")
    cut.job(cut.cell("good"), "timing", state="cut")
    (row,) = rows.rows(cut.machine)
    assert row.run == "11" and row.step_seconds.median == pytest.approx(0.02)
    failing = results("13")
    failing.job(failing.cell("good"), "timing", state="failed", reason="broken")
    (row,) = rows.rows(cut.machine)
    assert (row.run, row.state) == ("13", "failed"), "a failure does not hide behind old numbers"


def test_another_version_keeps_its_row_and_other_conditions_are_never_joined(results):
    old = results("10")
    old.timing(old.cell("good"), [0.01])
    new = results("11")
    new.timing(new.cell("good"), [0.02])
    new.plan["frameworks"]["good"]["version"] = "2.0"
    new.write()
    other = results("12", label="official")
    other.timing(other.cell("good"), [0.03])
    found = rows.rows(old.machine)
    assert sorted((row.version, row.data) for row in found) == [
        ("1.0", "official"),
        ("1.0", "stand-in"),
        ("2.0", "stand-in"),
    ]


def test_a_run_of_parity_alone_does_not_hide_a_time(results):
    run = results("10")
    run.timing(run.cell("good"), [0.01])
    later = results("11")
    later.parity(later.cell("good"), {"losses": np.array([2.3])})
    (row,) = rows.rows(run.machine)
    assert row.run == "10" and row.n == 1


def test_rows_lead_to_their_samples_and_are_json(results):
    run = results()
    run.timing(run.cell("good"), [0.01])
    document = json.loads(json.dumps(rows.document(rows.rows(run.machine)), allow_nan=False))
    (row,) = document["rows"]
    assert document["schema"] == 1 and row["step_seconds"]["low"] is None
    (path,) = row["samples"]
    assert (run.folder.parents[2] / path).is_file()
