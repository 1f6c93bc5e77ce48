import os
import pickle
import zipfile

import numpy as np
import pytest
from rosetta import datasets
from rosetta.errors import DataError


class Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_batch_pickle_is_read():
    batch = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2]}
    read = datasets.loads(pickle.dumps(batch, 4), "batch")
    assert read[b"labels"] == [1, 2]
    np.testing.assert_array_equal(read[b"data"], batch[b"data"])


def test_a_pickle_of_python_2_is_read():
    python2 = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    )
    python2 += (
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|"
    )
    python2 += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\x09tbu."
    assert datasets.loads(python2, "batch")[b"data"].tolist() == [7, 9]


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch evil",), "posix.system"),
        (eval, ("1",), "builtins.eval"),
        (np.load, ("x",), "numpy.load"),
    ],
)
def test_a_pickle_that_calls_is_refused_and_nothing_runs(
    tmp_path, monkeypatch, function, arguments, named
):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({b"data": Calls(function, *arguments)}, 4)
    with pytest.raises(DataError, match=f"x/batch: .* it names {named}, which is not data"):
        datasets.loads(content, "x/batch")
    assert list(tmp_path.iterdir()) == []


def test_only_the_expected_dtype_is_made():
    with pytest.raises(DataError, match=r"dtype 'f4' is not one of \['u1'\]"):
        datasets.loads(pickle.dumps(np.zeros(3, np.float32), 4), "batch")


def test_an_array_cannot_be_made_directly():
    with pytest.raises(DataError, match="may be named, not called"):
        datasets.loads(pickle.dumps(Calls(np.ndarray, (1 << 40,)), 4), "batch")


def test_a_truncated_pickle_is_refused():
    content = pickle.dumps({b"data": np.zeros(99, np.uint8)}, 4)
    with pytest.raises(DataError, match="batch: not a pickle of plain arrays"):
        datasets.loads(content[:-20], "batch")


def test_an_npz_with_lists_is_read(tmp_path):
    x = np.empty(2, object)
    x[:] = [[1, 2], [3]]
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0, 1]))
    read = datasets.read_npz(tmp_path / "a.npz", ("x", "y"))
    assert (list(read["x"]), read["y"].tolist()) == ([[1, 2], [3]], [0, 1])


def test_an_npz_that_calls_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.empty(1, object)
    x[0] = Calls(os.system, "touch evil")
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(DataError, match=r"a.npz: x: .* it names posix.system"):
        datasets.read_npz(tmp_path / "a.npz", ("x",))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_npz_that_lacks_an_array_or_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, y=np.arange(999))
    with pytest.raises(DataError, match=r"expected an \.npz with x"):
        datasets.read_npz(path, ("x",))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"expected an \.npz with y"):
        datasets.read_npz(path, ("y",))
    assert not zipfile.is_zipfile(path)
