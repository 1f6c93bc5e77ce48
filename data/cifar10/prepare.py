"""CIFAR-10: the official python batches, or ten drawn classes in their shape."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import numpy as np
from rosetta import datasets
from rosetta.errors import DataError

BATCHES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
PER_BATCH, PIXELS, CLASSES = 10_000, 3072, 10
ARCHIVE = "cifar-10-python.tar.gz"
FIX = f"put cifar-10-batches-py/ or {ARCHIVE} from https://www.cs.toronto.edu/~kriz/ there"


def read(folder: Path, options: dict, work: Path, progress) -> datasets.Contents:
    """Reads ``cifar-10-batches-py/`` or the archive, directly in ``folder`` or below it.

    Raises:
        DataError: a batch that is missing, cut off, altered, or has other counts than CIFAR-10.
    """
    what = datasets.spec("cifar10")
    found, source = _find(folder, what, progress)
    x, y, digests, official = {}, {}, {}, True
    for done, batch in enumerate(BATCHES):
        progress("reading CIFAR-10", done, len(BATCHES))
        where, content = found[batch]
        official &= _is_official(where, content, what.files[batch])
        digests[batch] = hashlib.sha256(content).hexdigest()
        x[batch], y[batch] = _batch(where, content, what.files[batch])
    progress("reading CIFAR-10", len(BATCHES), len(BATCHES))
    train_y = np.concatenate([y[batch] for batch in BATCHES[:5]])
    for split, labels, each in (("train", train_y, 5000), ("test", y["test_batch"], 1000)):
        counts = np.bincount(labels, minlength=CLASSES)
        if (counts != each).any():
            raise DataError(
                f"{source}: expected {each} {split} images of each class, got {counts.tolist()}",
                FIX,
            )
    return datasets.Contents(
        arrays={
            "train.x": np.concatenate([x[batch] for batch in BATCHES[:5]]),  # (50000, 3, 32, 32)
            "train.y": train_y,
            "test.x": x["test_batch"],  # (10000, 3, 32, 32)
            "test.y": y["test_batch"],
        },
        label="official" if official else "unofficial",
        note="CIFAR-10, 50,000 + 10,000 images, "
        + ("every batch has its published MD5" if official else "batches differ from the official"),
        digests=digests,
    )


def _find(folder: Path, what: datasets.DatasetSpec, progress) -> tuple[dict, Path]:
    """Batch name -> where it is and its bytes; and the source for messages."""
    for path in sorted(folder.rglob("data_batch_1"), key=lambda p: len(p.parts)):
        found = {}
        for batch in BATCHES:
            file = path.with_name(batch)
            if not file.is_file():
                raise DataError(f"{path.parent}: expected {batch}, it is missing", FIX)
            found[batch] = (str(file), file.read_bytes())
        return found, path.parent
    archives = sorted(folder.rglob("cifar-10-python.tar*"), key=lambda p: len(p.parts))
    for archive in (path for path in archives if path.suffix != ".part"):
        datasets.check_known(archive, what.known(archive.name), progress)
        found = {}
        for name, content in datasets.members(archive, what.known(archive.name)):
            if PurePosixPath(name).name in BATCHES:
                found[PurePosixPath(name).name] = (f"{archive}: {name}", content)
        if missing := [batch for batch in BATCHES if batch not in found]:
            raise DataError(f"{archive}: expected {', '.join(missing)} in it", FIX)
        return found, archive
    names = sorted(path.name for path in folder.iterdir())
    raise DataError(
        f"{folder}: expected cifar-10-batches-py/ or {ARCHIVE}, found {names or 'nothing'}", FIX
    )


def _is_official(where: str, content: bytes, known: datasets.Known) -> bool:
    found = datasets.md5_of(content)
    if len(content) == known.bytes and found != known.md5:
        raise DataError(f"{where} is damaged: expected md5 {known.md5}, found {found}", FIX)
    return found == known.md5


def _batch(where: str, content: bytes, known: datasets.Known) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (10000, 3, 32, 32) uint8 as stored (channel-major R, G, B) and labels (10000,)."""
    try:
        table = datasets.loads(content, where)
    except DataError as error:
        digest = hashlib.sha256(content).hexdigest()
        raise DataError(
            f"{where} is damaged: {datasets.describe(known, digest)}\n  {error}"
        ) from None
    table = table if isinstance(table, dict) else {}
    data, labels = table.get(b"data"), table.get(b"labels")
    shape = getattr(data, "shape", None)
    if shape != (PER_BATCH, PIXELS) or data.dtype != np.uint8:
        raise DataError(f"{where}: expected data uint8 {(PER_BATCH, PIXELS)}, got {shape}", FIX)
    if not isinstance(labels, list) or len(labels) != PER_BATCH:
        count = len(labels) if isinstance(labels, list) else labels
        raise DataError(f"{where}: expected {PER_BATCH} labels, got {count}", FIX)
    if wrong := [y for y in labels if type(y) is not int or not 0 <= y < CLASSES]:
        raise DataError(f"{where}: expected classes 0 to 9, got {wrong[0]!r}", FIX)
    return data.reshape(PER_BATCH, 3, 32, 32), np.array(labels, np.int64)


# --- the stand-in ---------------------------------------------------------------------------------

SIZES = {False: (50_000, 10_000), True: (512, 256)}  # smoke?
SEED, CHUNK = 20180601, 2000


def stand_in(options: dict, smoke: bool, work: Path, progress) -> datasets.Contents:
    """Ten classes of drawn shapes and textures; deterministic."""
    arrays, total, done = {}, sum(SIZES[smoke]), 0
    for number, (split, count) in enumerate(zip(("train", "test"), SIZES[smoke])):
        x, y = np.empty((count, 3, 32, 32), np.uint8), np.empty(count, np.int64)
        for start in range(0, count, CHUNK):
            part = slice(start, min(start + CHUNK, count))
            rng = np.random.default_rng([SEED, number, start])
            x[part], y[part] = _draw(rng, part.stop - part.start)
            done += part.stop - part.start
            progress("drawing the CIFAR-10 stand-in", done, total)
        arrays |= {f"{split}.x": x, f"{split}.y": y}
    note = "drawn stand-in: ten kinds of shape over clutter, in CIFAR-10's form"
    return datasets.Contents(arrays, "stand-in", note)


def _draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and classes (n,): one shape, a fainter other one, noise."""
    y = rng.permutation(n) % CLASSES
    colours = rng.uniform(0, 1, (3, n, 3)).astype(np.float32)  # shape, ground, clutter
    colours[1] *= GROUND
    hue = y / CLASSES + rng.normal(0, HUE_SPREAD, n)  # a weak hint that a linear model finds
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue[:, None] + np.arange(3) / 3))
    colours[0] = (1 - HUE) * colours[0] + HUE * wheel
    shape = _shapes(rng, y, rng.uniform(0.5, 1.0, n)) * rng.uniform(*CONTRAST, (n, 1, 1))
    clutter = _shapes(rng, rng.integers(0, CLASSES, n), rng.uniform(0.3, 0.7, n))
    clutter *= rng.uniform(0, CLUTTER, (n, 1, 1))
    x = np.broadcast_to(colours[1][:, :, None, None], (n, 3, 32, 32)).copy()
    for mask, colour in ((clutter, colours[2]), (shape, colours[0])):
        x += mask[:, None] * (colour[:, :, None, None] - x)
    x += rng.standard_normal(x.shape, np.float32) * NOISE
    return (x.clip(0, 1) * 255).astype(np.uint8), y


HUE_SPREAD, HUE, GROUND, CONTRAST, CLUTTER, NOISE = 0.08, 0.8, 0.4, (0.15, 1.0), 0.8, 0.1


def _shapes(rng: np.random.Generator, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Masks (n, 32, 32) in 0..1 of classes ``y``, each turned, scaled and shifted by chance."""
    n = len(y)
    line = np.linspace(-1, 1, 32, dtype=np.float32)
    angle = rng.normal(0, 0.3, (n, 1, 1)).astype(np.float32)
    centre = rng.uniform(-0.4, 0.4, (2, n, 1, 1)).astype(np.float32)
    size = size.astype(np.float32)[:, None, None]
    row, column = (line[:, None] - centre[0]) / size, (line[None, :] - centre[1]) / size
    u = np.cos(angle) * column - np.sin(angle) * row
    v = np.sin(angle) * column + np.cos(angle) * row
    masks = np.empty((n, 32, 32), np.float32)
    for kind, inside in enumerate(KINDS):
        chosen = y == kind
        masks[chosen] = inside(u[chosen], v[chosen])
    return masks


def _box(u: np.ndarray, v: np.ndarray, half: float) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) < half


KINDS = [  # in units of the shape's own size; u to the right, v down
    lambda u, v: u**2 + v**2 < 0.5,  # disc
    lambda u, v: abs(u**2 + v**2 - 0.5) < 0.22,  # ring
    lambda u, v: _box(u, v, 0.65),  # square
    lambda u, v: _box(u, v, 0.75) & ~_box(u, v, 0.45),  # frame
    lambda u, v: (v < 0.6) & (v > 2 * abs(u) - 0.8),  # triangle
    lambda u, v: _box(u, v, 0.8) & (np.minimum(abs(u), abs(v)) < 0.22),  # plus
    lambda u, v: _box(u, v, 0.8) & (np.sin(10 * v) > 0),  # bars across
    lambda u, v: _box(u, v, 0.8) & (np.sin(10 * u) > 0),  # bars upright
    lambda u, v: _box(u, v, 0.8) & (np.sin(9 * u) * np.sin(9 * v) > 0),  # chequers
    lambda u, v: _box(u, v, 0.8) & (np.minimum(abs(u - v), abs(u + v)) < 0.3),  # diagonal cross
]
