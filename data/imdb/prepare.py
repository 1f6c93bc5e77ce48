"""IMDB reviews as word ranks: Keras' imdb.npz, or the raw text with Keras' word index."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rosetta import datasets
from rosetta.errors import DataError

EACH = 12_500  # reviews per split and sentiment
START, UNKNOWN, SHIFT = 1, 2, 3  # Keras: 0 pads, 1 starts, 2 is unknown, rank r becomes r + 3
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'  # Keras' Tokenizer; the apostrophe stays
SPACES = str.maketrans(dict.fromkeys(FILTERS, " "))
REVIEW = re.compile(r"(?:^|.*/)(train|test)/(pos|neg)/\d+_\d+\.txt$")
INDEX = "imdb_word_index.json"
FIX = f"put imdb.npz there, or aclImdb_v1.tar.gz (or its folder aclImdb/) with {INDEX}"


def read(folder: Path, options: dict, work: Path, progress) -> datasets.Contents:
    """Reads ``imdb.npz``, else a tar or folder ``aclImdb`` with the word index beside it.

    Raises:
        DataError: a source that is missing, cut off, altered, or has other counts than 2 x 25,000.
    """
    what = datasets.spec("imdb")
    npz, index = folder / "imdb.npz", folder / INDEX
    if npz.is_file():
        official = datasets.check_known(npz, what.known(npz.name), progress)
        splits = _from_npz(npz)
        digests = {npz.name: datasets.digest_of(npz)}
        note = "IMDB, 25,000 + 25,000 reviews, ranks from Keras' imdb.npz"
    else:
        source = _raw_source(folder)
        if not index.is_file():
            raise DataError(f"{folder}: expected {INDEX} beside {source.name}, it is missing", FIX)
        ranks, digests = _word_index(index), {index.name: datasets.digest_of(index)}
        official = datasets.check_known(index, what.known(index.name))
        if source.is_file():
            official &= datasets.check_known(source, what.known(source.name), progress)
            digests[source.name] = datasets.digest_of(source)
            reviews = datasets.members(source, what.known(source.name))
        else:
            official, reviews = False, _files(source)
        splits, text_digest = _from_text(reviews, ranks, source, progress)
        digests |= {} if source.is_file() else {source.name: text_digest}
        note = "IMDB, 25,000 + 25,000 reviews, tokenised from raw text with Keras' word index"
    arrays = {}
    for split, (sequences, y) in splits.items():
        counts = np.bincount(y, minlength=2).tolist()
        if counts != [EACH, EACH]:
            raise DataError(
                f"{folder}: expected {EACH} {split} reviews of each kind, got {counts}", FIX
            )
        arrays |= {f"{split}.x": sequences_to_ids(sequences, options), f"{split}.y": y}
    return datasets.Contents(arrays, "official" if official else "unofficial", note, digests)


def sequences_to_ids(sequences: Iterable[list[int]], options: dict) -> np.ndarray:
    """Ranks to ids (N, length) int32 by Keras' convention.

    Prepends 1, adds 3 to each rank, replaces ids >= vocabulary by 2, keeps the last ``length``,
    fills with zeros at the end (``pad="post"``) or at the beginning (``"pre"``).
    Source: keras.datasets.imdb.load_data and keras.utils.pad_sequences(truncating="pre").
    """
    length, vocabulary, pad = options["length"], options["vocabulary"], options["pad"]
    if pad not in ("post", "pre"):
        raise DataError(f"imdb: expected pad 'post' or 'pre', got {pad!r}", 'pad = "post"')
    sequences = list(sequences)
    x = np.zeros((len(sequences), length), np.int32)
    for row, ranks in zip(x, sequences):
        kept = [START - SHIFT, *ranks][-length:]
        first = 0 if pad == "post" else length - len(kept)
        row[first : first + len(kept)] = np.add(kept, SHIFT)
    x[x >= vocabulary] = UNKNOWN
    return x


def words(text: str) -> list[str]:
    """Keras' ``text_to_word_sequence``: lower case, filtered, split at spaces only."""
    return [word for word in text.lower().translate(SPACES).split(" ") if word]


def _from_npz(path: Path) -> dict:
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = datasets.read_npz(path, names)
    for name in names:
        if arrays[name].shape != (2 * EACH,):
            raise DataError(f"{path}: expected {name} ({2 * EACH},), got {arrays[name].shape}", FIX)
    for name in ("x_train", "x_test"):
        for ranks in arrays[name]:
            if not isinstance(ranks, list) or not all(type(r) is int and r > 0 for r in ranks):
                raise DataError(f"{path}: expected {name} to hold lists of ranks, got {ranks}", FIX)
    for name in ("y_train", "y_test"):
        if not np.isin(arrays[name], (0, 1)).all():
            raise DataError(f"{path}: expected {name} 0 or 1, got {np.unique(arrays[name])}", FIX)
    return {s: (arrays[f"x_{s}"], arrays[f"y_{s}"].astype(np.int64)) for s in ("train", "test")}


def _raw_source(folder: Path) -> Path:
    for path in (folder / "aclImdb", folder):
        if (path / "train" / "pos").is_dir():
            return path
    archives = [p for p in sorted(folder.glob("aclImdb*.tar*")) if p.suffix != ".part"]
    if archives:
        return archives[0]
    names = sorted(path.name for path in folder.iterdir())
    raise DataError(f"{folder}: expected imdb.npz or aclImdb, found {names or 'nothing'}", FIX)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for split in ("train", "test"):
        for sentiment in ("neg", "pos"):
            for path in sorted((folder / split / sentiment).glob("*.txt")):
                yield path.relative_to(folder).as_posix(), path.read_bytes()


def _word_index(path: Path) -> dict[str, int]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}", "fetch it again") from None
    if not isinstance(index, dict) or sorted(index.values()) != list(range(1, len(index) + 1)):
        raise DataError(
            f"{path}: expected words with ranks 1, 2, 3, ... once each", "fetch it again"
        )
    return index


def _from_text(
    reviews: Iterable[tuple[str, bytes]], ranks: dict[str, int], source: Path, progress
) -> tuple[dict, str]:
    """Splits as (sequences, labels), sorted by path (neg before pos); and a digest of all texts."""
    found: dict[str, list[int]] = {}
    digests: dict[str, str] = {}
    for name, content in reviews:
        if not (match := REVIEW.match(name)):
            continue
        key = name[match.start(1) :]
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: {name} is damaged: {error}", FIX) from None
        if not text.strip() or key in found:
            raise DataError(f"{source}: {name} is empty or there twice", FIX)
        found[key] = [ranks[word] for word in words(text) if word in ranks]
        digests[key] = hashlib.sha256(content).hexdigest()
        if len(found) % 1000 == 0:
            progress("tokenising the IMDB reviews", len(found), 4 * EACH)
    splits = {}
    for split in ("train", "test"):
        keys = sorted(key for key in found if key.startswith(split))
        labels = np.array(["/pos/" in key for key in keys], np.int64)
        splits[split] = ([found[key] for key in keys], labels)
    lines = "".join(f"{key}:{digests[key]}\n" for key in sorted(digests))
    return splits, hashlib.sha256(lines.encode()).hexdigest()


# --- the stand-in ---------------------------------------------------------------------------------

SIZES = {False: (25_000, 25_000), True: (512, 512)}  # smoke?
SEED = 20180603
OPINIONS, NEGATIONS = 160, 4  # words of praise, as many of blame; words that turn the next around
RATE, NEGATED, FIRMNESS = 0.12, 0.15, (2.0, 1.0)


def stand_in(options: dict, smoke: bool, work: Path, progress) -> datasets.Contents:
    """Sequences in which words of praise or blame prevail; deterministic."""
    rng = np.random.default_rng(SEED)
    known = max(options["vocabulary"] - SHIFT, 4 * OPINIONS)
    popularity = 1 / (np.arange(1, known) + 2.7)  # Zipf and Mandelbrot
    popularity /= popularity.sum()
    special = rng.permutation(np.arange(20, 20 + 4 * OPINIONS))[: 2 * OPINIONS + NEGATIONS]
    arrays = {}
    for split, count in zip(("train", "test"), SIZES[smoke]):
        progress("drawing the IMDB stand-in", len(arrays), 4)
        y = rng.permutation(count) % 2
        sequences = _draw(rng, y, options["length"], popularity, special)
        arrays |= {f"{split}.x": sequences_to_ids(sequences, options), f"{split}.y": y}
    progress("drawing the IMDB stand-in", 4, 4)
    note = "drawn stand-in: ranks by Zipf's law with words of praise and blame, in IMDB's form"
    return datasets.Contents(arrays, "stand-in", note)


def _draw(rng, y: np.ndarray, length: int, popularity: np.ndarray, special: np.ndarray) -> list:
    """Reviews as lists of ranks; a third is shorter than ``length``, as in the real ones."""
    n = len(y)
    ranks = 1 + np.searchsorted(popularity.cumsum(), rng.random((n, length)))
    firm = rng.beta(*FIRMNESS, (n, 1))  # a share of the reviews hardly takes sides
    side = np.where(rng.random((n, length)) < 0.5 + 0.5 * firm, y[:, None], 1 - y[:, None])
    opinion = rng.random((n, length)) < RATE
    opinion[:, 0] = False
    negated = opinion & (rng.random((n, length)) < NEGATED)
    word = rng.integers(0, OPINIONS, (n, length)) + OPINIONS * (side ^ negated)
    ranks[opinion] = special[word[opinion]]
    before = np.roll(negated, -1, axis=1)
    ranks[before] = special[2 * OPINIONS + rng.integers(0, NEGATIONS, before.sum())]
    lengths = np.minimum(rng.lognormal(5.2, 0.6, n).astype(int), length).clip(min(20, length))
    return [row[:size] for row, size in zip(ranks.tolist(), lengths)]
