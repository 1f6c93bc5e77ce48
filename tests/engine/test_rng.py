"""Philox4x32-10 against its authors' vectors, and the uniforms made of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from trivet import rng as random

KNOWN = [  # counter, key, words: kat_vectors of Random123
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]  # fmt: skip
WORD64 = st.integers(0, 2**63 - 1)


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, expected", KNOWN)
def test_known_answers(counter, key, expected):
    counters = np.array([words(counter)] * 2, np.uint64).T  # (4, 2)
    for column in random.philox(counters, tuple(words(key))).T:
        assert column.tolist() == words(expected)


def test_uniforms_are_the_high_bits_of_the_words_in_order():
    expected = [word >> 8 for word in words(KNOWN[0][2])]
    assert (random.uniform(4, 0, 0) * 2**24).tolist() == expected


def test_every_word_of_seed_and_draw_counts():
    places = [(0, 0), (1, 0), (1 << 32, 0), (0, 1), (0, 1 << 32)]
    assert len({random.uniform(8, *place).tobytes() for place in places}) == len(places)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(0, 50), more=st.integers(0, 50), seed=WORD64, draw=WORD64)
def test_an_element_does_not_depend_on_how_many_there_are(n, more, seed, draw):
    few, many = random.uniform(n, seed, draw), random.uniform(n + more, seed, draw)
    assert (few.dtype, few.shape) == (np.float32, (n,))
    assert (few == many[:n]).all()
    assert (many >= 0).all() and (many < 1).all()


@pytest.mark.parametrize("seed, draw", [(0, 0), (1, 0), (0, 1), (2**62, 12345)])
def test_uniform_in_0_1(seed, draw):
    assert stats.kstest(random.uniform(100_000, seed, draw), "uniform").pvalue > 0.01


def test_draws_seeds_and_neighbours_are_uncorrelated():
    n = 100_000
    base = random.uniform(n + 1, 5, 0)
    others = [random.uniform(n, 5, 1), random.uniform(n, 6, 0), base[1:]]
    for other in others:  # 4 standard deviations of a correlation of independent numbers
        assert abs(np.corrcoef(base[:n], other)[0, 1]) < 4 / np.sqrt(n)
