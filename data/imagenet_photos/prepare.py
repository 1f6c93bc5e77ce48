"""ImageNet photos: JPEGs with their labels, resized to 256 and cropped to 224; or drawn ones."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from rosetta import datasets
from rosetta.errors import DataError

RESIZED, CROP, CLASSES = 256, 224, 1000
SUFFIXES = (".jpeg", ".jpg")
FIX = "put imagenet-sample-1000.tar (or a folder of JPEGs) and labels.csv there"


def read(folder: Path, options: dict, work: Path, progress) -> datasets.Contents:
    """Reads ``labels.csv`` and the photos it names, from a tar or a folder; sorted by file name.

    Raises:
        DataError: no photos or no table; a photo that is damaged, or without a row; a row without
            its photo.
    """
    labels_path = folder / "labels.csv"
    labels = _labels(labels_path)
    digests = {labels_path.name: datasets.digest_of(labels_path)}
    photos: dict[str, np.ndarray] = {}
    contents: dict[str, str] = {}
    for where, name, content in _sources(folder):
        if name not in labels or name in photos:
            raise DataError(f"{where}: expected one row of labels.csv and one photo of it", FIX)
        photos[name] = _pixels(where, content)
        contents[name] = hashlib.sha256(content).hexdigest()
        if len(photos) % 20 == 0:
            progress("reading the photos", len(photos), len(labels))
    missing = sorted(labels.keys() - photos.keys())
    if missing or not photos:
        raise DataError(
            f"{folder}: expected {len(labels)} photos, found {len(photos)}"
            + (f"; {missing[0]} is missing" if missing else ""),
            FIX,
        )
    names = sorted(photos)
    lines = "".join(f"{name}:{contents[name]}\n" for name in names)
    digests["photos"] = hashlib.sha256(lines.encode()).hexdigest()
    arrays = {
        "test.x": np.stack([photos[name] for name in names]),  # (N, 3, 224, 224)
        "test.y": np.array([labels[name] for name in names], np.int64),
    }
    note = f"{len(names):,} ImageNet photos of {len(set(labels.values())):,} classes"
    return datasets.Contents(arrays, "unofficial", note, digests)


def _labels(path: Path) -> dict[str, int]:
    """File name -> class, 0 to 999."""
    if not path.is_file():
        raise DataError(f"{path.parent}: expected labels.csv, it is missing", FIX)
    labels: dict[str, int] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"filename", "class_index"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path}: expected columns filename and class_index, got {rows.fieldnames}", FIX
            )
        for row in rows:
            name, index = row["filename"], row["class_index"] or ""
            if name in labels or not index.isdigit() or int(index) >= CLASSES:
                raise DataError(
                    f"{path}, line {rows.line_num}: expected a new photo and a class 0 to 999, got"
                    f" {name!r} and {index!r}",
                    "mend that line",
                )
            labels[name] = int(index)
    return labels


def _sources(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Where it is, file name, content; from the tar if there is one, else from the folders."""
    archives = [path for path in sorted(folder.glob("*.tar*")) if path.suffix != ".part"]
    if archives:
        for member, content in datasets.members(archives[0]):
            if member.lower().endswith(SUFFIXES):
                yield f"{archives[0]}: {member}", PurePosixPath(member).name, content
        return
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            yield str(path), path.name, path.read_bytes()


def _pixels(where: str, content: bytes) -> np.ndarray:
    """(3, 224, 224) uint8: the short side to 256 (bilinear, antialiased), the middle 224 x 224.

    The long side is cut off to a whole number and the crop's corner rounded, as torchvision's
    ``Resize(256)`` and ``CenterCrop(224)`` do; smaller photos are enlarged.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            photo = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        found = hashlib.sha256(content).hexdigest()
        raise DataError(
            f"{where} is cut off or damaged ({error}): {len(content)} bytes, sha256 {found}",
            "fetch it again",
        ) from None
    short = min(photo.size)
    size = tuple(RESIZED if side == short else RESIZED * side // short for side in photo.size)
    photo = photo.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - CROP) / 2) for side in size)
    return np.asarray(photo.crop((left, top, left + CROP, top + CROP))).transpose(2, 0, 1)


# --- the stand-in ---------------------------------------------------------------------------------

COUNT = {False: 64, True: 8}  # smoke?
SEED, COARSE = 20180602, 8  # a field of 8 x 8 random colours, enlarged


def stand_in(options: dict, smoke: bool, work: Path, progress) -> datasets.Contents:
    """Smooth random images; deterministic. Nothing is to be learnt from them."""
    rng = np.random.default_rng(SEED)
    fields = rng.integers(0, 256, (COUNT[smoke], COARSE, COARSE, 3), np.uint8)
    images = []
    for done, field in enumerate(fields, start=1):
        image = Image.fromarray(field).resize((CROP, CROP), Image.Resampling.BICUBIC)
        images.append(np.asarray(image).transpose(2, 0, 1))
        progress("drawing the photos' stand-in", done, len(fields))
    y = rng.integers(0, CLASSES, len(fields))
    note = f"drawn stand-in: {len(fields)} smooth colour fields in the form of photos"
    return datasets.Contents({"test.x": np.stack(images), "test.y": y}, "stand-in", note)
