"""Which samples come when, and by which random numbers: functions of a seed, nothing else."""

from __future__ import annotations

import numpy as np


def shuffled(samples: int, *, seed: int, epoch: int = 0) -> np.ndarray:
    """The numbers 0 to samples - 1 in the order of one epoch.

    Args:
        seed: The same seed and epoch give the same order on every machine.

    Shapes: (samples,) int64.

    >>> shuffled(5, seed=1).tolist() == shuffled(5, seed=1).tolist()
    True
    >>> sorted(shuffled(5, seed=1, epoch=2).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(samples)


def draws(sample: int, *, seed: int, epoch: int = 0) -> np.random.Generator:
    """The random numbers that augment one sample in one epoch.

    They do not depend on which thread takes the sample, nor when, nor in which batch. The highest
    word of the counter is the sample's number plus 1; it is 0 where an epoch is shuffled.

    >>> a, b = (draws(7, seed=1, epoch=3).integers(100, size=4) for _ in range(2))
    >>> a.tolist() == b.tolist()
    True
    """
    counter = [0, 0, 0, sample + 1]
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=counter))
