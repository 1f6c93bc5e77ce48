"""Samples to a batch."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..tape import Tensor


def arrays(samples: list) -> np.ndarray | tuple:
    """The samples stacked along a new first axis; of tuples, each place for itself.

    Bytes, such as files that nothing decoded, make an array of objects.

    Shapes: N samples (...) -> (N, ...).

    Raises:
        ShapeError: Samples of different shapes.

    >>> x, y = arrays([(np.zeros(3), 0), (np.ones(3), 1)])
    >>> x.shape, y.tolist()
    ((2, 3), [0, 1])
    """
    if isinstance(samples[0], tuple):
        return tuple(arrays(list(places)) for places in zip(*samples, strict=True))
    if isinstance(samples[0], bytes):  # NumPy's own arrays of bytes drop zeros at the end
        return np.array(samples, object)
    shapes = {np.shape(sample) for sample in samples}
    if len(shapes) > 1:
        raise ShapeError(
            f"arrays: expected samples of one shape; got {sorted(shapes)}.",
            "crop, resize or pad them in decode.",
        )
    return np.stack(samples)


def tensors(samples: list) -> Tensor | tuple:
    """As ``arrays``, then in Tensors.

    >>> tensors([np.float32([1, 2]), np.float32([3, 4])])
    Tensor(float32 (2, 2) plain)
    """
    return _wrapped(arrays(samples))


def _wrapped(batch):
    return tuple(map(_wrapped, batch)) if isinstance(batch, tuple) else Tensor(batch)
