"""A home of its own for every test, and ``load`` with the arguments that seldom matter."""

import pytest
from rosetta import datasets


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROSETTA_DATA", raising=False)
    return tmp_path / "home"


@pytest.fixture
def load(home):
    def load(name, options=None, **given):
        arguments = {"stand_in": False, "download": False, "large": False, "smoke": True}
        arguments |= {"progress": lambda what, done, total: None} | given
        return datasets.load(name, options or {}, **arguments)

    return load


@pytest.fixture
def real(tmp_path, monkeypatch, home):
    """A folder that ROSETTA_DATA names; ``real(name)`` makes the folder of a dataset in it."""

    def real(name):
        folder = tmp_path / "real" / name
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("ROSETTA_DATA", str(tmp_path / "real"))
        return folder

    return real
