"""The loader: order, bounds, repeatability, and that no thread outlives its stream."""

import io
import operator
import threading
import time

import numpy as np
import pytest
from PIL import Image
from trivet import Tensor
from trivet.errors import DtypeError, IdError, OptionError, ShapeError
from trivet.loader import Files, Loader, arrays, draws, shuffled, tensors

PATIENCE = 20  # seconds until a test that hangs fails


def ours():
    return [t for t in threading.enumerate() if t.name.startswith("trivet-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not ours()


def wait(event):
    assert event.wait(PATIENCE)


def lists(stream):
    return [batch.tolist() for batch in stream]


def test_batches_come_in_order_however_long_their_samples_take():
    """Sample 0 waits for sample 5, two batches later."""
    later, finished = threading.Event(), []

    def decode(record, draw):
        if record == 0:
            wait(later)
        finished.append(record)
        if record == 5:
            later.set()
        return record

    loader = Loader(range(8), batch_size=2, decode=decode, workers=2, ahead=3)
    assert lists(loader) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert finished.index(0) > finished.index(5)


def test_readers_and_workers_run_beside_each_other():
    """Two reads and two decodes stand at one barrier: four threads, or the barrier breaks."""
    barrier = threading.Barrier(4)

    class Meeting:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index >= 2:
                barrier.wait(PATIENCE)
            return index

    def decode(record, draw):
        if record < 2:
            barrier.wait(PATIENCE)
        return record

    loader = Loader(Meeting(), batch_size=2, decode=decode, readers=2, workers=2)
    assert lists(loader) == [[0, 1], [2, 3]]


def test_prefetch_is_bounded():
    """While batch n is handed out no batch beyond n + ahead was begun, and those were."""
    begun, handed, beyond = threading.Semaphore(0), [0], []

    class Watched:
        def __len__(self):
            return 20

        def __getitem__(self, index):
            beyond.append(index // 2 - handed[0])
            begun.release()
            return index

    with Loader(Watched(), batch_size=2, ahead=3).epoch(0) as stream:
        for _ in range(3 * 2):
            assert begun.acquire(timeout=PATIENCE)
        assert not begun.acquire(blocking=False)
        for n in range(1, 11):
            handed[0] = n
            assert next(stream).tolist() == [2 * n - 2, 2 * n - 1]
            for _ in range(2 if n <= 7 else 0):
                assert begun.acquire(timeout=PATIENCE)
            assert not begun.acquire(blocking=False)
    assert max(beyond) <= 3


@pytest.fixture
def photos(tmp_path, rng):
    """Twelve PNG files and their pixels."""
    pixels = rng.integers(256, size=(12, 9, 9, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, image in zip(paths, pixels):
        Image.fromarray(image).save(path)
    return Files(paths, labels=np.arange(12) % 3), pixels


def crop(image, draw):
    """Height and width 8 at the drawn corner, mirrored or not, channels first."""
    top, left, flip = draw
    image = image[top : top + 8, left : left + 8]
    return (image[:, ::-1] if flip else image).transpose(2, 0, 1)


def decode_png(record, draw):
    data, label = record
    with Image.open(io.BytesIO(data)) as file:
        return crop(np.asarray(file), draw), label


def test_real_files_by_a_recorded_order_and_table(photos, rng):
    files, pixels = photos
    order = np.stack([rng.permutation(12) for _ in range(2)])
    augment = rng.integers(2, size=(2, 12, 3))
    loader = Loader(
        files, batch_size=5, order=order, augment=augment, decode=decode_png, collate=tensors
    )
    for epoch in (0, 1, 2):
        row, draw = order[epoch % 2], augment[epoch % 2]
        expected = np.stack([crop(pixels[i], d) for i, d in zip(row, draw)])
        seen = list(loader.epoch(epoch))
        assert [x.shape for x, _ in seen] == [(5, 3, 8, 8), (5, 3, 8, 8), (2, 3, 8, 8)]
        assert isinstance(seen[0][0], Tensor)
        assert np.array_equal(np.concatenate([x.numpy() for x, _ in seen]), expected)
        assert np.array_equal(np.concatenate([y.numpy() for _, y in seen]), row % 3)


@pytest.mark.parametrize("readers, workers, ahead", [(1, 1, 1), (5, 3, 4)])
def test_random_augmentation_depends_on_seed_epoch_and_sample_alone(
    photos, readers, workers, ahead
):
    files, pixels = photos

    def decode(record, draw):
        return decode_png(record, draw.integers(2, size=3))[0]

    loader = Loader(
        files, batch_size=4, seed=3, decode=decode, readers=readers, workers=workers, ahead=ahead
    )
    for epoch in (0, 7):
        expected = [
            crop(pixels[i], draws(int(i), seed=3, epoch=epoch).integers(2, size=3))
            for i in shuffled(12, seed=3, epoch=epoch)
        ]
        assert np.array_equal(np.concatenate(list(loader.epoch(epoch))), np.stack(expected))


def test_orders_of_two_epochs_differ_and_samples_draw_different_numbers():
    assert shuffled(50, seed=1, epoch=0).tolist() != shuffled(50, seed=1, epoch=1).tolist()
    assert shuffled(50, seed=1).tolist() != shuffled(50, seed=2).tolist()
    seen = {
        tuple(draws(sample, seed=seed, epoch=epoch).integers(2**60, size=2))
        for sample in range(5)
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(seen) == 45


@pytest.mark.parametrize("samples, drop_last, sizes", [(7, False, [3, 3, 1]), (7, True, [3, 3]),
                                                       (6, False, [3, 3]), (2, True, []),
                                                       (0, False, [])])  # fmt: skip
def test_the_last_partial_batch(samples, drop_last, sizes):
    loader = Loader(range(samples), batch_size=3, drop_last=drop_last)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_a_resumed_epoch_continues_where_it_stopped():
    loader = Loader(range(10), batch_size=3, seed=5)
    assert lists(loader.epoch(2, start=2)) == lists(loader.epoch(2))[2:]


def test_stats_add_up():
    """Each read takes 2 ms and each decode 5: a sleep is the work here."""

    class Slow:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            time.sleep(0.002)
            return index

    def decode(record, draw):
        time.sleep(0.005)
        return record

    start = time.perf_counter()
    stream = Loader(Slow(), batch_size=4, decode=decode).epoch(0)
    list(stream)
    passed, stats = time.perf_counter() - start, stream.stats
    assert (stats.batches, stats.samples) == (2, 6)
    assert stats.reading >= 6 * 0.002 and stats.decoding >= 6 * 0.005
    assert 0 < stats.waiting + stats.collating < passed


def test_a_decode_that_is_ready_costs_no_waiting():
    ready = threading.Semaphore(0)

    def decode(record, draw):
        ready.release()
        return record

    stream = Loader(range(4), batch_size=2, decode=decode, workers=1, ahead=2).epoch(0)
    for _ in range(4):
        assert ready.acquire(timeout=PATIENCE)
    assert next(stream).tolist() == [0, 1]
    assert stream.stats.waiting < 1  # a bound for a machine that is busy, not a measurement
    stream.close()


def test_processes_decode_as_threads_do():
    order, augment = np.array([[3, 1, 2, 0]]), np.array([[10, 20, 30, 40]])
    loader = Loader(
        range(4), batch_size=2, order=order, augment=augment, decode=operator.add,
        workers=1, processes=True,
    )  # fmt: skip
    assert lists(loader) == [[13, 21], [32, 40]]


def test_arrays_stack_tuples_place_by_place():
    x, (y, z) = arrays([(np.zeros((2, 3)), (1, 2.0))] * 4)
    assert x.shape == (4, 2, 3) and y.tolist() == [1] * 4 and z.dtype == np.float64


def test_files_that_nothing_decodes_keep_their_last_zeros(tmp_path):
    contents = [b"ab\0\0", b"c"]
    for i, content in enumerate(contents):
        (tmp_path / str(i)).write_bytes(content)
    (batch,) = Loader(Files([tmp_path / "0", tmp_path / "1"]), batch_size=2)
    assert batch.tolist() == contents


@pytest.mark.parametrize(
    "options, error, text",
    [
        (dict(batch_size=0), OptionError, "batch_size of at least 1; got 0"),
        (dict(readers=0), OptionError, "readers of at least 1; got 0"),
        (dict(ahead=0), OptionError, "ahead of at least 1; got 0"),
        (dict(order=[0, 1]), ShapeError, r"order \(epochs, samples\); got \(2,\)"),
        (dict(order=[[0, 4]]), IdError, r"samples in \[0, 4\); the order has 0 to 4"),
        (dict(order=[[0.5, 2.0]]), DtypeError, "order of integers; got float64"),
        (dict(order=[[True, False]]), DtypeError, "order of integers; got bool"),
        (dict(order=[[-1, 2]]), IdError, "the order has -1 to 2"),
        (dict(augment=np.zeros((1, 4))), ShapeError, "an order beside it"),
        (dict(order=[[0, 1]], augment=np.zeros((1, 4))), ShapeError, r"expected \(1, 2\) rows"),
    ],
)
def test_errors(options, error, text):
    with pytest.raises(error, match=text) as caught:
        Loader(range(4), **{"batch_size": 2, **options})
    assert "Fix:" in str(caught.value)
