"""Images at another size."""

from __future__ import annotations

from ..errors import OptionError, ShapeError
from ..geometry import Resampling
from ..tape import Tensor
from .op import Sample, op
from .pool import images, linear_map


def resample_samples(rng):
    for size, out in [((4,), 7), ((5, 4), (3, 8)), ((2, 3, 3), (3, 1, 5))]:
        x = rng.standard_normal((2, 2, *size))
        for options in [{}, dict(mode="linear"), dict(mode="linear", align_corners=True)]:
            yield Sample((x, out), options, differentiable=(0,))
    yield Sample((x[:0], 2), dict(mode="linear"), differentiable=(0,))
    yield Sample((x[0, 0, 0], 2), error=(ShapeError, "1 to 3 of them; got (3, 3)"))
    yield Sample((x, 0), error=(ShapeError, "at least one pixel per axis"))
    yield Sample((x, 2), dict(mode="cubic"), error=(OptionError, "got 'cubic'"))
    yield Sample((x, 2), dict(align_corners=True), error=(OptionError, "align_corners=False"))


@op(resample_samples)
def resample(x: Tensor, size, *, mode: str = "nearest", align_corners: bool = False) -> Tensor:
    """Images at another size, each axis by itself.

    Pixel i of ``out`` lies at ``s = (i + 1/2) n / out - 1/2`` among the n of x (at
    ``i (n - 1) / (out - 1)`` with ``align_corners``), and is the mean of its two neighbours
    there, weighed by nearness. Mode nearest takes pixel ``floor(i n / out)``.

    Args:
        size: Pixels of the result, one number or one per axis.
        mode: "nearest", or "linear": (bi-, tri-) linear interpolation.
        align_corners: True puts the outer pixels' centres on each other, instead of their edges.

    Shapes: x (N, C, *old) -> (N, C, *size), 1 to 3 image axes.

    Raises:
        ShapeError: No images of 1 to 3 axes, or without pixels.
        OptionError: An unknown mode, or align_corners with nearest.

    Source: PyTorch's interpolate, in exact arithmetic: for a few pairs of sizes (26 to 22) its
        rounded scale hits the pixel before. A neighbour of weight 0 is not read, so a NaN stays
        where it counts.

    >>> resample(Tensor([[[1.0, 3.0]]]), 4, mode="linear").numpy()
    array([[[1. , 1.5, 2.5, 3. ]]], dtype=float32)
    """
    images("resample", x)
    geometry = Resampling.of("resample", x.shape[2:], size, mode, align_corners)
    return linear_map("resample", "resample_grad", x, geometry)  # (N, C, *size)
