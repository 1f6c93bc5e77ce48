import pickle
import tarfile

import numpy as np
import pytest
from rosetta.errors import DataError

BATCHES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


def batch(number, labels=None, size=10_000):
    data = np.zeros((size, 3072), np.uint8)
    data[:, :3] = number
    data[:, -1] = np.arange(size) % 256
    labels = [i % 10 for i in range(size)] if labels is None else labels
    return pickle.dumps({b"data": data, b"labels": labels}, 4)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """A folder in the official layout with other images."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate(BATCHES):
        (folder / name).write_bytes(batch(number))
    return folder


@pytest.fixture
def altered(layout, real):
    """The layout under ROSETTA_DATA, with some batches replaced."""

    def altered(**batches):
        folder = real("cifar10") / "cifar-10-batches-py"
        folder.mkdir()
        for name in BATCHES:
            (folder / name).symlink_to(layout / name)
        for name, content in batches.items():
            (folder / name).unlink()
            if content is not None:
                (folder / name).write_bytes(content)

    return altered


def test_another_set_in_the_layout_is_unofficial(altered, load):
    altered()
    found = load("cifar10")
    assert (found.label, found.arrays["train.x"].shape) == ("unofficial", (50_000, 3, 32, 32))
    assert found.arrays["test.x"].shape == (10_000, 3, 32, 32)
    assert found.arrays["train.x"][::10_000, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.arrays["test.x"][300, 2, 31, 31] == 300 % 256  # channel-major: the last pixel
    assert found.arrays["train.y"][:11].tolist() == [*range(10), 0]


@pytest.mark.slow
def test_the_archive_is_read_like_the_folder(altered, layout, load, real):
    altered()
    folder = load("cifar10")
    for path in (real("cifar10") / "cifar-10-batches-py").iterdir():
        path.unlink()
    with tarfile.open(real("cifar10") / "cifar-10-python.tar.gz", "w") as tar:
        tar.add(layout, "cifar-10-batches-py")
    archive = load("cifar10")
    assert (archive.label, archive.digest) == ("unofficial", folder.digest)
    np.testing.assert_array_equal(archive.arrays["train.x"], folder.arrays["train.x"])


def test_a_truncated_archive_is_refused(layout, load, real):
    path = real("cifar10") / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w") as tar:
        tar.add(layout, "cifar-10-batches-py")
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(DataError, match=r"expected 170498071 bytes with sha256 6d958be074577803"):
        load("cifar10")


def test_a_truncated_batch_is_refused_with_both_digests(altered, load):
    altered(data_batch_2=batch(1)[:-1_000_000])
    with pytest.raises(
        DataError,
        match=r"data_batch_2 is damaged: expected 31035320 bytes with md5 d4bba439e000b95f.*, found"
        r" sha256 [0-9a-f]{64}",
    ) as refusal:
        load("cifar10")
    assert "Fix: " in str(refusal.value)


def test_an_official_batch_with_a_wrong_byte_is_refused(altered, load):
    altered(data_batch_1=batch(0).ljust(31_035_704, b"\0"))
    with pytest.raises(
        DataError, match=r"expected md5 c99cafc152244af753f735de768cd75f, found [0-9a-f]{32}"
    ):
        load("cifar10")


def test_a_missing_batch_is_named(altered, load):
    altered(data_batch_4=None)
    with pytest.raises(DataError, match="expected data_batch_4, it is missing"):
        load("cifar10")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (batch(0, size=9_999), r"expected data uint8 \(10000, 3072\), got \(9999, 3072\)"),
        (batch(0, labels=[0] * 9_998), "expected 10000 labels, got 9998"),
        (batch(0, labels=[0] * 9_999 + [10]), "expected classes 0 to 9, got 10"),
        (batch(0, labels=[0] * 10_000), r"expected 1000 test images of each class, got \[10000, 0"),
        (pickle.dumps([1, 2]), "got None"),
    ],
)
def test_other_counts_are_refused(altered, load, content, expected):
    altered(test_batch=content)
    with pytest.raises(DataError, match=expected):
        load("cifar10")


def test_the_stand_in_has_all_classes_and_pixels_differ(load):
    drawn = load("cifar10", stand_in=True)
    x, y = drawn.arrays["train.x"], drawn.arrays["train.y"]
    assert (x.shape[0], drawn.arrays["test.x"].shape[0]) == (512, 256)
    assert (np.bincount(y, minlength=10) >= 51).all()
    assert len({image.tobytes() for image in x}) == 512
