"""Weights that others saved, PyTorch's files among them: read right, and nothing is executed."""

import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from trivet import nn
from trivet.errors import FormatError
from trivet.formats import read_state

FORMS = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8"]
DTYPES += ["uint8", "bool"]


def saved(path, value, new=True, **options):
    torch.save(value, path, _use_new_zipfile_serialization=new, **options)
    return path


def numpy(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        wanted = numpy(tensor.contiguous())
        assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape), name
        assert found[name].tobytes() == wanted.tobytes(), name


@FORMS
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(tmp_path, new, dtype):
    state = {
        name: (torch.randn(shape) * 3).to(getattr(torch, dtype))
        for name, shape in [("a", (2, 3)), ("b", ()), ("c", (0, 4)), ("d", (2, 1, 3))]
    }
    assert_equal(read_state(saved(tmp_path / "x.pth", state, new)), state)


@FORMS
def test_views_that_share_a_storage(tmp_path, new):
    base = torch.arange(24.0)
    grid = base.reshape(4, 6)
    state = {
        "base": base, "transposed": grid.T, "strided": grid[1:, ::2], "offset": base[5:9],
        "repeated": base[3:4].expand(2, 3), "empty": grid[4:], "same": grid,
    }  # fmt: skip
    found = read_state(saved(tmp_path / "x.pth", state, new))
    assert_equal(found, state)
    found["base"][...] = 0
    assert found["same"].any()  # each is a copy of its own


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_network_and_its_parameters(tmp_path, new, protocol):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    path = saved(tmp_path / "x.pt", net.state_dict(), new, pickle_protocol=protocol)
    assert_equal(read_state(path), net.state_dict())
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    ours.load_state_dict(read_state(path))
    np.testing.assert_array_equal(ours.state_dict()["0.weight"], net[0].weight.detach().numpy())
    parameters = dict(net.named_parameters())
    assert_equal(read_state(saved(tmp_path / "p.pt", parameters, new)), parameters)


@FORMS
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_training_scripts_checkpoint_is_opened(tmp_path, new, key):
    net = torch.nn.Linear(3, 2)
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    path = saved(tmp_path / "x.th", {key: state, "best": 91.7, "epoch": 3, "name": "a"}, new)
    assert_equal(read_state(path), net.state_dict())


def test_safetensors_and_npz(tmp_path):
    state = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(2), "c": np.zeros((0, 2), "float16")}
    state["d"] = np.ones(3, ml_dtypes.bfloat16)
    safetensors.numpy.save_file(state, tmp_path / "x.bin")
    found = read_state(tmp_path / "x.bin")
    assert found.keys() == state.keys()
    assert all(found[k].dtype == v.dtype and (found[k] == v).all() for k, v in state.items())
    del state["d"]
    np.savez(tmp_path / "x.npz", **state)
    found = read_state(tmp_path / "x.npz")
    assert all(found[k].dtype == v.dtype and (found[k] == v).all() for k, v in state.items())


class Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def in_zip(path, pickled, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", members.pop("byteorder", "little"))
        for name, data in members.items():
            archive.writestr(f"archive/data/{name}", data)
    return path


def in_legacy(path, pickled):
    heads = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*heads, pickled, pickle.dumps([], 2)]))
    return path


@pytest.mark.parametrize("write", [in_zip, in_legacy])
@pytest.mark.parametrize(
    "function, args, name",
    [
        (os.system, ("touch {}",), "posix.system"),
        (eval, ("open({!r}, 'w')",), "builtins.eval"),
        (getattr, (collections, "OrderedDict"), "builtins.getattr"),
        (np.zeros, (3,), "numpy.zeros"),
    ],
)
def test_a_malicious_pickle_is_refused_by_name(tmp_path, write, function, args, name):
    trace = tmp_path / "trace"
    args = tuple(a.format(str(trace)) if isinstance(a, str) else a for a in args)
    if args[0] is collections:
        args = ("x", "upper")
    path = write(tmp_path / "x.pth", pickle.dumps({"weight": Evil(function, *args)}, 2))
    with pytest.raises(FormatError) as e:
        read_state(path)
    name = name.replace("builtins", "__builtin__")
    assert f"asks for {name}, which was not called" in str(e.value).replace("numpy.core", "numpy")
    assert str(path) in str(e.value) and "\n  Fix: " in str(e.value)
    assert not trace.exists()


def opcode(name):
    module, _, attribute = name.rpartition(".")
    return b"c" + f"{module}\n{attribute}\n".encode()


@pytest.mark.parametrize(
    "pickled",
    [
        # attributes set on what the reader hands out: (None, {"__defaults__": ()}) as a state
        b"\x80\x02" + opcode("torch._utils._rebuild_tensor_v2") + b"N}U\x0c__defaults__)s\x86b.",
        b"\x80\x02" + opcode("collections.OrderedDict") + b"N}U\x03getNs\x86b.",
        # names behind a dot, as protocol 4 allows
        pickle.PROTO + b"\x04\x8c\x0bcollections\x8c\x1bOrderedDict.fromkeys.__self__\x93.",
        # a storage type that is called
        b"\x80\x02" + opcode("torch.FloatStorage") + b")R.",
        b"\x80\x02" + opcode("torch.nn.Linear") + b".",
        b"\x80\x02]q\x00h\x00a.",
    ],
)
def test_other_tricks_of_pickles_end_in_an_error(tmp_path, pickled):
    with pytest.raises(FormatError):
        read_state(in_zip(tmp_path / "x.pth", pickled))
    assert_equal(read_state(saved(tmp_path / "y.pth", {"a": torch.ones(2)})), {"a": torch.ones(2)})


def test_numbers_to_be_negated_when_read_are_refused(tmp_path):
    negated = torch.tensor([1 + 2j, 3 + 4j]).conj().imag
    torch.save({"w": negated}, tmp_path / "x.pth")
    with pytest.raises(FormatError, match=r"plain tensors; got one with {'neg': True}"):
        read_state(tmp_path / "x.pth")


def test_a_whole_network_is_refused_by_name(tmp_path):
    with pytest.raises(FormatError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_state(saved(tmp_path / "x.pth", torch.nn.Linear(2, 2)))


def described(size, stride, offset=0, key="0", kind="storage"):
    """A pickle of one tensor over a storage, by hand."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return (kind, torch.FloatStorage, key, "cpu", 4) if value == "the storage" else None

    buffer = io.BytesIO()
    rebuild = Evil(torch._utils._rebuild_tensor_v2, "the storage", offset, size, stride, False, {})
    Pickler(buffer, 2).dump({"a": rebuild})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pickled",
    [
        described((5,), (1,)),
        described((2,), (4,)),
        described((1,), (1,), offset=4),
        described((2,), (-1,), offset=1),
        described((1,), (1,), offset=-1),
        described((-1,), (1,)),
        described((2, 2), (1,)),
        described((2.0,), (1,)),
        described((4,), (1,), key="1"),
        described((4,), (1,), kind="module"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, pickled):
    path = in_zip(tmp_path / "x.pth", pickled, **{"0": struct.pack("4f", 1, 2, 3, 4)})
    with pytest.raises(FormatError):
        read_state(path)


def test_what_was_described_by_hand_can_be_read(tmp_path):
    pickled = described((2, 2), (2, 1))
    path = in_zip(tmp_path / "x.pth", pickled, **{"0": struct.pack("4f", 1, 2, 3, 4)})
    assert read_state(path)["a"].tolist() == [[1, 2], [3, 4]]
    path = in_zip(tmp_path / "y.pth", pickled, byteorder="big", **{"0": bytes(16)})
    with pytest.raises(FormatError, match="little-endian"):
        read_state(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "npz"])
def test_truncated_files_are_refused(tmp_path, form):
    path = tmp_path / "x"
    if form in ("zip", "legacy"):
        saved(path, {"a": torch.ones(100), "b": torch.ones(3)}, form == "zip")
    elif form == "safetensors":
        safetensors.numpy.save_file({"a": np.ones(100)}, path)
    else:
        with open(path, "wb") as file:
            np.savez(file, a=np.ones(100))
    data = path.read_bytes()
    for part in (0, 5, 50, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:part])
        with pytest.raises(FormatError) as e:
            read_state(path)
        assert str(path) in str(e.value) and "\n  Fix: " in str(e.value)


@pytest.mark.parametrize(
    "value, text",
    [
        ({"weights": {"a": torch.ones(2)}, "epoch": 3}, "got ['epoch', 'weights']"),
        ([torch.ones(2)], "expected a dict of tensors by name; got list"),
        ({1: torch.ones(2)}, "got ['1']"),
    ],
)
def test_what_is_no_state_dict_says_what_it_holds(tmp_path, value, text):
    with pytest.raises(FormatError) as e:
        read_state(saved(tmp_path / "x.pth", value))
    assert text in str(e.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"Hello, world")
    with pytest.raises(FormatError, match=r"starts with b'Hello, w'"):
        read_state(tmp_path / "x.pth")
    with pytest.raises(FormatError, match="none is there"):
        read_state(tmp_path / "y.pth")
    (tmp_path / "z.pth").write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(FormatError, match=r"expected .*file"):
        read_state(tmp_path / "z.pth")


DATA = Path(os.environ.get("ROSETTA_DATA", ""), "weights")
needs_data = pytest.mark.skipif(
    not os.environ.get("ROSETTA_DATA") or not DATA.is_dir(), reason="no weights in ROSETTA_DATA"
)


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.rglob("*.*h")), ids=lambda path: path.name)
def test_published_weights_equal_pytorch(path):
    expected = torch.load(path, weights_only=True, map_location="cpu")
    expected = expected.get("state_dict", expected)
    assert_equal(read_state(path), {k.removeprefix("module."): v for k, v in expected.items()})


@needs_data
def test_the_same_weights_in_two_formats():
    first, second = (
        read_state(DATA / "squeezenet1_0" / f"squeezenet1_0-deepcomp.{suffix}")
        for suffix in ("pth", "npz")
    )
    assert first.keys() == second.keys() and sum(a.size for a in first.values()) == 1_248_424
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
