"""Checkpoints: resumed to the same bits, whole or not at all, and sure of what they hold."""

import errno
import hashlib
import json

import numpy as np
import pytest
from trivet import Tensor, capture, nn, optim
from trivet.errors import FormatError, OptionError
from trivet.formats import checkpoint
from trivet.ops.dropout import Generator


class Run:
    """A training run with every kind of state."""

    def __init__(self, seed, make=optim.Adam):
        nn.init.seed(seed)
        self.generator = Generator(seed)
        self.net = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3, generator=self.generator),
            nn.Linear(8, 2),
        )  # fmt: skip
        self.optimizer = make(self.net.parameters(), 0.0)
        self.schedule = optim.Schedule(self.optimizer, optim.cosine(0.1, 10))
        self.scaler = optim.LossScaler(4.0, interval=2)
        self.rng = np.random.default_rng(seed)
        self.steps = 0

    def step(self):
        x, ids = self.rng.standard_normal((6, 3)).astype("float32"), self.rng.integers(0, 2, 6)
        loss = nn.CrossEntropyLoss()(self.net(Tensor(x)), Tensor(ids))
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.schedule.step()
        self.steps += 1
        return loss.item()

    @property
    def parts(self):
        names = ("net", "optimizer", "schedule", "scaler")
        return {n: getattr(self, n) for n in names} | dict(generator=self.generator.state)

    def save(self, path):
        rest = dict(step=self.steps, rng=self.rng.bit_generator.state, note=None)
        return checkpoint.save(path, **self.parts, **rest)

    def load(self, path):
        rest = checkpoint.load(path, **self.parts)
        self.steps, self.rng.bit_generator.state = rest.pop("step"), rest.pop("rng")
        assert rest == {}


def momentum(parameters, rate):
    return optim.SGD(parameters, rate, momentum=0.9)


@pytest.mark.parametrize("make", [optim.Adam, optim.RMSprop, momentum])
def test_a_resumed_run_gives_the_same_bits(tmp_path, make):
    first = Run(1, make)
    for _ in range(4):
        first.step()
    first.save(tmp_path / "runs" / "last")
    expected = [first.step() for _ in range(4)]
    second = Run(2, make)
    second.load(tmp_path / "runs" / "last.json")
    assert second.steps == 4 and second.optimizer.rate == second.schedule.f(4)
    assert [second.step() for _ in range(4)] == expected
    for name, value in first.net.state_dict().items():
        assert value.tobytes() == second.net.state_dict()[name].tobytes(), name


def test_parameters_keep_their_buffers(tmp_path):
    run = Run(1)
    run.save(tmp_path / "last")
    before = [p.buffer for p in run.net.parameters()]
    run.load(tmp_path / "last")
    assert all(p.buffer is b for p, b in zip(run.net.parameters(), before))


def test_a_captured_step_goes_on_from_what_was_loaded(tmp_path):
    w = nn.Module()
    w.weight = nn.Parameter([1.0, 2.0])
    optimizer = optim.Adam(w.parameters(), 0.1)

    @capture
    def step(x):
        optimizer.zero_grad()
        loss = (w.weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    x = Tensor([1.0, -1.0])
    for _ in range(3):
        step(x)
    checkpoint.save(tmp_path / "x", net=w, optimizer=optimizer)
    expected = [step(x).item() for _ in range(3)]
    checkpoint.load(tmp_path / "x", net=w, optimizer=optimizer)
    assert [step(x).item() for _ in range(3)] == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "bool"])
def test_every_dtype_and_empty_and_scalar_arrays_come_back(tmp_path, dtype):
    for shape in [(2, 3), (), (0, 2)]:
        x = Tensor(np.ones(shape), "float32").to(dtype)
        checkpoint.save(tmp_path / "x", x=x, y=x.numpy().T)
        found = checkpoint.load(tmp_path / "x")
        assert (found["x"].dtype.name, found["x"].shape) == (dtype, shape)
        assert found["y"].tolist() == np.ones(shape).T.tolist()


def test_there_are_two_files_and_older_tensors_go(tmp_path):
    run, other = Run(1), Run(2)
    other.save(tmp_path / "last-best")
    run.save(tmp_path / "last")
    run.step()
    path = run.save(tmp_path / "last")
    document = json.loads(path.read_text())
    assert document["format"] == "trivet checkpoint 1"
    tensors = tmp_path / document["tensors"]
    assert hashlib.sha256(tensors.read_bytes()).hexdigest() == document["sha256"]
    assert len(list(tmp_path.iterdir())) == 4
    other.load(tmp_path / "last-best")


@pytest.mark.parametrize("at", [0, 1])
def test_an_interrupted_save_leaves_the_older_checkpoint(tmp_path, monkeypatch, at):
    run = Run(1)
    run.save(tmp_path / "last")
    before = run.net.state_dict()
    run.step()
    calls = []

    def replace(source, target, real=checkpoint.os.replace):
        calls.append(target)
        if len(calls) > at:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.os, "replace", replace)
        run.save(tmp_path / "last")
    run.load(tmp_path / "last")
    for name, value in run.net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    run.save(tmp_path / "last")
    assert sorted(f.suffix for f in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_a_full_disk_and_a_crash_leave_nothing_behind(tmp_path, monkeypatch):
    run = Run(1)
    run.save(tmp_path / "last")
    before = sorted(tmp_path.iterdir())

    def full(file):
        raise OSError(errno.ENOSPC, "no space left")

    run.step()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(checkpoint.os, "fsync", full)
        run.save(tmp_path / "last")
    assert sorted(tmp_path.iterdir()) == before
    crashed = tmp_path / f"last-{'0' * 16}.safetensors.part"
    crashed.touch()
    run.save(tmp_path / "last")
    assert not crashed.exists() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("at", ["file_digest", "load_file"])
def test_a_save_while_a_checkpoint_is_read_is_no_damage(tmp_path, monkeypatch, at):
    """The tensors that the JSON named are gone when they are opened: the newer ones are read."""
    checkpoint.save(tmp_path / "x", a=np.zeros(2))
    where = checkpoint.hashlib if at == "file_digest" else checkpoint
    real, saves = getattr(where, at), []

    def overtaken(file, *args):
        if not saves:
            saves.append(checkpoint.save(tmp_path / "x", a=np.ones(2)))
            raise FileNotFoundError(file)
        return real(file, *args)

    monkeypatch.setattr(where, at, overtaken)
    assert checkpoint.load(tmp_path / "x")["a"].tolist() == [1, 1]


def tensors_of(path):
    return path.with_name(json.loads(path.read_text())["tensors"])


def truncate(path):
    file = tensors_of(path)
    file.write_bytes(file.read_bytes()[:-7])
    return file


def flip(path):
    file = tensors_of(path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("damage", [truncate, flip])
def test_damaged_tensors_name_both_digests(tmp_path, damage):
    path = Run(1).save(tmp_path / "last")
    file = damage(path)
    run = Run(2)
    before = run.net.state_dict()
    with pytest.raises(FormatError) as e:
        run.load(path)
    expected = json.loads(path.read_text())["sha256"]
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"{file}: expected sha256 {expected}; got {found}" in str(e.value)
    assert "\n  Fix: copy both files again, or go back to an earlier checkpoint." in str(e.value)
    assert all((before[k] == v).all() for k, v in run.net.state_dict().items())


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected JSON; got a damaged file"),
        ('{"format": "trivet che', "expected JSON; got a damaged file"),
        ("[1]", "expected the format 'trivet checkpoint 1'; got None"),
        ('{"format": "trivet checkpoint 9"}', "got 'trivet checkpoint 9'"),
    ],
)
def test_a_damaged_json_is_named(tmp_path, text, message):
    path = Run(1).save(tmp_path / "last")
    path.write_text(text)
    with pytest.raises(FormatError) as e:
        checkpoint.load(path)
    assert message in str(e.value) and str(path) in str(e.value) and "Fix: " in str(e.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"last\.json: expected a checkpoint; no such file"):
        checkpoint.load(tmp_path / "last")
    path = Run(1).save(tmp_path / "last")
    tensors_of(path).unlink()
    with pytest.raises(FormatError, match=r"expected beside last\.json; no such file"):
        checkpoint.load(path)


def test_another_network_optimiser_or_part_is_named(tmp_path):
    path = Run(1).save(tmp_path / "last")
    with pytest.raises(
        FormatError, match=r"net does not fit: .*missing: weight, bias; unexpected: "
    ):
        checkpoint.load(path, net=nn.Linear(3, 8))
    with pytest.raises(FormatError, match=r"does not fit: .*expected 0.weight \(9, 3\); got"):
        checkpoint.load(path, net=nn.Sequential(nn.Linear(3, 9), *list(Run(1).net)[1:]))
    sgd = optim.SGD(Run(1).net.parameters(), 0.1)
    with pytest.raises(FormatError, match=r"optimizer does not fit: SGD\.load_state_dict"):
        checkpoint.load(path, optimizer=sgd)
    with pytest.raises(FormatError, match=r"expected a part 'ema'; it holds net, optimizer"):
        checkpoint.load(path, ema=Run(1).net)
    with pytest.raises(FormatError, match="expected a part 'step'"):
        checkpoint.load(path, step=Tensor([1.0]))


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OptionError, match=r"(?s)type object is not JSON.*Fix: convert it"):
        checkpoint.save(tmp_path / "last", step=object())
    with pytest.raises(OptionError, match=r"(?s)arrays of numbers; .*Fix: pass text as a list"):
        checkpoint.save(tmp_path / "last", names=np.array(["a"]))
    assert not list(tmp_path.iterdir())
