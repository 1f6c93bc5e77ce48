import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from rosetta.errors import DataError


def jpeg(width, height, grey=100):
    file = io.BytesIO()
    image = Image.new("RGB", (width, height), (grey,) * 3)
    image.paste((255, 0, 0), (0, 0, width // 2, height))  # red left half
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


PHOTOS = {"b.JPEG": jpeg(300, 256), "a.JPEG": jpeg(100, 200), "c.JPEG": jpeg(512, 700)}


@pytest.fixture
def folder(real):
    folder = real("imagenet-sample")
    (folder / "labels.csv").write_text("filename,class_index\nb.JPEG,1\na.JPEG,999\nc.JPEG,0\n")
    with tarfile.open(folder / "photos.tar", "w") as tar:
        for name, content in PHOTOS.items():
            member = tarfile.TarInfo(f"photos/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder


def test_photos_are_sorted_resized_and_cropped(folder, load):
    found = load("imagenet_photos")
    x, y = found.arrays["test.x"], found.arrays["test.y"]
    assert (x.shape, x.dtype, y.tolist()) == ((3, 3, 224, 224), np.uint8, [999, 1, 0])
    assert found.label == "unofficial"
    for image in x:  # the middle stays in the middle: red on the left, grey on the right
        assert abs(image[:, 100, 60].astype(int) - [255, 0, 0]).max() < 12
        assert abs(image[:, 100, 170].astype(int) - 100).max() < 12


def test_a_folder_of_photos_gives_the_same(folder, load):
    tar = load("imagenet_photos")
    (folder / "photos.tar").unlink()
    for name, content in PHOTOS.items():
        (folder / name).write_bytes(content)
    loose = load("imagenet_photos")
    assert loose.digest == tar.digest
    np.testing.assert_array_equal(loose.arrays["test.x"], tar.arrays["test.x"])


def test_a_truncated_photo_is_refused_by_name(folder, load):
    (folder / "photos.tar").unlink()
    for name, content in PHOTOS.items():
        (folder / name).write_bytes(content[: -len(content) // 2] if name == "b.JPEG" else content)
    with pytest.raises(DataError, match=r"b.JPEG is cut off or damaged .* sha256 [0-9a-f]{64}"):
        load("imagenet_photos")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("filename,class_index\nb.JPEG,1\na.JPEG,2\nc.JPEG,3\nd.JPEG,4\n", "d.JPEG is missing"),
        ("filename,class_index\nb.JPEG,1\n", "a.JPEG: expected one row of labels.csv"),
        (
            "filename,class_index\nb.JPEG,1000\n",
            "line 2: .* a class 0 to 999, got .*1000",
        ),
        ("filename,class_index\nb.JPEG,1\nb.JPEG,1\n", "line 3: expected a new photo"),
        ("name,label\nb.JPEG,1\n", "expected columns filename and class_index, got"),
        ("filename,class_index\n", "expected one row of labels.csv"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(folder, load, table, expected):
    (folder / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=expected):
        load("imagenet_photos")
