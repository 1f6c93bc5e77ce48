import io
import json
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from rosetta import project
from rosetta.datasets import workers
from rosetta.errors import DataError

imdb = workers.prepare_module(project.DATA / "imdb" / "prepare.py")
OPTIONS = {"vocabulary": 30, "length": 5, "pad": "post"}


@pytest.mark.parametrize(
    ("ranks", "post", "pre"),
    [
        ([1, 2], [1, 4, 5, 0, 0], [0, 0, 1, 4, 5]),
        ([], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]),
        ([26, 27, 5], [1, 29, 2, 8, 0], [0, 1, 29, 2, 8]),  # 27 + 3 is no longer below 30
        ([1, 2, 3, 4, 5, 6], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]),  # the last five, start dropped
    ],
)
def test_ids_follow_keras(ranks, post, pre):
    assert imdb.sequences_to_ids([ranks], OPTIONS).tolist() == [post]
    assert imdb.sequences_to_ids([ranks], OPTIONS | {"pad": "pre"}).tolist() == [pre]


def test_words_follow_keras_tokeniser():
    text = 'It\'s GREAT, "really"--great!<br />(9/10)\tno\u00a0split\r here'
    assert imdb.words(text) == [
        *("it's", "great", "really", "great", "br", "9", "10", "no\u00a0split\r", "here")
    ]


def test_an_unknown_padding_is_refused(load):
    with pytest.raises(DataError, match="expected pad 'post' or 'pre', got 'left'"):
        load("imdb", {"pad": "left"}, stand_in=True)


def reviews(each=12_500):
    for split in ("test", "train"):
        for sentiment, word in (("neg", b"bad"), ("pos", b"Good,")):
            for i in range(each):
                yield f"aclImdb/{split}/{sentiment}/{i}_5.txt", b"the film <br /> is " + word


def write_tar(path: Path, files):
    with lzma.open(path, "wb", preset=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


WORDS = {"the": 1, "is": 2, "film": 3, "good": 4, "bad": 5, "br": 6}


def test_raw_text_is_tokenised_and_labelled_unofficial(load, real):
    folder = real("imdb")
    write_tar(folder / "aclImdb.tar.xz", reviews())
    (folder / "imdb_word_index.json").write_text(json.dumps(WORDS))
    found = load("imdb", {"length": 8})
    assert (found.label, found.arrays["train.x"].shape) == ("unofficial", (25_000, 8))
    assert found.arrays["train.x"].dtype == np.int32
    for x, y in zip(found.arrays["test.x"][[0, -1]], (0, 1)):
        assert x.tolist() == [1, 4, 6, 9, 5, 7 if y else 8, 0, 0]
    assert found.arrays["test.y"][[0, -1]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda files: files[:-1],
            r"expected 12500 train reviews of each kind, got \[2, 1\]",
        ),
        (lambda files: [*files[1:], (files[0][0], b" ")], r"0_5.txt is empty or there twice"),
        (lambda files: [*files, files[0]], "0_5.txt is empty or there twice"),
        (lambda files: [*files[1:], (files[0][0], b"\xff\xfe")], r"0_5.txt is damaged: 'utf-8'"),
    ],
)
def test_missing_empty_double_and_damaged_reviews_are_refused(load, real, change, expected):
    folder = real("imdb")
    write_tar(folder / "aclImdb.tar.xz", change(list(reviews(each=2))))
    (folder / "imdb_word_index.json").write_text(json.dumps(WORDS))
    with pytest.raises(DataError, match=expected):
        load("imdb")


def test_raw_text_needs_a_whole_word_index(load, real):
    folder = real("imdb")
    write_tar(folder / "aclImdb.tar.xz", [])
    with pytest.raises(DataError, match=r"imdb_word_index.json beside aclImdb.tar.xz, it is missi"):
        load("imdb")
    (folder / "imdb_word_index.json").write_text('{"a": 1, "b": 3}')
    with pytest.raises(DataError, match="expected words with ranks 1, 2, 3"):
        load("imdb")
    (folder / "imdb_word_index.json").write_text('{"a": 1, "b')
    with pytest.raises(DataError, match="not JSON"):
        load("imdb")


def write_npz(path, n=25_000, rank=7):
    x = np.empty(n, object)
    x[:] = [[1, 2, rank]] * n
    y = np.arange(n) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def test_keras_npz_is_preferred_and_its_ranks_are_shifted(load, real):
    folder = real("imdb")
    write_npz(folder / "imdb.npz")
    (folder / "aclImdb").mkdir()
    found = load("imdb", {"length": 6, "vocabulary": 10})
    assert found.label == "unofficial"
    assert found.arrays["train.x"][0].tolist() == [1, 4, 5, 2, 0, 0]
    assert found.arrays["test.y"][:3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"n": 24_999}, r"expected x_train \(25000,\), got \(24999,\)"),
        ({"rank": "seven"}, "expected x_train to hold lists of ranks"),
    ],
)
def test_other_npz_are_refused(load, real, arguments, expected):
    write_npz(real("imdb") / "imdb.npz", **arguments)
    with pytest.raises(DataError, match=expected):
        load("imdb")


def test_an_official_npz_with_a_wrong_byte_is_refused(load, real):
    (real("imdb") / "imdb.npz").write_bytes(bytes(17_464_789))
    with pytest.raises(DataError, match=r"expected sha256 69664113be75683a.*, found [0-9a-f]{64}"):
        load("imdb")
