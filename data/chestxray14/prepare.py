"""NIH ChestX-ray14: archives or folders of PNGs with their table, resized once; or drawn ones."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from rosetta import datasets
from rosetta.errors import DataError

FINDINGS = [  # alphabetical: the order of the 14 columns
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
]
NONE = "No Finding"
HEADER = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID"]
NAME = re.compile(r"(\d{8})_\d{3}\.png")
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
SIDE = 264
LAST_TRAIN, LAST_VALID, LAST_TEST = 21_563, 24_643, 30_805  # patient ids
IMAGES = 112_120
FEWEST = 1000  # files; below it the split is by rank of patient
FIX = "put images_*.tar.gz (or folders images*/ of PNGs) and Data_Entry_2017.csv there"


def read(folder: Path, options: dict, work: Path, progress) -> datasets.Contents:
    """Resizes every image to 264 x 264 RGB PNG in ``work`` and splits by patient.

    An image whose PNG is in ``work`` already is not read again, so a run that was cut off goes on.

    Raises:
        DataError: no images, no table, an image or a row that is damaged or without the other.
    """
    what = datasets.spec("chestxray14")
    table_path = _table_path(folder)
    rows = read_table(table_path)
    archives = [p for p in sorted(folder.glob("images*.tar*")) if p.suffix != ".part"]
    pngs = [p for p in sorted(folder.glob("images*/**/*.png")) if p.is_file()]
    if not archives and not pngs:
        names = sorted(path.name for path in folder.iterdir())
        raise DataError(f"{folder}: expected images, found {names}", FIX)
    known = [datasets.check_known(p, what.known(p.name), progress) for p in archives]
    digests = {table_path.name: datasets.digest_of(table_path)}
    digests |= {p.name: datasets.digest_of(p, progress=progress) for p in archives}
    work.mkdir(parents=True, exist_ok=True)
    names, digests["images/"] = _resize_all(pngs, archives, rows, work, progress)
    missing = len(rows) - len(names)
    arrays, by_rank = split({name: rows[name] for name in names})
    official = all(known) and not pngs and len(names) == len(rows) == IMAGES
    label = "official" if official else "subset" if by_rank or missing else "unofficial"
    note = f"ChestX-ray14, {len(names):,} images"
    note += f" of {len(rows):,} listed" if missing else ""
    note += ", patients split 70/10/20 by rank: no AUC is claimed" if by_rank else ""
    return datasets.Contents(arrays, label, note, digests, {"images": work})


def _table_path(folder: Path) -> Path:
    for name in TABLES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: expected {' or '.join(TABLES)}, it is missing", FIX)


def read_table(path: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Image name -> (patient id, findings (14,) uint8).

    Both releases: rows of 11 fields, or of 12 with an empty last one (a trailing comma in 2017).
    The header's last two columns hold unquoted commas, so columns are taken by position.

    Raises:
        DataError: another header; a row of another length, with an unknown finding, or whose image
            name and patient disagree; an image listed twice.
    """
    rows: dict[str, tuple[int, np.ndarray]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        if header[:4] != HEADER:
            raise DataError(f"{path}: expected columns {HEADER} ..., got {header[:4]}", FIX)
        for number, row in enumerate(lines, start=2):
            where = f"{path}, line {number}"
            if len(row) != 11 and not (len(row) == 12 and row[11] == ""):
                raise DataError(f"{where}: expected 11 fields, got {len(row)}", "fetch it again")
            name, findings, _, patient = row[:4]
            match = NAME.fullmatch(name)
            if not match or not patient.isdigit() or int(match[1]) != int(patient):
                raise DataError(
                    f"{where}: expected an image of patient {patient!r}, got {name!r}",
                    "fetch it again",
                )
            if name in rows:
                raise DataError(f"{where}: {name} is listed twice", "fetch it again")
            rows[name] = (int(patient), _bits(findings, where))
    return rows


def _bits(findings: str, where: str) -> np.ndarray:
    bits = np.zeros(len(FINDINGS), np.uint8)
    if findings == NONE:
        return bits
    for finding in findings.split("|"):
        if finding not in FINDINGS:
            raise DataError(
                f"{where}: unknown finding {finding!r}", f"one of {', '.join(FINDINGS)} or {NONE}"
            )
        bits[FINDINGS.index(finding)] = 1
    return bits


def split(
    rows: dict[str, tuple[int, np.ndarray]], *, always_by_rank: bool = False
) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays of train, valid and test, sorted by file name; whether patients went by rank.

    By patient id: train up to 21,563, valid up to 24,643, test up to 30,805. With fewer than 1,000
    files or an empty split: 70/10/20 by rank of patient.
    """
    names = sorted(rows)
    patient = np.array([rows[name][0] for name in names], np.int64)
    y = np.array([rows[name][1] for name in names], np.uint8).reshape(-1, len(FINDINGS))
    part = np.searchsorted([LAST_TRAIN, LAST_VALID], patient)
    outside = patient[(patient < 1) | (patient > LAST_TEST)]
    by_rank = always_by_rank or len(names) < FEWEST or len(np.unique(part)) < 3
    if by_rank:
        patients, rank = np.unique(patient, return_inverse=True)
        part = np.searchsorted(np.array([0.7, 0.8]) * len(patients), rank, side="right")
    elif len(outside):
        raise DataError(f"expected patients 1 to {LAST_TEST}, got {outside[0]}", "fetch the table")
    arrays = {}
    for number, which in enumerate(("train", "valid", "test")):
        chosen = np.flatnonzero(part == number)
        arrays |= {
            f"{which}.files": np.array([names[i] for i in chosen], "U16"),
            f"{which}.y": y[chosen],  # (N, 14)
            f"{which}.patient": patient[chosen],
        }
    return arrays, by_rank


def _resize_all(
    pngs: list[Path], archives: list[Path], rows: dict, work: Path, progress
) -> tuple[list[str], str]:
    """Every image once, folders before archives; names and a digest of their contents."""
    contents: dict[str, str] = {}

    def images() -> Iterator[tuple[str, str, bytes, str]]:
        for where, name, content in _sources(pngs, archives):
            if name not in rows:
                raise DataError(f"{where}: the table has no row for it", FIX)
            if name not in contents:
                contents[name] = hashlib.sha256(content).hexdigest()
                if not (work / name).is_file():
                    yield where, name, content, str(work)
                else:
                    progress("resizing X-rays", len(contents), len(rows))

    for _ in datasets.in_processes(__file__, "resize", images()):
        progress("resizing X-rays", len(contents), len(rows))
    lines = "".join(f"{name}:{contents[name]}\n" for name in sorted(contents))
    return sorted(contents), hashlib.sha256(lines.encode()).hexdigest()


def _sources(pngs: list[Path], archives: list[Path]) -> Iterator[tuple[str, str, bytes]]:
    what = datasets.spec("chestxray14")
    for path in pngs:
        yield str(path), path.name, path.read_bytes()
    for archive in archives:
        for member, content in datasets.members(archive, what.known(archive.name)):
            name = PurePosixPath(member).name
            if name.endswith(".png"):
                yield f"{archive}: {member}", name, content


def resize(where: str, name: str, content: bytes, work: str) -> None:
    """Decodes one image to its end and writes it as 264 x 264 RGB; bilinear with antialias.

    Raises:
        DataError: the image is cut off or damaged.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            ready = image.mode == "RGB" and image.size == (SIDE, SIDE)
            if not ready:
                resized = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
                file = io.BytesIO()
                resized.save(file, "PNG", compress_level=3)
                content = file.getvalue()
    except (OSError, SyntaxError, ValueError) as error:
        found = hashlib.sha256(content).hexdigest()
        raise DataError(
            f"{where} is cut off or damaged ({error}): {len(content)} bytes, sha256 {found}",
            "fetch it again from its publisher",
        ) from None
    datasets.write_atomically(Path(work) / name, content)


# --- the stand-in ---------------------------------------------------------------------------------

FILES = {False: 8192, True: 256}  # smoke?
SEED = 20180604
PREVALENCE = 0.12  # of each finding in an image
CONTRAST = (8.0, 70.0)  # grey levels of a mark; the noise is NOISE
NOISE, LEVELS = 5.0, 4  # grey levels; steps of four give files of real size (45 kB)
TASK = 32  # images per call of a process
COLUMNS = [
    *HEADER,
    *("Patient Age", "Patient Gender", "View Position", "OriginalImage[Width", "Height]"),
    *("OriginalImagePixelSpacing[x", "y]"),
]


def stand_in(options: dict, smoke: bool, work: Path, progress) -> datasets.Contents:
    """Draws the PNGs and their table into ``work``, once; deterministic in every pixel.

    A drawing that was cut off goes on where it stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    drawn = _findings(FILES[smoke])
    lines = [",".join(COLUMNS)]
    for name, bits in drawn.items():
        findings = "|".join(f for f, bit in zip(FINDINGS, bits) if bit) or NONE
        patient, number = int(name[:8]), int(name[9:12])
        lines.append(f"{name},{findings},{number},{patient},50,F,PA,{SIDE},{SIDE},0.5,0.5")
    table = work / "Data_Entry_2017.csv"
    datasets.write_atomically(table, ("\n".join(lines) + "\n").encode())
    missing = [(i, name) for i, name in enumerate(drawn) if not (work / name).is_file()]
    tasks = (
        ([(i, name, drawn[name]) for i, name in missing[start : start + TASK]], str(work))
        for start in range(0, len(missing), TASK)
    )
    done = len(drawn) - len(missing)
    for count in datasets.in_processes(__file__, "draw", tasks):
        done += count
        progress("drawing the X-ray stand-in", done, len(drawn))
    arrays, _ = split(read_table(table), always_by_rank=True)
    note = f"drawn stand-in: {len(drawn):,} PNG files with 14 kinds of mark, in ChestX-ray14's form"
    return datasets.Contents(arrays, "stand-in", note, folders={"images": work})


def _findings(count: int) -> dict[str, np.ndarray]:
    """File name -> bits (14,): patients with 1 to 8 images each."""
    rng = np.random.default_rng(SEED)
    bits = (rng.random((count, len(FINDINGS))) < PREVALENCE).astype(np.uint8)
    sizes = rng.integers(1, 9, count)
    patients = np.repeat(np.arange(count), sizes)[:count]
    first = np.searchsorted(patients, patients)
    return {
        f"{patient + 1:08d}_{i - start:03d}.png": bits[i]
        for i, (patient, start) in enumerate(zip(patients, first))
    }


def draw(images: list[tuple[int, str, np.ndarray]], work: str) -> int:
    """Writes some images; how many. Every image has its own stream of random numbers."""
    for number, name, bits in images:
        pixels = _picture(np.random.default_rng([SEED, number]), bits)
        file = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").save(file, "PNG", compress_level=3)
        datasets.write_atomically(Path(work) / name, file.getvalue())
    return len(images)


LINE = np.linspace(-1, 1, SIDE, dtype=np.float32)
ROWS, COLUMNS_OF_PIXELS = LINE[:, None], LINE[None, :]


def _picture(rng: np.random.Generator, bits: np.ndarray) -> np.ndarray:
    """Grey (264, 264) uint8: a body, two lungs, ribs, clutter, the marks, noise."""
    x, y = COLUMNS_OF_PIXELS, ROWS
    picture = 150 - 60 * x**2 - 20 * y + rng.normal(0, 12)
    for side in (-1, 1):
        across, down = rng.normal(side * 0.42, 0.04), rng.normal(0, 0.06)
        inside = ((x - across) / 0.33) ** 2 + ((y - down) / 0.75) ** 2 < 1
        picture -= rng.uniform(35, 65) * inside
    picture += rng.uniform(4, 14) * np.sin(
        rng.uniform(18, 26) * (y + 0.3 * x**2) + rng.uniform(0, 6)
    )
    for _ in range(rng.integers(2, 6)):  # smooth clutter: no finding
        across, down, size = *rng.uniform(-0.8, 0.8, 2), rng.uniform(0.05, 0.2)
        blob = np.exp(-((x - across) ** 2) / size**2) * np.exp(-((y - down) ** 2) / size**2)
        picture += rng.uniform(-30, 30) * blob
    for finding in np.flatnonzero(bits):
        side = int(rng.integers(44, 89))
        top, left = rng.integers(0, SIDE - side, 2)
        line = np.linspace(-1, 1, side, dtype=np.float32)
        mark = MARKS[finding](line[None, :], line[:, None])
        low, high = np.log(CONTRAST)
        contrast = np.exp(rng.uniform(low, high))
        picture[top : top + side, left : left + side] += contrast * mark
    picture += NOISE * rng.standard_normal(picture.shape, np.float32)
    return picture.clip(0, 255).astype(np.uint8) // LEVELS * LEVELS


def _square(u: np.ndarray, v: np.ndarray, half: float) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) < half


MARKS = [  # one per finding; u to the right, v down, both -1..1
    lambda u, v: 1.0 * (u**2 + v**2 < 0.7),  # bright disc
    lambda u, v: -1.0 * (u**2 + v**2 < 0.7),  # dark disc
    lambda u, v: 1.0 * (abs(u**2 + v**2 - 0.6) < 0.25),  # ring
    lambda u, v: 1.0 * _square(u, v, 0.75),  # square
    lambda u, v: 1.0 * (_square(u, v, 0.9) & ~_square(u, v, 0.6)),  # frame
    lambda u, v: 1.0 * ((v < 0.8) & (v > 2 * abs(u) - 0.9)),  # triangle
    lambda u, v: 1.0 * (np.minimum(abs(u), abs(v)) < 0.2),  # plus
    lambda u, v: 1.0 * (np.minimum(abs(u - v), abs(u + v)) < 0.25),  # diagonal cross
    lambda u, v: np.sin(14 * v) * (abs(u) < 0.9),  # bars across
    lambda u, v: np.sin(14 * u) * (abs(v) < 0.9),  # bars upright
    lambda u, v: np.sign(np.sin(12 * u) * np.sin(12 * v)),  # chequers
    lambda u, v: 1.0 * ((np.sin(12 * u) > 0.4) & (np.sin(12 * v) > 0.4)),  # dots
    lambda u, v: np.sin(12 * (u + v)),  # slanted bars
    lambda u, v: np.sin(14 * np.sqrt(u**2 + v**2)) * (u**2 + v**2 < 0.95),  # rings in rings
]
