"""Canonical inputs on disk: whole or not there, the same every time, verified."""

import json

import numpy as np
import pytest
from rosetta import inputs, weights
from rosetta.errors import DataError
from rosetta.spec import workload


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROSETTA_DATA", raising=False)
    return tmp_path / "home"


@pytest.fixture
def cnn():
    return workload.load("cnn_cifar10")


STAND_IN = inputs.Source(stand_in=True)


def test_preparing_twice_gives_the_same_manifest_without_work(cnn, home):
    first = inputs.prepare(cnn, "smoke", STAND_IN)
    arrays = {p: p.stat().st_mtime_ns for p in (home / "inputs/arrays").iterdir()}
    assert inputs.prepare(cnn, "smoke", STAND_IN) == first
    assert {p: p.stat().st_mtime_ns for p in (home / "inputs/arrays").iterdir()} == arrays


def test_a_manifest_names_whole_arrays_of_the_contract(cnn):
    path = inputs.prepare(cnn, "smoke", STAND_IN)
    manifest = inputs.load_manifest(path)
    assert manifest["data"]["label"] == "stand-in" and manifest["weights"] == "random"
    x, order = (inputs.load_array(path, manifest, name) for name in ("train.x", "order"))
    assert x.shape == (512, 3, 32, 32) and x.dtype == np.uint8
    assert sorted(order[0]) == list(range(512))
    wanted = {"test.x", "test.y", "parity.x", "parity.y"}
    assert wanted <= set(manifest["arrays"])
    for tensor in cnn.tensors:
        for kind in ("tensors", "parity"):
            value = inputs.load_array(path, manifest, f"{kind}/{tensor.name}")
            assert value.shape == tensor.shape and value.dtype == np.float32


def test_a_lost_or_cut_off_array_is_written_again(cnn, home):
    path = inputs.prepare(cnn, "smoke", STAND_IN)
    manifest = inputs.load_manifest(path)
    array = (path.parent / manifest["arrays"]["train.x"]["file"]).resolve()
    whole = array.read_bytes()
    array.unlink()
    assert inputs.prepare(cnn, "smoke", STAND_IN) == path and array.read_bytes() == whole


def test_another_seed_draws_other_values_but_the_same_parity(cnn):
    one, two = (
        inputs.load_manifest(inputs.prepare(cnn, "smoke", inputs.Source(stand_in=True, seed=seed)))
        for seed in (0, 1)
    )
    digests = [{k: e["sha256"] for k, e in m["arrays"].items()} for m in (one, two)]
    differ = {k for k in digests[0] if digests[0][k] != digests[1][k]}
    assert {"order", "tensors/conv1.weight"} <= differ and one["digest"] != two["digest"]
    assert not any(name.startswith(("parity", "train", "test")) for name in differ)


def test_smoke_and_quick_never_download(monkeypatch, home):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("a download was begun"))
    monkeypatch.setattr("rosetta.datasets.loading.fetch_all", lambda *_, **__: pytest.fail("begun"))
    path = inputs.prepare(workload.load("gru_imdb"), "smoke", inputs.Source())
    assert inputs.load_manifest(path)["data"]["label"] == "stand-in"


def test_a_promised_folder_that_lacks_the_data_is_an_error(cnn, monkeypatch, tmp_path):
    monkeypatch.setenv("ROSETTA_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cifar10"):
        inputs.prepare(cnn, "smoke", inputs.Source())


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    inputs.write_whole(path, b"1")
    with pytest.raises(TypeError):
        inputs.write_whole(path, "not bytes")
    assert path.read_bytes() == b"1" and [p.name for p in tmp_path.glob("a*")] == ["a.json"]


@pytest.fixture
def torch_file(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("ROSETTA_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    task = workload.load("resnet50_features")
    rng = np.random.default_rng(0)
    state = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in task.tensors}
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    tensors["fc.weight"] = torch.zeros(1000, 2048)  # the classifier is left out
    path = tmp_path / "weights/resnet50-test.pth"
    torch.save(tensors, path)
    return task, state, path


def test_pretrained_weights_are_read_without_torch_and_named(torch_file):
    task, state, _ = torch_file
    found = weights.find(task)
    assert found.label.startswith("resnet50-test.pth (")
    taken = weights.take(found, task.tensors)
    assert set(taken) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(taken[name], value)


def test_weights_of_another_network_are_refused_by_name(torch_file):
    task, _, _ = torch_file
    other = workload.load("densenet_chexnet")
    with pytest.raises(DataError, match=r"conv0\.weight should be .* nothing of that name"):
        weights.take(weights.find(task), other.tensors)


def test_a_pickle_that_asks_for_more_is_refused(torch_file):
    import os

    torch = pytest.importorskip("torch")
    task, _, path = torch_file
    torch.save({"a": os.system}, path)
    with pytest.raises(DataError, match="system, which no state dict needs"):
        weights.take(weights.find(task), task.tensors)


def test_a_cut_off_weights_file_is_refused(torch_file):
    task, _, path = torch_file
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="is not a zip"):
        weights.take(weights.find(task), task.tensors)


def test_manifests_are_json_that_other_languages_read(cnn):
    path = inputs.prepare(cnn, "smoke", STAND_IN)
    document = json.loads(path.read_text())
    assert document["schema"] == 1 and document["schedule"]["timing"]["steps"] == 6
