"""A window sliding over an image of any rank, as a view of it; and the way back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..geometry import Window


def pad(x: np.ndarray, window: Window, fill: float = 0.0) -> np.ndarray:
    """x with its padding, or x itself where there is none."""
    if not any(map(any, window.padding)):
        return x
    padded = np.full((*x.shape[:2], *window.padded), fill, x.dtype)  # (N, C, *padded)
    padded[inside(window)] = x
    return padded


def inside(window: Window) -> tuple[slice, ...]:
    """Where the image lies in the padded one."""
    return ..., *(slice(b, b + n) for n, (b, _) in zip(window.size, window.padding))


def windows(x: np.ndarray, window: Window, fill: float = 0.0) -> np.ndarray:
    """Every position of the window over the padded x (N, C, *size): what each cell meets there.

    Returns a read-only view (N, C, *out_size, *kernel) in which pixels appear many times.
    """
    axes = tuple(range(2, x.ndim))
    spread = np.lib.stride_tricks.sliding_window_view(pad(x, window, fill), window.extent, axes)
    positions = tuple(slice(None, None, s) for s in window.stride)
    cells = tuple(slice(None, None, d) for d in window.dilation)
    return spread[:, :, *positions, *cells]  # (N, C, *out_size, *kernel)


def met(window: Window, cell: tuple[int, ...]) -> tuple[slice, ...]:
    """The pixels of a padded image (N, C, *padded) that one cell of the window meets."""
    axes = zip(cell, window.dilation, window.stride, window.out_size)
    return ..., *(slice(c * d, c * d + s * (n - 1) + 1, s) for c, d, s, n in axes)


def scatter(gx: np.ndarray, window: Window, tap: Callable[[tuple[int, ...]], np.ndarray]) -> None:
    """The transpose of ``windows``: each pixel of gx becomes the sum over the cells that met it.

    ``tap(cell)`` gives the (N, C, *out_size) numbers that this cell sends back.
    """
    padded = np.zeros((*gx.shape[:2], *window.padded), gx.dtype)
    for cell in np.ndindex(*window.kernel):
        padded[met(window, cell)] += tap(cell)
    gx[...] = padded[inside(window)]
