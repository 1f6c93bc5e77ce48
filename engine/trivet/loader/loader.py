"""Loader: which samples, in which order, in batches of which size, read by how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import DtypeError, IdError, OptionError, ShapeError
from . import collate as collating
from .order import draws, shuffled
from .sources import Dataset
from .stream import Stream


def as_stored(record, draw):
    """The decode of a dataset that needs none."""
    return record


class Loader:
    """Batches of a dataset, read and decoded ahead of whoever iterates.

    Reading (waiting for a disk) has threads apart from decoding (computing), so that neither
    stands still for the other. Threads decode too, unless told otherwise: Pillow, zlib and NumPy
    let others run while they work, and a sample need not be copied between processes. For a
    decode in plain Python, which does not, ``processes=True`` takes processes; dataset samples
    and decode's results are then pickled, and decode is a function that can be imported.

    An array that is in memory as the network wants it needs no loader: index it.

    Iterating over the loader itself is always the first epoch, in the same order; in training
    iterate over ``loader.epoch(number)``.

    Args:
        dataset: Has ``len``; ``dataset[i]`` fetches sample i as it is stored.
        batch_size: Samples in a batch.
        order: Sample numbers, a row per epoch; after the last row the first comes again.
            Without it a seed shuffles, and without a seed samples come as they are numbered.
        seed: Of the shuffling and of decode's random numbers.
        augment: A recorded table in place of random numbers: a row for each place of ``order``.
        decode: ``decode(record, draw)`` makes a sample of what was fetched. ``draw`` is the row of
            ``augment``, or a generator that depends on seed, epoch and sample alone, or None.
        collate: Makes a batch of a list of samples, in the consumer's thread, for only there do
            ``using`` and a captured step hold: ``loader.arrays`` or ``loader.tensors``.
        drop_last: Leaves out the partial batch at the end.
        readers: Threads that fetch.
        workers: Threads or processes that decode.
        ahead: Batches that are being made while the consumer has one: the bound on memory.

    Shapes: order (epochs, samples), augment (epochs, samples, ...).

    Raises:
        OptionError: A count below 1.
        ShapeError: An order that is not (epochs, samples), or a table that does not fit it.
        DtypeError: An order of anything but integers.
        IdError: An order that names a sample which is not there.

    >>> squares = [n * n for n in range(5)]
    >>> loader = Loader(squares, batch_size=2, order=[[4, 0, 3, 1, 2]])
    >>> [batch.tolist() for batch in loader]
    [[16, 0], [9, 1], [4]]
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        order: np.ndarray | None = None,
        seed: int | None = None,
        augment: np.ndarray | None = None,
        decode: Callable = as_stored,
        collate: Callable = collating.arrays,
        drop_last: bool = False,
        readers: int = 4,
        workers: int = 2,
        processes: bool = False,
        ahead: int = 2,
    ):
        _expect_counts(batch_size=batch_size, readers=readers, workers=workers, ahead=ahead)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.order, self.augment = _expect_tables(order, augment, len(dataset))
        self.seed = seed
        self._means: dict[str, Any] = dict(
            decode=decode,
            collate=collate,
            readers=readers,
            workers=workers,
            processes=processes,
            ahead=ahead,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        samples = len(self.dataset) if self.order is None else self.order.shape[1]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Stream:
        """The first epoch."""
        return self.epoch(0)

    def epoch(self, number: int, *, start: int = 0) -> Stream:
        """The batches of one epoch; the threads begin at once.

        Args:
            start: The first batch, where training is resumed within an epoch.

        >>> with Loader(range(9), batch_size=4, seed=1).epoch(3, start=1) as batches:
        ...     [len(batch) for batch in batches]
        [4, 1]
        """
        return Stream(self.dataset, self._jobs(number, start), **self._means)

    def _jobs(self, epoch: int, start: int) -> Iterator[list[tuple]]:
        """(sample, what its decoding draws from), batch by batch."""
        order = self._order(epoch)
        for batch in range(start, len(self)):
            places = range(len(order))[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(int(order[place]), self._draw(epoch, place, order)) for place in places]

    def _order(self, epoch):
        if self.order is not None:
            return self.order[epoch % len(self.order)]
        samples = len(self.dataset)
        if self.seed is None:
            return np.arange(samples)
        return shuffled(samples, seed=self.seed, epoch=epoch)

    def _draw(self, epoch, place, order):
        if self.augment is not None:
            return self.augment[epoch % len(self.augment), place]
        if self.seed is not None:
            return draws(int(order[place]), seed=self.seed, epoch=epoch)
        return None


def _expect_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise OptionError(
                f"Loader: expected {name} of at least 1; got {count}.", f"pass {name}=1 or more."
            )


def _expect_tables(order, augment, samples):
    if order is not None:
        order = np.asarray(order)
        if order.ndim != 2 or not len(order):
            raise ShapeError(
                f"Loader: expected an order (epochs, samples); got {order.shape}.",
                "order[None] makes one epoch of a row; table.reshape(1, -1) of a table of batches.",
            )
        if order.size and order.dtype.kind not in "iu":
            raise DtypeError(
                f"Loader: expected an order of integers; got {order.dtype}.",
                "pass sample numbers; np.flatnonzero(mask)[None] of a mask.",
            )
        if order.size and (order.min() < 0 or order.max() >= samples):
            raise IdError(
                f"Loader: expected samples in [0, {samples}); the order has "
                f"{order.min()} to {order.max()}.",
                "pass the dataset that the order was recorded for.",
            )
    if augment is not None:
        augment = np.asarray(augment)
        if order is None or augment.shape[:2] != order.shape:
            expected = "an order beside it" if order is None else f"{order.shape} rows"
            raise ShapeError(
                f"Loader: expected {expected}; got a table augment {augment.shape}.",
                "pass the order and the table that were recorded together.",
            )
    return order, augment
