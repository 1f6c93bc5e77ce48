"""Images at another size, each axis by itself."""

from __future__ import annotations

import numpy as np

from .... import ops
from ..operator import from_host, operator
from .shape import integers, picked

COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)
ROUNDING = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
ENGINES = {  # (mode, coordinates, rounding) -> options of the one kernel that does it
    ("nearest", "asymmetric", "floor"): dict(mode="nearest"),
    ("linear", "half_pixel", None): dict(mode="linear"),
    ("linear", "align_corners", None): dict(mode="linear", align_corners=True),
}


@operator(
    "Resize",
    host=("roi", "scales", "sizes"),
    only={
        "mode": ("nearest", "linear"),
        "coordinate_transformation_mode": COORDINATES,
        "nearest_mode": tuple(ROUNDING),
        "antialias": (0,),
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    },
)
def resize(x, roi=None, scales=None, sizes=None, *, mode="nearest", axes=None,
           coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_floor",
           keep_aspect_ratio_policy="stretch", antialias=0, cubic_coeff_a=-0.75,
           exclude_outside=0, extrapolation_value=0.0, node):  # fmt: skip
    if node.opset == 10:  # its second input are the scales, its coordinates asymmetric
        return _resized(x, {i: (s, None) for i, s in enumerate(roi)}, mode, "asymmetric", "floor")
    axes = tuple(a % x.ndim for a in axes) if axes else tuple(range(x.ndim))
    if sizes is not None and sizes.size:
        wanted = _scales_for(x, axes, integers(sizes), keep_aspect_ratio_policy)
    else:
        wanted = {a: (float(s), None) for a, s in zip(axes, scales)}
    rounding = nearest_mode if mode == "nearest" else None
    return _resized(x, wanted, mode, coordinate_transformation_mode, rounding)


@operator("Upsample", host=("scales",), only={"mode": ("nearest", "linear")})
def upsample(x, scales, *, mode="nearest"):
    wanted = {a: (float(s), None) for a, s in enumerate(scales)}
    return _resized(x, wanted, mode, "asymmetric", "floor" if mode == "nearest" else None)


def _scales_for(x, axes, sizes, policy):
    """(scale, size) per axis."""
    scales = [out / x.shape[a] for a, out in zip(axes, sizes)]
    if policy == "stretch":
        return {a: pair for a, *pair in zip(axes, scales, sizes)}
    scale = (min if policy == "not_larger" else max)(scales)
    return {a: (scale, int(np.floor(scale * x.shape[a] + 0.5))) for a in axes}


def _resized(x, wanted, mode, coordinates, rounding):
    """Args: wanted: (scale, size or None: as the scale says) by axis."""
    sizes = {a: int(np.floor(x.shape[a] * s)) if out is None else out
             for a, (s, out) in wanted.items()}  # fmt: skip
    exact = all(sizes[a] == x.shape[a] * s for a, (s, _) in wanted.items())
    moved = [a for a, (s, _) in wanted.items() if sizes[a] != x.shape[a] or s != 1]
    options = ENGINES.get((mode, coordinates, rounding))
    if options and exact and 3 <= x.ndim <= 5 and min(moved, default=2) >= 2:
        return ops.resample(x, tuple(sizes.get(a, x.shape[a]) for a in range(2, x.ndim)), **options)
    for a in moved:
        place = _places(x.shape[a], sizes[a], wanted[a][0], coordinates)
        x = _sampled(x, a, place, ROUNDING.get(rounding))
    return x


def _places(n, out, scale, coordinates) -> np.ndarray:
    """Where each of ``out`` pixels lies among the n of x."""
    i = np.arange(out)
    if coordinates == "asymmetric":
        return i / scale
    if coordinates == "align_corners":
        return i * (n - 1) / (scale * n - 1) if out > 1 else np.zeros(1)
    if coordinates == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if coordinates == "pytorch_half_pixel" and out == 1:
        return np.zeros(1)
    place = (i + 0.5) / scale - 0.5
    if coordinates == "half_pixel_symmetric":
        place += n / 2 * (1 - out / (scale * n))
    return place


def _sampled(x, axis, place, rounding):
    """Pixels at these places: the one they are rounded to, or the mean of two neighbours."""
    last = x.shape[axis] - 1
    if rounding:
        return picked(x, np.clip(rounding(place), 0, last), axis)
    place = np.clip(place, 0, last)
    left = np.minimum(np.floor(place), last)
    share = (place - left).reshape(-1, *(1 for _ in x.shape[axis + 1 :]))
    a, b = picked(x, left, axis), picked(x, np.minimum(left + 1, last), axis)
    share = from_host(share.astype(x.dtype), x.device)
    return ops.add(a, ops.mul(ops.sub(b, a), share))
