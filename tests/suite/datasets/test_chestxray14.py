import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from rosetta import project
from rosetta.datasets import workers
from rosetta.errors import DataError

chest = workers.prepare_module(project.DATA / "chestxray14" / "prepare.py")
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def png(seed, side=40, mode="L"):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def row(patient, findings="No Finding", number=0, end=""):
    name = f"{patient:08d}_{number:03d}.png"
    return f"{name},{findings},{number},{patient},50,M,PA,2500,2048,0.1,0.1{end}"


def write_table(folder, rows, name="Data_Entry_2017.csv", end=""):
    (folder / name).write_text("\n".join([HEADER + end, *rows]) + "\n")


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files:
            member = tarfile.TarInfo(f"images/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(real):
    """Twelve patients in two archives, in NIH's layout."""
    folder = real("chestxray14")
    rows = [row(p, "Mass|Edema" if p % 2 else "No Finding") for p in range(1, 13)]
    write_table(folder, rows)
    for archive, patients in ((1, range(1, 7)), (2, range(7, 13))):
        files = [(f"{p:08d}_000.png", png(p)) for p in patients]
        write_tar(folder / f"images_{archive:03d}.tar.gz", files)
    return folder


def test_archives_are_resized_and_split_by_patient(folder, load):
    found = load("chestxray14")
    assert found.label == "subset"
    assert [len(found.arrays[f"{s}.files"]) for s in ("train", "valid", "test")] == [9, 1, 2]
    assert found.arrays["test.patient"].tolist() == [11, 12]
    assert found.arrays["train.files"][0] == "00000001_000.png"
    assert np.flatnonzero(found.arrays["train.y"][0]).tolist() == [3, 9]  # Edema, Mass
    assert not found.arrays["train.y"][1].any()
    with Image.open(found.folders["images"] / "00000001_000.png") as image:
        assert (image.size, image.mode) == ((264, 264), "RGB")
        resized = np.asarray(image)
    with Image.open(io.BytesIO(png(1))) as image:
        expected = image.convert("RGB").resize((264, 264), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized, expected)


def test_folders_give_the_same_as_archives(folder, load):
    archives = load("chestxray14")
    for path in sorted(folder.glob("*.tar.gz")):
        with tarfile.open(path) as tar:
            tar.extractall(folder / path.name[:10], filter="data")
        path.unlink()
    folders = load("chestxray14")
    assert folders.folders != archives.folders
    for name in archives.arrays:
        np.testing.assert_array_equal(folders.arrays[name], archives.arrays[name])
    for path in archives.folders["images"].iterdir():
        assert (folders.folders["images"] / path.name).read_bytes() == path.read_bytes()


def test_a_ready_image_is_taken_as_it_is(folder, load):
    ready = png(0, side=264, mode="RGB")
    (folder / "images").mkdir()
    (folder / "images" / "00000001_000.png").write_bytes(ready)
    found = load("chestxray14")
    assert (found.folders["images"] / "00000001_000.png").read_bytes() == ready


def test_both_releases_of_the_table_are_read(folder, load):
    new = load("chestxray14")
    rows = [row(p, "Mass|Edema" if p % 2 else "No Finding", end=",") for p in range(1, 13)]
    write_table(folder, rows, end=",")
    old = load("chestxray14")
    np.testing.assert_array_equal(old.arrays["train.y"], new.arrays["train.y"])


def test_a_resize_that_was_cut_off_goes_on(folder, load):
    whole = load("chestxray14")
    images = whole.folders["images"]
    kept, lost = images / "00000001_000.png", images / "00000002_000.png"
    content, time = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    again = load("chestxray14")
    assert (lost.read_bytes(), kept.stat().st_mtime_ns) == (content, time)
    assert again.digest == whole.digest


def test_listed_images_that_are_not_there_make_a_subset(folder, load):
    (folder / "images_002.tar.gz").unlink()
    found = load("chestxray14")
    assert (found.label, "6 images of 12 listed" in found.note) == ("subset", True)


@pytest.mark.parametrize("broken", [png(3)[:-40], png(3)[:900], b"GIF89a", b""])
def test_a_damaged_image_is_refused_by_name(folder, load, broken):
    files = [(f"{p:08d}_000.png", broken if p == 3 else png(p)) for p in range(1, 7)]
    write_tar(folder / "images_001.tar.gz", files)
    with pytest.raises(
        DataError, match=r"images_001.tar.gz: images/00000003_000.png is cut off or damaged"
    ):
        load("chestxray14")


def test_an_image_without_a_row_is_refused(folder, load):
    write_tar(folder / "images_003.tar.gz", [("00000099_000.png", png(1))])
    with pytest.raises(DataError, match=r"00000099_000.png: the table has no row for it"):
        load("chestxray14")


@pytest.mark.slow  # hashes two gigabytes of zeros
def test_an_official_archive_with_a_wrong_byte_is_refused(folder, load):
    with (folder / "images_001.tar.gz").open("wb") as file:
        file.truncate(2_008_470_987)  # of NIH's size, all zeros, taking no room
    with pytest.raises(DataError, match="expected md5 fe8ed0a6961412fddcbb3603c11b3698, found"):
        load("chestxray14")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(1), "00000002_000.png,Mass,0"], "line 3: expected 11 fields, got 3"),
        ([row(1), row(1)], "line 3: 00000001_000.png is listed twice"),
        ([row(1, "Mas")], "line 2: unknown finding 'Mas'"),
        ([row(1, "Mass|No Finding")], "unknown finding 'No Finding'"),
        ([row(1).replace(",0,1,", ",0,2,")], "expected an image of patient '2', got '00000001"),
        ([row(1).replace("00000001_000", "../000001")], "expected an image of patient '1'"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(folder, load, rows, expected):
    write_table(folder, rows)
    with pytest.raises(DataError, match=expected):
        load("chestxray14")


def test_another_table_is_refused(folder, load):
    (folder / "Data_Entry_2017.csv").write_text("image,label\n1,2\n")
    with pytest.raises(DataError, match=r"expected columns \['Image Index', .*got \['image'"):
        load("chestxray14")


def test_the_full_set_is_split_by_patient_id():
    none = np.zeros(14, np.uint8)
    patients = [1, 21_563, 21_564, 24_643, 24_644, 30_805, *range(2, 1000)]
    arrays, by_rank = chest.split({f"{p:08d}_000.png": (p, none) for p in patients})
    assert not by_rank
    assert arrays["train.patient"].max() == 21_563
    assert arrays["valid.patient"].tolist() == [21_564, 24_643]
    assert arrays["test.patient"].tolist() == [24_644, 30_805]
    with pytest.raises(DataError, match="expected patients 1 to 30805, got 30806"):
        chest.split({f"{p:08d}_000.png": (p, none) for p in [*patients, 30_806]})


def test_the_stand_in_never_splits_a_patient_and_shows_every_finding(load):
    drawn = load("chestxray14", stand_in=True)
    parts = [set(drawn.arrays[f"{s}.patient"].tolist()) for s in ("train", "valid", "test")]
    assert not (parts[0] & parts[1] or parts[1] & parts[2] or parts[0] & parts[2])
    names = [name for s in ("train", "valid", "test") for name in drawn.arrays[f"{s}.files"]]
    assert len(names) == 256
    contents = {(drawn.folders["images"] / name).read_bytes() for name in names}
    assert len(contents) == 256
    assert (drawn.arrays["train.y"].sum(0) > 0).all()
    table = chest.read_table(drawn.folders["images"] / "Data_Entry_2017.csv")
    assert sorted(table) == sorted(names)
