"""The loader's end: errors, Ctrl-C, breaking off; the consumer hears of it and no thread stays."""

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from trivet.errors import ShapeError
from trivet.loader import Loader
from trivet.loader.loader import as_stored

PATIENCE = 20  # seconds until a test that hangs fails


def ours():
    return [t for t in threading.enumerate() if t.name.startswith("trivet-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not ours()


def wait(event):
    assert event.wait(PATIENCE)


class Broken:
    """Sample 3 cannot be fetched."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index == 3:
            raise OSError("disk on fire")
        return index


def fails_to_decode(record, draw):
    if record == 3:
        raise ValueError("not a PNG")
    return record


@pytest.mark.parametrize(
    "dataset, decode, error, place",
    [
        (Broken(), as_stored, OSError, "__getitem__"),
        (range(100), fails_to_decode, ValueError, "fails_to_decode"),
    ],
)
def test_an_error_of_a_thread_reaches_the_consumer(dataset, decode, error, place):
    """With the traceback of where it happened and the sample; what came before it is delivered."""
    stream = Loader(dataset, batch_size=2, decode=decode).epoch(0)
    assert next(stream).tolist() == [0, 1]
    with pytest.raises(error) as caught:
        next(stream)
    assert caught.value.__notes__ == ["In the loader, while it was reading or decoding sample 3."]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == place
    assert not ours()
    assert list(stream) == []


def test_a_stop_iteration_does_not_pass_for_the_end():
    loader = Loader(range(4), batch_size=2, decode=lambda record, draw: next(iter(())))
    with pytest.raises(RuntimeError, match="StopIteration in the loader, in sample 0"):
        list(loader)


def test_a_stop_iteration_in_collate_does_not_either():
    loader = Loader(range(4), batch_size=2, collate=lambda samples: next(iter(())))
    with pytest.raises(RuntimeError, match="StopIteration in the loader, in collate"):
        list(loader)


def test_an_error_in_collate_ends_the_threads():
    shapes = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ShapeError, match=r"samples of one shape; got \[\(2,\), \(3,\)\]"):
        list(Loader(shapes, batch_size=2))
    assert not ours()


def test_leaving_the_block_ends_the_threads():
    with Loader(range(100), batch_size=2).epoch(0) as stream:
        for _ in stream:
            break
        assert ours()
    assert not ours()
    assert list(stream) == []


def test_an_error_of_the_consumer_ends_the_threads():
    with pytest.raises(ZeroDivisionError), Loader(range(100), batch_size=2).epoch(0) as stream:
        next(stream)
        1 / 0
    assert not ours()


def test_a_stream_that_nobody_refers_to_ends_its_threads():
    """A break out of the loop leaves no reference; the queued samples are dropped."""
    gate, read = threading.Event(), []

    def decode(record, draw):
        read.append(record)
        if record:
            wait(gate)
        return record

    loader = Loader(range(100), batch_size=1, decode=decode, readers=1, workers=1, ahead=50)
    for _ in loader:
        break
    gc.collect()
    threads = ours()
    gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert read in ([0], [0, 1])  # 1 was being decoded, or about to be


def test_a_generator_around_a_stream_ends_it_when_closed():
    def doubled(loader):
        with loader.epoch(0) as stream:
            for batch in stream:
                yield batch * 2

    batches = doubled(Loader(range(100), batch_size=2))
    assert next(batches).tolist() == [0, 2]
    batches.close()
    assert not ours()


def test_ctrl_c_while_the_consumer_waits():
    """The decoder lets go only when the handler ran: until then there is no batch."""
    armed, pressed = threading.Event(), threading.Event()

    def press(number, frame):
        pressed.set()
        raise KeyboardInterrupt

    def decode(record, draw):
        if record == 0:
            wait(armed)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        wait(pressed)
        return record

    loader = Loader(range(100), batch_size=1, decode=decode, readers=1, workers=1)
    before = signal.signal(signal.SIGINT, press)
    try:
        with loader.epoch(0) as stream, pytest.raises(KeyboardInterrupt):
            armed.set()
            next(stream)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ours()


def test_an_error_of_a_process_reaches_the_consumer_and_ctrl_c_does_not_reach_the_process():
    ignored = "import signal; assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    codes = [ignored, "1 / 0"]
    loader = Loader(codes, batch_size=1, decode=exec, collate=list, workers=1, processes=True)
    stream = loader.epoch(0)
    assert next(stream) == [None]
    with pytest.raises(ZeroDivisionError) as caught:
        next(stream)
    assert "sample 1" in caught.value.__notes__[0]
    assert 'File "<string>", line 1' in str(caught.value.__cause__)  # the process's traceback


def test_a_process_that_dies_is_noticed():
    codes = ["import os; os._exit(3)"] * 3
    with pytest.raises(BrokenProcessPool):
        list(Loader(codes, batch_size=1, decode=exec, collate=list, workers=1, processes=True))


def test_threads_do_not_outlive_the_interpreter():
    """A script that breaks off and never closes its stream ends all the same."""
    code = (
        "from trivet.loader import Loader\n"
        "stream = Loader(range(1000), batch_size=10).epoch(0)\n"
        "print(next(stream).tolist()[:2])\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, "[0, 1]\n", "")
