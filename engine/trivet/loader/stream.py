"""One pass over the data. Readers wait for disks, workers compute, the consumer trains.

    consumer:  submit batch b + ahead ............ wait for batch b, collate it, hand it out
    reader:       record = dataset[i], then hand it to a worker
    worker:          sample = decode(record, draw)

A batch is a list of futures, one per sample, so batches come in order whatever finishes first.
Nothing blocks but the consumer, who only waits for what was submitted before: no deadlock. What
is in memory is bounded, because the consumer alone submits, one batch for each it takes.
"""

from __future__ import annotations

import multiprocessing
import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from .sources import Dataset


@dataclass
class Stats:
    """What the batches handed out so far have cost, in seconds.

    Reading and decoding are summed over threads; waiting is what the consumer noticed of it.
    """

    batches: int = 0
    samples: int = 0
    reading: float = 0.0
    decoding: float = 0.0
    waiting: float = 0.0
    collating: float = 0.0


class Stream:
    """An iterator over the batches of one pass; threads run from here on, until ``close``.

    It closes itself at the end, after an error, and when nobody refers to it any more; ``with``
    closes it when the block is left, by Ctrl-C too. Closing drops what is queued and waits for
    the samples that are being read or decoded.

    Args:
        jobs: A list per batch of (index, draw): a sample and what its decoding draws from.
    """

    def __init__(
        self,
        dataset: Dataset,
        jobs: Iterator[list[tuple]],
        *,
        decode: Callable,
        collate: Callable,
        readers: int,
        workers: int,
        processes: bool,
        ahead: int,
    ):
        self.stats = Stats()
        self._dataset, self._jobs, self._decode, self._collate = dataset, jobs, decode, collate
        self._readers = ThreadPoolExecutor(readers, "trivet-reader")
        self._workers = _processes(workers) if processes else _threads(workers)
        self._flying: deque[list[tuple[int, Future]]] = deque()
        # not waiting: the garbage collector may call this from one of the threads themselves
        self._abandoned = weakref.finalize(self, _stop, self._readers, self._workers, wait=False)
        for _ in range(ahead):
            self._submit()

    def __iter__(self) -> Stream:
        return self

    def __next__(self):
        try:
            if not self._flying:
                raise StopIteration
            start = perf_counter()
            samples = [self._finished(index, read) for index, read in self._flying.popleft()]
            waited = perf_counter()
            batch = self._collated(samples)
            self.stats.waiting += waited - start
            self.stats.collating += perf_counter() - waited
            self.stats.batches += 1
            self.stats.samples += len(samples)
            self._submit()
            return batch
        except BaseException:  # Ctrl-C as well
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Ends all threads. A closed stream is at its end."""
        self._flying.clear()
        _stop(self._readers, self._workers, wait=True)
        self._abandoned.detach()

    def _submit(self) -> None:
        jobs = next(self._jobs, None)
        if jobs is not None:
            shared = (
                self._dataset,
                self._decode,
                self._workers,
            )  # not self: it must stay collectable
            self._flying.append(
                [(i, self._readers.submit(_read, *shared, i, draw)) for i, draw in jobs]
            )

    def _collated(self, samples):
        try:
            return self._collate(samples)
        except StopIteration as error:  # as in _finished
            raise RuntimeError("StopIteration in the loader, in collate.") from error

    def _finished(self, index, read: Future):
        """A sample, once it is there; an error of its thread is raised here, and names it."""
        try:
            seconds, decoding = read.result()
            self.stats.reading += seconds
            seconds, sample = decoding.result()
            self.stats.decoding += seconds
            return sample
        except StopIteration as error:  # raised here it would pass for the end of the epoch
            raise RuntimeError(f"StopIteration in the loader, in sample {index}.") from error
        except Exception as error:
            error.add_note(f"In the loader, while it was reading or decoding sample {index}.")
            raise


def _read(dataset, decode, workers: Executor, index, draw) -> tuple[float, Future]:
    start = perf_counter()
    record = dataset[index]
    return perf_counter() - start, workers.submit(_timed, decode, record, draw)


def _timed(decode, record, draw) -> tuple:
    start = perf_counter()
    sample = decode(record, draw)
    return perf_counter() - start, sample


def _threads(workers: int) -> Executor:
    return ThreadPoolExecutor(workers, "trivet-worker")


def _processes(workers: int) -> Executor:
    """Spawned, for a fork would copy the locks of our threads as they happen to be.

    Ctrl-C is the consumer's to handle; the processes end with the stream.
    """
    return ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


def _stop(readers: Executor, workers: Executor, wait: bool) -> None:
    """Both are told before either is waited for, in case of a second Ctrl-C meanwhile.

    A reader that is about to hand a record to the workers is refused, which nobody asks about.
    """
    for pool in (readers, workers):
        pool.shutdown(wait=False, cancel_futures=True)
    if wait:
        for pool in (readers, workers):
            pool.shutdown(wait=True)
