"""Convolutions of one pixel with what follows them, by our own kernel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from addressed import execute, reference
from conv_chains import CHAINS, check_chain
from onednn_calls import U, numbers
from trivet import registry
from trivet.geometry import Convolution, Window
from trivet.lib import openmp
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, Spec, Strided

RELU = (), 0


def plans(name, *specs, geometry):
    return registry.ask("trivet.native", Call(name, specs, geometry))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CHAINS), st.lists(st.integers(1, 12), min_size=1, max_size=3),
    st.integers(1, 300), st.integers(1, 200), st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_chains_of_any_geometry(name, size, c, o, bias, seed):
    """In memory of their own, and in that of the image that is added."""
    rng = np.random.default_rng(seed)
    geometry = Convolution(Window.of("conv", size, 1))
    x, w = numbers(rng, 2, c, *size), numbers(rng, o, c, *geometry.window.kernel)
    b = [numbers(rng, o)] * bias
    (plan,) = check_chain(rng, name, x, w, b, geometry, backend="trivet.native")
    assert bool(plan.over) == ("add" in name)


def test_a_slice_of_a_larger_image_is_read_as_it_lies(rng):
    x, w = numbers(rng, 2, 33, 9, 8), numbers(rng, 40, 33, 1, 1)
    geometry = Convolution(Window.of("conv", (9, 8), 1))
    lies = Spec(x.shape, "float32", Strided(steps=(72 * 50, 1, 8 * 50, 50)))
    (plan,) = plans("conv+relu", lies, Spec(w.shape), geometry=(geometry, *RELU))
    assert plan.ins[0] == lies and plan.outs[0].layout == CHANNELS_LAST
    (expected,) = reference(Call("conv", (lies, Spec(w.shape)), geometry), x, w)
    (y,) = execute(plan, x, w)
    bound = 40 * U * np.einsum("nchw,oc->nohw", np.abs(x), np.abs(w[:, :, 0, 0]))
    assert (np.abs(y - np.maximum(expected, 0)) <= bound).all()


def test_results_do_not_depend_on_threads(rng, monkeypatch):
    x, w, other = (numbers(rng, *s) for s in [(3, 70, 13, 11), (90, 70, 1, 1), (3, 90, 13, 11)])
    geometry = Convolution(Window.of("conv", (13, 11), 1)), None, 0
    specs = [Spec(a.shape, layout=CHANNELS_LAST) for a in (x, other)]

    def result():
        (plan,) = plans("conv+add", specs[0], Spec(w.shape), specs[1], geometry=geometry)
        return execute(plan, x, w, other)[0]

    everybody = result()
    monkeypatch.setattr(openmp, "threads", lambda: 1)
    np.testing.assert_array_equal(result(), everybody)


def test_nan_and_infinities_pass_a_joined_relu():
    x = np.array([np.nan, np.inf, -np.inf, -2], np.float32).reshape(1, 1, 2, 2)
    w = np.ones((20, 1, 1, 1), np.float32)
    geometry = Convolution(Window.of("conv", (2, 2), 1)), *RELU
    (plan,) = plans(
        "conv+relu", Spec(x.shape, layout=CHANNELS_LAST), Spec(w.shape), geometry=geometry
    )
    (y,) = execute(plan, x, w)
    np.testing.assert_array_equal(y[0, 5].ravel(), [np.nan, np.inf, 0, 0])
    assert not np.signbit(y[0, 5].ravel()[1:]).any()


def test_refusals():
    x, w = Spec((2, 8, 6, 6)), Spec((16, 8, 1, 1))
    geometry = Convolution(Window.of("conv", (6, 6), 1))

    def refused(specs=(x, w), **changes):
        return isinstance(
            plans("conv+relu", *specs, geometry=(replace(geometry, **changes), *RELU)), str
        )

    assert not refused() and not refused(algo="direct")
    assert refused(algo="winograd") and refused(groups=2)
    assert refused(window=Window.of("conv", (6, 6), 1, 2))  # stride
    assert refused(window=Window.of("conv", (6, 6), 1, 1, 1))  # padding
    assert refused((replace(x, dtype="float64"), w)) and refused((Spec((0, 8, 6, 6)), w))
    row = plans("conv+add", x, w, Spec((16, 1, 1)), geometry=(geometry, None, 0))
    assert "same shape" in row
