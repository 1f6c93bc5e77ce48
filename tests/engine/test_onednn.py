"""The oneDNN binding, convolutions and matrix products, against the reference in float64.

Bounds are those of a sum of K rounded products in any order: (K + 2) half-ulps of the sum of the
absolute products (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from ctypes.util import find_library
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from onednn_calls import (
    U,
    check,
    convolutions,
    convolved,
    numbers,
    plain,
    plans_of,
    printed_by,
    product_bound,
    products,
    reference,
    run,
    slice_of_channels,
    transposed,
)  # fmt: skip
from trivet import registry
from trivet.geometry import Convolution, Window
from trivet.launch import reorder, upload, view
from trivet.lib import dnnl
from trivet.lib import dnnl_constants as K
from trivet.onednn.common import Opaque, Refused, operation
from trivet.spec import CHANNELS_LAST, Spec, Strided


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.onednn", "trivet.reference"])


def test_what_oneDNN_refuses_is_an_exception_with_its_name():
    with pytest.raises(dnnl.DnnlError, match="got invalid_arguments") as caught:
        dnnl.Descriptor.strided((-3,), (1,))
    assert caught.value.status == "invalid_arguments"


def test_an_implementation_meant_to_be_read_is_refused():
    plain, last = Spec((2, 8, 9, 9)), Spec((2, 8, 9, 9), layout=CHANNELS_LAST)
    src, dst = (dnnl.Descriptor.strided(s.shape, s.steps) for s in (plain, last))
    w = dnnl.Descriptor.anyhow((8, 8, 3, 3))
    one = dnnl.dims((1, 1))
    with pytest.raises(Refused, match="oneDNN has only ref"):
        operation("convolution_forward", K.FORWARD_TRAINING, K.CONVOLUTION_DIRECT, src, w, None,
                  dst, one, dnnl.dims((0, 0)), one, one, dnnl.attributes())  # fmt: skip


HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_distributions(cls, *context):
        found = PathFinder.find_distributions(*context)
        return (d for d in found if d.metadata["Name"] != "onednn-cpu-gomp")

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from trivet.errors import BackendMissing
try:
    import trivet.onednn
except BackendMissing as error:
    print(error)
"""


@pytest.mark.skipif(find_library("dnnl") is not None, reason="the system has a library of its own")
def test_without_the_library_the_error_names_the_fix():
    text, errors = printed_by(HIDING)
    assert "got none on this machine" in text, errors
    assert "Fix: pip install 'trivet[cpu]'" in text


def check_conv(rng, n, c, o, geometry, bias=True):
    for name, factors, added, terms in convolved(rng, n, c, o, geometry, bias):
        operands = *factors, *added
        bound = product_bound(terms + len(added), *operands, name=name, geometry=geometry)
        check(name, *operands, bounds=[bound], geometry=geometry)
    gy = factors[1]  # the last is the gradient of the weights
    sums = (terms + 2) * U * np.abs(gy.astype(float)).sum((0, *range(2, gy.ndim)))
    with_bias = replace(geometry, bias=True)
    check(name, *factors, bounds=[bound, sums], geometry=with_bias)


@pytest.mark.parametrize("n, c, o, groups, size, kernel, stride, padding", [
    (2, 3, 50, 1, (12, 11), 3, 1, 1),
    (2, 16, 32, 1, (7, 7), 1, 2, 0),
    (2, 32, 32, 32, (9, 9), 3, 1, 1),
    (2, 6, 4, 2, (9,), 3, 2, [(2, 0)]),
    (1, 4, 6, 1, (4, 5, 6), 2, 1, 1),
])  # fmt: skip
def test_convolution(rng, n, c, o, groups, size, kernel, stride, padding):
    window = Window.of("conv", size, kernel, stride, padding)
    check_conv(rng, n, c, o, Convolution(window, groups))


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.booleans(), st.integers(0, 2**32))
def test_convolutions_of_any_geometry(case, bias, seed):
    check_conv(np.random.default_rng(seed), *case, bias)


def test_images_travel_channels_last_and_filters_in_a_layout_of_oneDNNs_own(rng):
    geometry = Convolution(Window.of("conv", (8, 8), 3, padding=1))
    x, w = upload(numbers(rng, 2, 16, 8, 8)), upload(numbers(rng, 16, 16, 3, 3))
    for name in ("conv", "conv_grad_input"):
        plan = plans_of(name, x, w, geometry=geometry)[0]
        assert plan.ins[0].layout == plan.outs[0].layout == CHANNELS_LAST
        assert isinstance(plan.ins[1].layout, Opaque)
    plan = plans_of("conv_grad_weight", x, x, geometry=geometry)[0]
    assert plan.outs[0].layout == Spec(()).layout


def test_filters_of_one_pixel_take_a_slice_of_the_channels_as_it_lies(rng):
    part, x = slice_of_channels(numbers(rng, 2, 12, 5, 4), 2, 8)
    w, gy = numbers(rng, 7, 8, 1, 1), numbers(rng, 2, 7, 5, 4)
    geometry = Convolution(Window.of("conv", (5, 4), 1))
    for name, buffers, arrays, terms in [
        ("conv", [x, upload(w)], [part, w], 8),
        ("conv_grad_weight", [x, upload(gy)], [part, gy], 40),
    ]:
        plan = plans_of(name, *buffers, geometry=geometry)[0]
        assert plan.ins[0] == x.spec and plan.name.startswith("matmul")
        (out,) = run(plan, buffers)
        bound = product_bound(terms, *arrays, name=name, geometry=geometry)
        expected = reference(name, *arrays, geometry=geometry)[0]
        assert (np.abs(plain(out) - expected) <= bound).all()


@pytest.mark.parametrize("change, why", [
    (dict(algo="winograd"), "not by winograd"),
    (dict(flip=True), "does not turn filters"),
])  # fmt: skip
def test_other_arithmetic_is_refused(rng, change, why):
    geometry = Convolution(Window.of("conv", (8, 8), 3, padding=1), **change)
    x, w = upload(numbers(rng, 2, 4, 8, 8)), upload(numbers(rng, 4, 4, 3, 3))
    for name, operands in {
        "conv": (x, w),
        "conv_grad_input": (x, w),
        "conv_grad_weight": (x, x),
    }.items():
        assert why in plans_of(name, *operands, geometry=geometry)


def test_other_dtypes_and_empty_tensors_are_refused(rng):
    a = numbers(rng, 3, 3)
    wide = upload(a.astype(np.float64))
    assert plans_of("matmul", wide, wide) == "float32 only, not float64"
    assert plans_of("matmul", upload(a[:0]), upload(a)) == "nothing to compute"


def test_filters_come_back_from_oneDNNs_layout_as_they_were(rng):
    for groups in (1, 4):
        geometry = Convolution(Window.of("conv", (8, 8), 3, padding=1), groups)
        x, w = upload(numbers(rng, 2, 20, 8, 8)), upload(numbers(rng, 24, 20 // groups, 3, 3))
        wanted = plans_of("conv", x, w, geometry=geometry)[0].ins[1].layout
        there = reorder(w, wanted)
        assert there.backend == "trivet.onednn"
        np.testing.assert_array_equal(plain(there), plain(w))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=5), st.integers(0, 2**32))
def test_reorders_move_every_element(shape, seed):
    x = upload(numbers(np.random.default_rng(seed), *shape))
    last = reorder(x, CHANNELS_LAST)
    assert last.backend == "trivet.onednn"
    np.testing.assert_array_equal(last.array(), np.moveaxis(x.array(), 1, -1))
    np.testing.assert_array_equal(plain(last), x.array())
    steps = x.spec.steps
    axes = (2, 0, 1, *range(3, len(shape)))
    turned = view(
        x,
        Spec(tuple(shape[a] for a in axes), layout=Strided(steps=tuple(steps[a] for a in axes))),
        0,
    )
    np.testing.assert_array_equal(plain(turned), x.array().transpose(axes))


@settings(max_examples=200, deadline=None)
@given(products(), st.booleans(), st.integers(0, 2**32))
def test_matrix_products(shapes, bias, seed):
    rng = np.random.default_rng(seed)
    a, b = (numbers(rng, *shape) for shape in shapes)
    operands = a, b, *[numbers(rng, b.shape[-1])] * bias
    check("matmul", *operands, bounds=[product_bound(a.shape[-1] + 1, *operands, name="matmul")])


@pytest.mark.parametrize("shapes", [((5, 6), (6, 7)), ((2, 5, 6), (2, 6, 3)), ((4, 1), (1, 1))])
def test_transposed_operands_are_taken_as_they_lie(rng, shapes):
    a, b = (numbers(rng, *shape) for shape in shapes)
    for left in (upload(a), transposed(a)):
        for right in (upload(b), transposed(b)):
            (plan,) = plans_of("matmul", left, right)
            if min(*a.shape[-2:], *b.shape[-2:]) > 1:
                assert plan.ins == (left.spec, right.spec)
            (out,) = run(plan, [left, right])
            bound = product_bound(a.shape[-1], a, b, name="matmul")
            assert (np.abs(plain(out) - a.astype(float) @ b) <= bound).all()
