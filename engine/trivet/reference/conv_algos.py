"""Four ways to the same convolution: direct, im2col + GEMM, FFT, Winograd.

Each slides the filters as they are (cross-correlation) over one part of a batch. The letters:
N images, C channels in, O out, G groups, K cells of the window, P positions of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Window
from .windows import inside, met, pad, scatter, windows


@dataclass(frozen=True)
class Algorithm:
    """Forward and both gradients for x (N, C, *size), w (O, C/G, *kernel), y (N, O, *out_size)."""

    window: Window
    groups: int

    def refusal(self) -> str:
        """Why this algorithm cannot do it; empty if it can."""
        return ""

    def forward(self, y, x, w) -> None:
        """Writes y."""
        raise NotImplementedError

    def grad_input(self, gx, gy, w) -> None:
        """Writes gx."""
        raise NotImplementedError

    def grad_weight(self, gw, x, gy) -> None:
        """Adds to gw, as a batch comes in parts."""
        raise NotImplementedError

    def rows(self, x: np.ndarray) -> np.ndarray:
        """(N, C, *P) as one row of numbers per channel: (G, C/G, N*P)."""
        channels = x.shape[1]
        pixels = x.size // max(channels, 1)
        return x.swapaxes(0, 1).reshape(self.groups, channels // self.groups, pixels)

    def filters(self, w: np.ndarray) -> np.ndarray:
        """(O, C/G, *kernel) by group: (G, O/G, C/G, *kernel)."""
        return w.reshape(self.groups, w.shape[0] // self.groups, *w.shape[1:])


def images(rows: np.ndarray, n: int, size: tuple[int, ...]) -> np.ndarray:
    """The way back from ``Algorithm.rows``: (G, C/G, N*P) -> (N, C, *size)."""
    return rows.reshape(rows.shape[0] * rows.shape[1], n, *size).swapaxes(0, 1)


class Direct(Algorithm):
    """The definition: each cell of the window adds its share, a product over channels.

    ``y[n, o, p] = sum_k sum_c  w[o, c, k] * x[n, c, stride*p + dilation*k - before]``
    """

    def forward(self, y, x, w):
        x, w = pad(x, self.window), self.filters(w)
        y[...] = 0
        for cell in np.ndindex(*self.window.kernel):
            share = w[..., *cell] @ self.rows(x[met(self.window, cell)])  # (G, O/G, N*P)
            y += images(share, len(y), self.window.out_size)

    def grad_input(self, gx, gy, w):
        rows, w = self.rows(gy), self.filters(w)  # (G, O/G, N*P)

        def share(cell):
            return images(w[..., *cell].mT @ rows, len(gy), self.window.out_size)

        scatter(gx, self.window, share)

    def grad_weight(self, gw, x, gy):
        x, rows = pad(x, self.window), self.rows(gy)  # (G, O/G, N*P)
        for cell in np.ndindex(*self.window.kernel):
            share = rows @ self.rows(x[met(self.window, cell)]).mT  # (G, O/G, C/G)
            gw[..., *cell] += share.reshape(gw.shape[:2])


class Im2col(Algorithm):
    """What the window meets at each position becomes a column; the filters times all of them.

    Source: Chellapilla, Puri & Simard, "High performance convolutional neural networks for
        document processing", IWFHR 2006, section 3.1.
    """

    def columns(self, x: np.ndarray) -> np.ndarray:
        rank = len(self.window.size)
        positions, cells = range(2, 2 + rank), range(2 + rank, 2 + 2 * rank)
        columns = windows(x, self.window).transpose(1, *cells, 0, *positions)
        depth = self._depth(x.shape[1])
        return columns.reshape(self.groups, depth, columns.size // max(self.groups * depth, 1))

    def forward(self, y, x, w):
        products = self._matrix(w) @ self.columns(x)  # (G, O/G, N*P)
        y[...] = images(products, len(y), self.window.out_size)

    def grad_input(self, gx, gy, w):
        columns = self._matrix(w).mT @ self.rows(gy)  # (G, C/G*K, N*P)
        n, channels = gx.shape[:2]
        columns = columns.reshape(channels, *self.window.kernel, n, *self.window.out_size)
        scatter(gx, self.window, lambda cell: columns[:, *cell].swapaxes(0, 1))

    def grad_weight(self, gw, x, gy):
        gw += (self.rows(gy) @ self.columns(x).mT).reshape(gw.shape)

    def _depth(self, channels):
        return channels // self.groups * self.window.cells

    def _matrix(self, w):
        """(G, O/G, C/G*K)."""
        return w.reshape(
            self.groups, w.shape[0] // self.groups, self._depth(w.shape[1] * self.groups)
        )


class FFT(Algorithm):
    """A correlation is a product of spectra, one of them conjugated; channels add up there.

    All transforms have the padded image's size. No sum wraps round: the window never leaves it.
    Computed in float64. A NaN or an infinity reaches every pixel of its image.

    Source: Mathieu, Henaff & LeCun, arXiv:1312.5851.
    """

    def forward(self, y, x, w):
        spectra = self._of_images(pad(x, self.window)) @ self._of_filters(w).conj().mT
        y[...] = self._images(spectra)[met(self.window, self._first)]

    def grad_input(self, gx, gy, w):
        spectra = self._of_images(self._spread(gy)) @ self._of_filters(w)
        gx[...] = self._images(spectra)[inside(self.window)]

    def grad_weight(self, gw, x, gy):
        gys = self._of_images(self._spread(gy))
        spectra = gys.conj().mT @ self._of_images(pad(x, self.window))  # (*F, G, O/G, C/G)
        gw += self._back(spectra)[self._cells].reshape(gw.shape)

    @property
    def _first(self):
        return (0,) * len(self.window.size)

    @property
    def _cells(self):
        """The pixels under the window's cells at its first position."""
        return ..., *(slice(0, e, d) for e, d in zip(self.window.extent, self.window.dilation))

    def _spread(self, gy):
        """gy with zeros between, each number at the pixel where its window starts."""
        wide = np.zeros((*gy.shape[:2], *self.window.padded))
        wide[met(self.window, self._first)] = gy
        return wide  # (N, O, *padded)

    def _of_images(self, x):
        n, channels = x.shape[:2]
        parts = x.reshape(n, self.groups, channels // self.groups, *x.shape[2:])
        return self._spectra(parts.swapaxes(0, 1))  # (*F, G, N, C/G)

    def _of_filters(self, w):
        wide = np.zeros((*w.shape[:2], *self.window.padded))
        wide[self._cells] = w
        return self._spectra(self.filters(wide))  # (*F, G, O/G, C/G)

    def _spectra(self, a):
        """Frequencies first, so that each is one matrix product."""
        axes = range(3, a.ndim)
        spectra = np.fft.rfftn(a.astype(np.float64, copy=False), axes=axes)
        return np.ascontiguousarray(np.moveaxis(spectra, (0, 1, 2), (-3, -2, -1)))

    def _back(self, spectra):
        axes = range(3, spectra.ndim)
        spectra = np.moveaxis(spectra, (-3, -2, -1), (0, 1, 2))
        return np.fft.irfftn(spectra, self.window.padded, axes)  # (G, A, B, *padded)

    def _images(self, spectra):
        parts = self._back(spectra).swapaxes(0, 1)  # (N, G, C/G, *padded)
        n, groups, channels = parts.shape[:3]
        return parts.reshape(n, groups * channels, *self.window.padded)


# Cook-Toom matrices of F(2, 3): two outputs of three taps from four inputs, four products not six
INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def sandwich(t: np.ndarray, a: np.ndarray) -> np.ndarray:
    """``t @ a[:, :, m] @ t.T`` for every m: a (i, j, ...) -> (k, k, M)."""
    t = t.astype(a.dtype)
    return t @ np.tensordot(t, a.reshape(*a.shape[:2], -1), 1)


class Winograd(Algorithm):
    """F(2x2, 3x3): 2x2 outputs from a 4x4 tile with 16 products where the definition takes 36.

    ``Y = At [(G w Gt) * (Bt d B)] A`` per tile; as this is linear in w and in d, its gradients
    are the same products between the transposed matrices. Where infinities meet, NaN results.

    Source: Lavin & Gray, arXiv:1509.09308, section 4.1.
    """

    def refusal(self):
        w = self.window
        if (w.kernel, w.stride, w.dilation) == ((3, 3), (1, 1), (1, 1)):
            return ""
        return (
            "winograd F(2x2, 3x3) needs a kernel of (3, 3), stride 1 and dilation 1; "
            f"got {w.kernel}, {w.stride} and {w.dilation}"
        )

    def forward(self, y, x, w):
        products = self._of_filters(w) @ self._of_images(x)  # (4, 4, G, O/G, N*T)
        th, tw = self._tiles.out_size
        parts = sandwich(OUTPUT, products).reshape(2, 2, y.shape[1], len(y), th, tw)
        parts = parts.transpose(3, 2, 4, 0, 5, 1).reshape(*y.shape[:2], 2 * th, 2 * tw)
        y[...] = parts[..., : y.shape[2], : y.shape[3]]

    def grad_input(self, gx, gy, w):
        products = self._of_filters(w).mT @ self._of_outputs(gy)  # (4, 4, G, C/G, N*T)
        n, channels = gx.shape[:2]
        tiles = sandwich(INPUT.T, products).reshape(4, 4, channels, n, *self._tiles.out_size)
        scatter(gx, self._tiles, lambda cell: tiles[cell].swapaxes(0, 1))

    def grad_weight(self, gw, x, gy):
        products = self._of_outputs(gy) @ self._of_images(x).mT  # (4, 4, G, O/G, C/G)
        parts = sandwich(FILTER.T, products).reshape(3, 3, *gw.shape[:2])
        gw += parts.transpose(2, 3, 0, 1)

    @property
    def _tiles(self) -> Window:
        """Tiles of 4x4 pixels, two apart; where outputs are odd, one more pixel of padding."""
        w = self.window
        padding = tuple((b, a + n % 2) for (b, a), n in zip(w.padding, w.out_size))
        return Window(w.size, (4, 4), (2, 2), padding, (1, 1))

    def _of_images(self, x):
        tiles = windows(x, self._tiles).transpose(4, 5, 1, 0, 2, 3)  # (4, 4, C, N, tH, tW)
        return self._grouped(sandwich(INPUT, tiles), x.shape[1])

    def _of_filters(self, w):
        transformed = sandwich(FILTER, w.transpose(2, 3, 0, 1))  # (4, 4, O*C/G)
        return transformed.reshape(4, 4, self.groups, w.shape[0] // self.groups, w.shape[1])

    def _of_outputs(self, gy):
        th, tw = self._tiles.out_size
        even = np.zeros((*gy.shape[:2], 2 * th, 2 * tw), gy.dtype)
        even[..., : gy.shape[2], : gy.shape[3]] = gy
        parts = even.reshape(*gy.shape[:2], th, 2, tw, 2).transpose(3, 5, 1, 0, 2, 4)
        return self._grouped(sandwich(OUTPUT.T, parts), gy.shape[1])

    def _grouped(self, transformed, channels):
        pixels = transformed.shape[-1] // max(channels, 1)
        return transformed.reshape(4, 4, self.groups, channels // self.groups, pixels)
