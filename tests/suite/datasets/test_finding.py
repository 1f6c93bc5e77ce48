import pytest
from rosetta import datasets, project
from rosetta.errors import DataError, SpecError

ALL = project.names(project.DATA, "dataset.toml")


def test_the_four_datasets_are_there():
    assert {"cifar10", "imdb", "chestxray14", "imagenet_photos"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_definition_is_complete_and_its_addresses_are_safe(name):
    spec = datasets.spec(name)
    assert all(a.url.startswith("https://") for a in spec.archives if a.url)
    fetched = [a for a in spec.archives if a.download and a.url]
    assert all((a.sha256 or a.md5) and a.bytes for a in fetched)
    assert all(dtype in ("uint8", "int32", "int64", "str") for dtype, *_ in spec.shapes.values())


@pytest.mark.parametrize("name", ALL)
def test_stand_ins_have_the_promised_shapes_and_are_the_same_every_time(name, load, tmp_path):
    first = load(name, stand_in=True)
    assert (first.label, "stand-in" in first.note) == ("stand-in", True)
    for array, (dtype, *shape) in datasets.spec(name).shapes.items():
        drawn = first.arrays[array]
        assert list(drawn.shape[1:]) == shape
        assert drawn.dtype == dtype or (dtype == "str" and drawn.dtype.kind == "U")
    files = {p.name: p.read_bytes() for f in first.folders.values() for p in f.iterdir()}
    for folder in first.folders.values():
        for path in folder.iterdir():
            path.unlink()
    again = load(name, stand_in=True)
    assert first.digest == again.digest
    assert {k: a.tobytes() for k, a in first.arrays.items()} == {
        k: a.tobytes() for k, a in again.arrays.items()
    }
    assert files == {p.name: p.read_bytes() for f in again.folders.values() for p in f.iterdir()}


def test_without_real_data_a_stand_in_is_drawn(load):
    assert load("cifar10").label == "stand-in"
    assert load("imagenet_photos", download=True).label == "stand-in"  # has no publisher


def test_rosetta_data_without_the_dataset_is_an_error_not_a_stand_in(load, real):
    real("imdb")
    with pytest.raises(DataError, match="holds no folder 'cifar10' or 'cifar-10'") as refusal:
        load("cifar10")
    assert "Fix: put CIFAR-10 there" in str(refusal.value)
    with pytest.raises(DataError, match="holds no folder"):
        datasets.recipe("cifar10", {}, stand_in=False, smoke=False)
    assert load("cifar10", stand_in=True).label == "stand-in"


def test_an_alias_is_a_name(load, real):
    real("imagenet-sample")
    with pytest.raises(DataError, match=r"imagenet-sample: expected labels.csv"):
        load("imagenet_photos")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10", r"expected cifar-10-batches-py/ or cifar-10-python.tar.gz, found \['x'\]"),
        ("imdb", r"expected imdb.npz or aclImdb, found \['x'\]"),
        ("chestxray14", "expected Data_Entry_2017_v2020.csv or Data_Entry_2017.csv"),
        ("imagenet_photos", "expected labels.csv"),
    ],
)
def test_a_folder_with_something_else_is_refused(load, real, name, expected):
    (real(name) / "x").write_text("?")
    with pytest.raises(DataError, match=expected):
        load(name)


def test_the_recipe_follows_sources_options_and_size(real, home):
    def key(options=None, **given):
        arguments = {"stand_in": False, "smoke": False} | given
        return datasets.recipe("imdb", options or {}, **arguments)

    folder = real("imdb")
    (folder / "imdb.npz").write_bytes(b"1")
    first = key()
    assert key() == first
    (folder / "imdb.npz").write_bytes(b"12")
    drawn = key(stand_in=True)
    keys = {first, key(), key({"pad": "pre"}), drawn, key(stand_in=True, smoke=True)}
    assert len(keys) == 5


def test_names_and_options_that_do_not_exist_are_refused(load):
    with pytest.raises(SpecError, match=r"got 'cifar11'\n  Fix: one of: .*cifar10"):
        load("cifar11")
    with pytest.raises(SpecError, match=r"unknown option 'lenght'\n  Fix: known options: voc"):
        load("imdb", {"lenght": 3}, stand_in=True)
    with pytest.raises(SpecError, match="expected length like 150, got '150'"):
        load("imdb", {"length": "150"}, stand_in=True)


def test_a_typo_in_a_definition_is_named_and_corrected(tmp_path, monkeypatch):
    text = (project.DATA / "cifar10" / "dataset.toml").read_text()
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "dataset.toml").write_text(text.replace("licence =", "license ="))
    monkeypatch.setattr(project, "DATA", tmp_path)
    with pytest.raises(SpecError, match=r"unknown key 'license'\n  Fix: did you mean 'licence'"):
        datasets.spec("cifar10")
