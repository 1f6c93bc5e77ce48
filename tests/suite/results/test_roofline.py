"""Which figure counts, how it is kept, and what share of it a row reached."""

import json

import pytest
from rosetta import roofline, rows
from rosetta.errors import ResultError


def sample(figure, what, *seconds, precision="fp32", work=100, calls=1):
    key = {"figure": figure, "precision": precision, "what": what, "work": work}
    return {**key, "first": 1.0, "calls": calls, "laps": [calls * each for each in seconds]}


def turns(**samples):
    """Turns of libraries: library -> the samples of each of its rounds."""
    return [
        {
            "framework": name,
            "version": "1",
            "round": number,
            "printed": {
                "schema": 1,
                "device": "cpu",
                "versions": {},
                "environment": {},
                "samples": found,
                "left_out": [],
            },
        }
        for name, rounds in samples.items()
        for number, found in enumerate(rounds, 1)
    ]


def measurement(gemm=1e6, device="cpu", threads=2, precision="fp32", **other):
    """A measurement whose best product runs at ``gemm`` flop/s."""
    seconds = 100 / gemm
    made = turns(good=[[sample("gemm", "8 x 8", seconds, precision=precision)]] * 3)
    best, libraries = roofline.best(made)
    facts = {"title": "Good", "version": "1", "lock_digest": "", "state": "measured", "reason": ""}
    return {
        "device": device,
        "threads": threads,
        "date": "2026-11-21T12:00:00Z",
        "rounds": 3,
        "seconds": 1.0,
        "bytes": 1 << 20,
        "commit": "",
        "dirty": None,
        "machine": {"name": "here", "cpu": "a CPU", "cores": 2, "gpus": []},
        "frameworks": {"good": facts},
        "best": best,
        "libraries": libraries,
        "turns": made,
        **other,
    }


def figures(made):
    best, libraries = roofline.best(made)
    return {f["figure"]: f for f in best}, {(f["figure"], f["framework"]): f for f in libraries}


def test_the_median_over_rounds_counts_and_no_lucky_lap():
    steady = [[sample("gemm", "8 x 8", 1.0, 1.0, 1.0)]] * 3
    lucky = [[sample("gemm", "8 x 8", 0.1, 2.0, 2.0)]] * 2 + [[sample("gemm", "8 x 8", 0.5)]]
    best, libraries = figures(turns(steady=steady, lucky=lucky))
    assert best["gemm"]["framework"] == "steady" and best["gemm"]["median"] == 100
    assert libraries["gemm", "lucky"]["median"] == 50
    assert best["gemm"]["n"] == 3
    assert best["gemm"]["low"] == pytest.approx(100) == best["gemm"]["high"]


def test_of_sizes_and_layouts_the_fastest_stands_for_a_library():
    found = [sample("gemm", "small", 1.0), sample("gemm", "large", 4.0, work=800)]
    best, _ = figures(turns(good=[found] * 3))
    assert best["gemm"]["what"] == "large" and best["gemm"]["median"] == 200


def test_a_size_that_did_not_fit_every_round_is_no_match():
    small, large = sample("gemm", "small", 1.0), sample("gemm", "large", 1.0, work=800)
    best, _ = figures(turns(good=[[small], [small, large], [small]]))
    assert best["gemm"]["what"] == "small"


def test_a_dispatch_is_seconds_a_call_and_the_shortest_is_the_best():
    slow = [[sample("dispatch", "relu", 3e-6, precision="", calls=1000)]] * 3
    fast = [[sample("dispatch", "relu", 2e-6, precision="", calls=1000)]] * 3
    best, _ = figures(turns(slow=slow, fast=fast, other=slow))
    assert best["dispatch"]["framework"] == "fast" and best["dispatch"]["unit"] == "s"
    assert best["dispatch"]["median"] == pytest.approx(2e-6)


def test_every_precision_has_a_best_of_its_own():
    found = [sample("gemm", "8", 1.0), sample("gemm", "8", 0.1, precision="bf16")]
    best, _ = roofline.best(turns(good=[found] * 3))
    assert {f["precision"]: f["median"] for f in best} == {"fp32": 100, "bf16": 1000}


def test_a_new_measurement_replaces_the_one_of_equal_device_and_threads(tmp_path):
    for threads, gemm in ((2, 1e6), (1, 5e5), (2, 2e6)):
        path = roofline.write(tmp_path, measurement(gemm, threads=threads))
    found = roofline.read(tmp_path)
    assert [m["threads"] for m in found.measurements] == [1, 2]
    assert found.best_gemm("fp32", "cpu", 1) == pytest.approx(5e5)
    assert found.best_gemm("fp32", "cpu", 2) == pytest.approx(2e6)
    assert not list(tmp_path.glob("*.part")) and path == tmp_path / "roofline.json"
    raw = json.loads(path.read_text())["measurements"][1]["turns"][0]["printed"]["samples"]
    assert raw[0]["laps"], "raw laps are kept"


def test_what_was_not_measured_alike_has_no_share(tmp_path):
    roofline.write(tmp_path, measurement(1e6))
    found = roofline.read(tmp_path)
    assert found.share(5e5, "fp32", "cpu", 2) == pytest.approx(0.5)
    for unlike in (("bf16", "cpu", 2), ("fp32", "cuda", 2), ("fp32", "cpu", 1)):
        assert found.share(5e5, *unlike) is None
    assert found.share(None, "fp32", "cpu", 2) is None
    assert roofline.read(tmp_path / "another").share(5e5, "fp32", "cpu", 2) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"schema": 2}', "schema 2; this rosetta reads 1"),
        ('{"schema": 1, "measurements": [{}]}', "is a required property"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "roofline.json").write_text(text)
    with pytest.raises(ResultError, match=rf"roofline\.json: .*{message}"):
        roofline.read(tmp_path)


def test_a_measurement_that_breaks_the_schema_is_not_written(tmp_path):
    with pytest.raises(ResultError, match="roofline.json"):
        roofline.write(tmp_path, measurement(threads=0))
    assert not list(tmp_path.iterdir())


# ---- Rows: the workload of these tests counts 3 flops a sample in training, its layer 1000 -------


def with_layers(run):
    cell = run.cell("good")
    run.timing(cell, [0.01] * 3)
    laps = [("layer", s, n, {"layer": "conv", "work": "forward"}) for s, n in [(1, 1)] * 2 + [(2, 10)]]
    run.record(run.job(cell, "layers"), laps)
    return cell


def test_steps_and_layers_are_shares_of_the_best_product(results):
    run = results()
    with_layers(run)
    roofline.write(run.machine, measurement(1e6))
    (row,) = rows.rows(run.machine)
    assert row.roofline == pytest.approx(3 * 64 / 0.01 / 1e6)
    (layer,) = row.layers
    assert layer.share == pytest.approx(1000 * 64 / 0.2 / 1e6)
    assert rows.document([row])["rows"][0]["layers"][0]["share"] == layer.share


@pytest.mark.parametrize("unlike", [{"threads": 1}, {"device": "cuda"}, {"precision": "bf16"}])
def test_rows_measured_otherwise_have_no_share(results, unlike):
    run = results()
    with_layers(run)
    roofline.write(run.machine, measurement(**unlike))
    (row,) = rows.rows(run.machine)
    assert row.roofline is None and row.layers[0].share is None


def test_without_a_roofline_rows_are_as_they_were(results):
    run = results()
    with_layers(run)
    (row,) = rows.rows(run.machine)
    assert row.roofline is None and row.layers[0].share is None and row.layers[0].flops
