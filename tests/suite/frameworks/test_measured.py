"""Every framework's real notebook in its real environment: each kind of job, judged."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOME = ROOT / ".rosetta"
HALVES = "cnn_cifar10 gru_imdb", "resnet50_features densenet_chexnet"  # about as long
pytestmark = [
    pytest.mark.slow,
    pytest.mark.frameworks,
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be told apart"),
]


@pytest.fixture(scope="module")
def projects(checkout):
    """Two checkouts with all notebooks, using the environments that are built already."""
    found = [checkout("benchmarks", "notebooks") for _ in HALVES]
    for made in found:
        home = Path(made.environment["ROSETTA_HOME"])
        home.mkdir()
        for name in ("env", "jupyter"):
            if not (HOME / name).is_dir():
                pytest.skip("no framework is set up here: rosetta setup")
            (home / name).symlink_to(HOME / name)
    return found


@pytest.fixture(scope="module")
def project(projects):
    """The one with the run of the CNN."""
    return projects[0]


@pytest.fixture(scope="module")
def rows(projects):
    """The rows of a smoke run of all cells: its halves side by side, each on a core of its own."""
    cores = cycle(sorted(os.sched_getaffinity(0)))

    def half(project, workloads, core):
        os.sched_setaffinity(0, {core})  # of this thread, and so of what it starts
        done = project.rosetta("run", "--profile", "smoke", "--json", "--workload", workloads)
        return json.loads(done.stdout)["rows"]

    with ThreadPoolExecutor(len(HALVES)) as pool:
        return [row for found in pool.map(half, projects, HALVES, cores) for row in found]


def measured(rows):
    return [row for row in rows if row["state"] == "measured"]


def fed_from_files(rows):
    found = [row for row in measured(rows) if row["feed"] == "files"]
    assert {row["framework"] for row in found} == {"pytorch", "trivet"}
    return found


def test_every_cell_is_measured_or_says_why_not(rows):
    assert {row["state"] for row in rows} <= {"measured", "not offered", "not installable"}
    assert all(row["reason"] for row in rows if row["state"] != "measured")
    done = {(row["workload"], row["framework"]) for row in measured(rows)}
    offered = {("cnn_cifar10", f) for f in ("pytorch", "keras_tf", "jax_flax", "mxnet_gluon")}
    others = "resnet50_features", "gru_imdb", "densenet_chexnet"
    offered |= {("cnn_cifar10", "trivet")}
    offered |= {(w, f) for w in others for f in ("pytorch", "trivet")}
    lacking = {row["framework"] for row in rows if row["state"] == "not installable"}
    assert {cell for cell in offered if cell[1] not in lacking} <= done


def test_every_framework_computes_what_the_float64_reference_does(rows):
    judged = [row for row in measured(rows) if row["parity"]]
    assert len(judged) >= 4
    for row in judged:
        told = row["framework"], row["workload"], row["parity"]["reason"]
        assert row["parity"]["state"] == "verified", told


def test_stand_ins_are_labelled(rows):
    data = {(row["workload"], row["feed"]): row["data"] for row in measured(rows)}
    assert data[("cnn_cifar10", "arrays")] == "stand-in"
    assert data[("densenet_chexnet", "files")] == "stand-in"
    assert data[("densenet_chexnet", "synthetic")] == "synthetic"


def test_training_is_evaluated_on_all_test_samples(rows):
    for row in measured(rows):
        if row["workload"] in ("cnn_cifar10", "gru_imdb"):
            assert 0 < row["accuracy"] < 1 and row["trained_steps"] > 0
    for files in fed_from_files(rows):
        assert 0 < files["auc"] < 1 and files["auc_classes"] > 0


def test_files_and_synthetic_images_differ_by_a_lag(rows):
    assert all(files["io_lag_seconds"] is not None for files in fed_from_files(rows))


def test_features_of_the_photos_are_kept_and_compared(rows):
    found = [r for r in measured(rows) if r["workload"] == "resnet50_features" and r["features"]]
    assert {row["framework"] for row in found} == {"pytorch", "trivet"}
    assert all(row["features"]["error"] < 1e-3 for row in found)


def test_every_layer_is_timed_forward_and_backward(rows):
    for row in measured(rows):
        names = {time["layer"] for time in row["layers"]}
        if row["workload"] == "cnn_cifar10":
            assert {"conv1", "pool2", "fc2"} <= names and len(names) == 16
            work = {t["work"] for t in row["layers"] if t["layer"] == "conv2"}
            assert work == {"forward", "input_gradient", "weight_gradient", "total"}


FAULTS = {
    "transposed image": ("(0, 2, 3, 1))  # (N, 32, 32, 3)", "(0, 3, 2, 1))", "conv1"),
    "shifted padding": (
        'layers.Conv2D(50, 3, padding="same", name="conv2")',
        'layers.ZeroPadding2D(((2, 0), (1, 1))), layers.Conv2D(50, 3, name="conv2")',
        "conv2",
    ),
    "kernel mapped with its axes swapped": (
        "return value.transpose(2, 3, 1, 0) if",
        "return value.transpose(3, 2, 1, 0) if",
        "conv1",
    ),
    "momentum of the other form": ("momentum=0.9)", "momentum=0.9, nesterov=True)", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_named(rows, project, fault):
    """Judged by the float64 reference of the run of all cells, which was fed the same."""
    right, wrong, named = FAULTS[fault]
    path = project.folder / "notebooks/keras_tf/cnn_cifar10.ipynb"
    whole = path.read_text()
    spelled = json.dumps(right)[1:-1]
    assert whole.count(spelled) == 1
    path.write_text(whole.replace(spelled, json.dumps(wrong)[1:-1]))
    try:
        words = "--framework", "keras_tf", "--workload", "cnn_cifar10"
        words += "--profile", "smoke", "--kind", "parity", "--json"
        done = project.rosetta("run", *words)
    finally:
        path.write_text(whole)
    (found,) = sorted(project.runs[-1].parent.glob("judged/*keras_tf*.json"))
    document = json.loads(found.read_text())
    assert document["state"] == "outside", done.stdout
    assert named in document["reason"]


def test_verify_is_content_with_this_installation(project):
    done = project.rosetta("verify", "keras_tf", "trivet", "--workload", "cnn_cifar10")
    assert "all is as it should be" in done.stdout and "FAIL" not in done.stdout
