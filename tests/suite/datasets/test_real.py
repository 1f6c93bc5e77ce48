"""The real data under ROSETTA_DATA: labels and counts."""

import os
from pathlib import Path

import numpy as np
import pytest
from rosetta import datasets

ROOT = os.environ.get("ROSETTA_DATA", "")


def real_data(name, tmp_path, monkeypatch, options=None):
    spec = datasets.spec(name)
    if not ROOT or not any((Path(ROOT) / n).is_dir() for n in (name, *spec.aliases)):
        pytest.skip(f"needs ROSETTA_DATA with {spec.title}")
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path))
    flags = {"stand_in": False, "download": False, "large": False, "smoke": False}
    return datasets.load(name, options or {}, progress=lambda *_: None, **flags)


def test_cifar10_is_the_published_one(tmp_path, monkeypatch):
    found = real_data("cifar10", tmp_path, monkeypatch)
    assert found.label == "official"
    assert found.arrays["train.y"][:5].tolist() == [6, 9, 9, 4, 1]  # frog, truck, truck, deer, car
    mean = found.arrays["train.x"].mean((0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)  # as published


@pytest.mark.slow
def test_imdb_has_all_reviews(tmp_path, monkeypatch):
    found = real_data("imdb", tmp_path, monkeypatch)
    for split in ("train", "test"):
        x = found.arrays[f"{split}.x"]
        assert x.shape == (25_000, 150)
        assert (x.min(), x.max() < 30_000) == (0, True)
        assert 0.01 < (x == 2).mean() < 0.05  # words beyond the vocabulary
        assert found.arrays[f"{split}.y"].mean() == 0.5


@pytest.mark.slow
def test_every_x_ray_is_ready_for_training(tmp_path, monkeypatch):
    found = real_data("chestxray14", tmp_path, monkeypatch)
    names = np.concatenate([found.arrays[f"{s}.files"] for s in ("train", "valid", "test")])
    assert len(names) == len(list(found.folders["images"].glob("*.png")))
    if len(names) < 1000:
        assert found.label == "subset"


def test_photos_cover_the_classes(tmp_path, monkeypatch):
    found = real_data("imagenet_photos", tmp_path, monkeypatch)
    assert sorted(found.arrays["test.y"]) == list(range(1000))
    assert found.arrays["test.x"].shape == (1000, 3, 224, 224)
