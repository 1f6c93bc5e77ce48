"""Random numbers that depend on a key and a place only: Philox4x32-10.

Eager or captured, in any memory layout, on any backend: element i of draw k is the same number.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Random123).
"""

from __future__ import annotations

import numpy as np

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3) - 1: the key's steps
LOW, WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random 32-bit words per counter.

    Args:
        counter: (4, n) uint64 that hold 32-bit words.
        key: Two 32-bit words.

    Returns:
        (4, n) uint64 that hold 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> WORD) ^ c1 ^ np.uint64(k0), p1 & LOW,
            (p0 >> WORD) ^ c3 ^ np.uint64(k1), p0 & LOW,
        )  # fmt: skip
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def uniform(n: int, seed: int, draw: int) -> np.ndarray:
    """n float32 in [0, 1): element i is word i % 4 of block i // 4 of this draw.

    Multiples of 2**-24, so that float32 holds them exactly and 1 is never reached.
    """
    blocks = np.arange((n + 3) // 4, dtype=np.uint64)
    draw_words = np.uint64(draw & 0xFFFFFFFF), np.uint64((draw >> 32) & 0xFFFFFFFF)
    counter = np.stack(
        [blocks & LOW, blocks >> WORD, *(np.full_like(blocks, word) for word in draw_words)]
    )
    words = philox(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return (words.T.reshape(-1)[:n] >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)
