"""oneDNN's functions of one and two operands, beside the reference; also of NaN and infinities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from onednn_calls import U, numbers, plain, plans_of, reference
from trivet import registry
from trivet.launch import launch, upload
from trivet.spec import CHANNELS_LAST, PLAIN


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.onednn", "trivet.reference"])


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-3, -1e-3, 0.5, 1, -1, 3, -5, 88, -87,
                    1e-30, -1e-30, 3e38, -3e38, 1e18], np.float32)  # fmt: skip
# options, and the error in U: of |y|, of the operands' sizes
UNARY = {
    "relu": ((), 0, 0), "leaky_relu": ((0.1,), 2, 0), "sigmoid": ((), 100, 0), "tanh": ((), 4, 0),
    "silu": ((), 100, 0), "gelu": (("tanh",), 8, 8), "sqrt": ((), 1, 0), "abs": ((), 0, 0),
    "power": ((2,), 2, 0), "reciprocal": ((), 1, 0), "neg": (None, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_functions_also_of_nan_and_infinities(rng, name):
    options, of_result, of_operand = UNARY[name]
    for x in (SPECIAL, 4 * numbers(rng, 1000)):
        (got,) = launch(name, upload(x), geometry=options)
        assert got.backend == "trivet.onednn"
        with np.errstate(all="ignore"):
            expected = reference(name, x, geometry=options)[0].astype(np.float32)
            bound = of_result * U * np.abs(expected) + of_operand * U * np.abs(x)
        agree(plain(got), expected, bound)
        if name in ("relu", "neg", "abs"):
            zeros = expected == 0
            signs = np.signbit(plain(got)[zeros]) == np.signbit(expected[zeros])
            assert signs.all() or (name == "relu" and not np.signbit(plain(got)[zeros]).any())


def agree(got, expected, bound):
    exact = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        near = (
            np.abs(got.astype(float) - expected) <= bound + 1e-35
        )  # exp underflows a little early
    assert (exact | near).all(), (got[~(exact | near)], expected[~(exact | near)])


# what is saved, and the error in U of |gx|, and of |gy|
GRADIENTS = {
    "relu": ((), [0.0, -0.0, 0.5, np.inf, np.nan], 0, 0),
    "sigmoid": ((), [0.0, 0.25, 1.0, np.nan], 4, 1),
    "tanh": ((), [0.0, -0.5, 1.0, np.nan], 4, 2),
    "sqrt": ((), [0.0, 0.5, np.inf, np.nan], 4, 0),
    "gelu": (("tanh",), [0.0, -4.0, 2.0, np.nan, np.inf], 8, 16),
    "power": ((2,), [0.0, -0.5, 3.0, np.nan, np.inf], 4, 0),
    "silu": ((), [0.0, -4.0, 2.0, np.nan, np.inf], 8, 16),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_their_gradients(rng, name):
    options, saved, of_result, of_gradient = GRADIENTS[name]
    x, gy = (a.ravel() for a in np.meshgrid(np.array(saved, np.float32), SPECIAL))
    gy, v = (np.ascontiguousarray(a) for a in (gy, x))
    (got,) = launch(f"{name}_grad", upload(gy), upload(v), geometry=options)
    assert got.backend == "trivet.onednn"
    with np.errstate(all="ignore"):
        expected = reference(f"{name}_grad", gy, v, geometry=options)[0].astype(np.float32)
        agree(plain(got), expected, U * (of_result * np.abs(expected) + of_gradient * np.abs(gy)))


def test_functions_that_differ_from_the_reference_are_refused(rng):
    x = upload(SPECIAL)
    for name, operands, options, why in [
        ("exp", [x], (), "exp(NaN)"),
        ("log", [x], (), "off by"),
        ("clip", [x], (0, 1), "clips NaN"),
        ("gelu", [x], ("none",), "no digits left"),
        ("maximum", [x, x], None, "drops a NaN"),
        ("abs_grad", [x, x], (), "at NaN"),
    ]:
        assert why in plans_of(name, *operands, geometry=options)


@st.composite
def broadcasts(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    small = [draw(st.sampled_from([1, n])) for n in shape][draw(st.integers(0, len(shape))) :]
    return tuple(shape), tuple(small)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["add", "sub", "mul", "div"]),
    broadcasts(),
    *[st.booleans()] * 2,
    st.integers(0, 2**32),
)
def test_arithmetic(name, shapes, swap, last, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.choice([*SPECIAL[:8], 2.5, 7], shape).astype(np.float32) for shape in shapes)
    operands = (b, a) if swap else (a, b)
    layouts = [CHANNELS_LAST if last and x.ndim > 2 else PLAIN for x in operands]
    with np.errstate(all="ignore"):
        expected = reference(name, *operands)[0].astype(np.float32)
    buffers = [launch("reorder", upload(x), geometry=to)[0] for x, to in zip(operands, layouts)]
    (got,) = launch(name, *buffers)
    np.testing.assert_array_equal(plain(got), expected)


def test_per_channel_numbers_beside_images_whose_channels_lie_last(rng):
    x = launch("reorder", upload(numbers(rng, 2, 5, 3, 4)), geometry=CHANNELS_LAST)[0]
    for shape in [(5, 1, 1), (1, 5, 1, 1), ()]:
        y = launch("mul", x, upload(numbers(rng, *shape)))[0]
        assert y.backend == "trivet.onednn" and y.spec.layout == CHANNELS_LAST
