"""oneDNN's products of operands rounded to bfloat16: nothing but the operands is rounded more.

Expected is the float64 result of the same operands rounded to bfloat16, within the bound of a
float32 sum; from the result of the operands as they are it is further off than that.
"""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from onednn_calls import (
    U,
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
from trivet import Tensor, capture, nn, ops, optim, registry, tuning
from trivet.config import Means, using
from trivet.geometry import Convolution, Window
from trivet.launch import upload
from trivet.onednn.common import Refused
from trivet.onednn.matmul import matmul
from trivet.ops.norm import Blocks
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, Spec

REDUCED = Means(precision="reduced")
SQUARE = Spec((64, 64))

try:
    matmul(Call("matmul", (SQUARE, SQUARE), means=REDUCED), True)
except Refused as why:
    pytest.skip(f"this processor does not multiply bfloat16: {why}", allow_module_level=True)


def to_bfloat16(array):
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def rounded_plans(name, *buffers, geometry=None):
    plans = plans_of(name, *buffers, geometry=geometry, means=REDUCED)
    return [] if isinstance(plans, str) else [p for p in plans if p.reduced]


def check(name, *arrays, terms, geometry=None, buffers=None, must=True, bias=()):
    """Every rounding plan's first result is that of the first two operands rounded.

    Args:
        must: There is such a plan, and the operands are so many that rounding them shows.
    """
    buffers = buffers or [upload(a) for a in arrays]
    plans = rounded_plans(name, *buffers, *map(upload, bias), geometry=geometry)
    assert plans or not must
    factors = [*map(to_bfloat16, arrays), *bias]
    expected, *_ = reference(name, *factors, geometry=geometry)
    unrounded, *_ = reference(name, *arrays, *bias, geometry=geometry)
    bound = product_bound(terms + len(bias), *factors, name=name, geometry=geometry)
    bound = np.maximum(bound, np.finfo(np.float32).tiny)
    for plan in plans:
        y = plain(run(plan, [*buffers, *map(upload, bias)])[0])
        error = np.abs(y - expected) / bound
        assert error.max() <= 1, f"{plan.name}: {error.max()} times the bound"
        if must:
            assert (np.abs(y - unrounded) / bound).max() > 4, plan.name
    return plans


def check_conv(rng, n, c, o, geometry, bias=True, must=True):
    for name, factors, added, terms in convolved(rng, n, c, o, geometry, bias):
        check(name, *factors, bias=added, terms=terms, geometry=geometry, must=must)
    rounded = to_bfloat16(factors[1]).astype(float)  # gy: the last is the gradient of the weights
    axes, with_bias = (0, *range(2, rounded.ndim)), replace(geometry, bias=True)
    for plan in check(name, *factors, terms=terms, geometry=with_bias, must=must):
        gb = plain(run(plan, [upload(factor) for factor in factors])[1])
        bound = (terms + 2) * U * np.abs(rounded).sum(axes)
        assert (np.abs(gb - rounded.sum(axes)) <= bound).all(), plan.name


@pytest.mark.parametrize("n, c, o, groups, size, kernel, stride, padding", [
    (2, 16, 50, 1, (12, 11), 3, 1, 1),
    (2, 50, 50, 1, (12, 12), 3, 1, 1),
    (2, 16, 32, 1, (7, 7), 1, 2, 0),
    (2, 64, 48, 1, (6, 6), 1, 1, 0),
    (2, 64, 64, 4, (6, 6), 3, 1, 1),
    (2, 16, 24, 1, (19,), 3, 2, [(2, 0)]),
    (1, 16, 16, 1, (4, 5, 6), 2, 1, 1),
])  # fmt: skip
def test_convolution(rng, n, c, o, groups, size, kernel, stride, padding):
    window = Window.of("conv", size, kernel, stride, padding)
    check_conv(rng, n, c, o, Convolution(window, groups))


@settings(max_examples=100, deadline=None)
@given(convolutions(), st.booleans(), st.integers(0, 2**32))
def test_convolutions_of_any_geometry(case, bias, seed):
    check_conv(np.random.default_rng(seed), *case, bias, must=False)


@settings(max_examples=100, deadline=None)
@given(products(), st.booleans(), st.integers(0, 2**32))
def test_matrix_products_of_any_shape(shapes, bias, seed):
    rng = np.random.default_rng(seed)
    a, b = (numbers(rng, *shape) for shape in shapes)
    bias = [numbers(rng, b.shape[-1])] * bias
    check("matmul", a, b, terms=a.shape[-1], bias=bias, must=False)


@pytest.mark.parametrize("shapes", [((65, 76), (76, 17)), ((2, 50, 61), (2, 61, 33))])
def test_transposed_operands_are_taken_as_they_lie(rng, shapes):
    a, b = (numbers(rng, *shape) for shape in shapes)
    for left in (upload(a), transposed(a)):
        for right in (upload(b), transposed(b)):
            (plan,) = check("matmul", a, b, terms=a.shape[-1], buffers=[left, right])
            assert plan.ins == (left.spec, right.spec)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_slice_of_the_channels_is_rounded_as_it_lies(rng, kernel):
    part, x = slice_of_channels(numbers(rng, 2, 40, 5, 4), 2, 32)
    w, gy = numbers(rng, 20, 32, kernel, kernel), numbers(rng, 2, 20, 5, 4)
    geometry = Convolution(Window.of("conv", (5, 4), kernel, 1, kernel // 2))
    for name, arrays, terms in ("conv", (part, w), w[0].size), ("conv_grad_weight", (part, gy), 40):
        buffers = [x, upload(arrays[1])]
        for plan in check(name, *arrays, terms=terms, geometry=geometry, buffers=buffers):
            assert plan.ins[0] == x.spec


def test_what_follows_a_convolution_is_joined_in_float32(rng):
    """Batch normalisation, sum and rectifier take the sums of products as they are."""
    geometry = Convolution(Window.of("conv", (7, 6), 3, 1, 1))
    x, w, other = numbers(rng, 2, 20, 7, 6), numbers(rng, 33, 20, 3, 3), numbers(rng, 2, 33, 7, 6)
    given = [*(numbers(rng, 33) for _ in range(3)), rng.uniform(0.1, 2, 33).astype(np.float32)]
    blocks = Blocks((2, 33, 42), (0, 2), (1, 33, 1), 1e-5)
    nested = (((geometry, blocks, 0), None, 0), (), 0)
    factors = to_bfloat16(x), to_bfloat16(w)
    (y,) = reference("conv", *factors, geometry=geometry)
    (size,) = reference("conv", *map(np.abs, factors), geometry=geometry)
    weight, shift, mean, var = (a.astype(float).reshape(1, 33, 1, 1) for a in given)
    slope = weight / np.sqrt(var + 1e-5)
    y = np.maximum((y - mean) * slope + shift + other, 0)
    size = (size + np.abs(mean)) * np.abs(slope) + np.abs(shift) + np.abs(other)
    buffers = [upload(a) for a in (x, w, *given, other)]
    name = "conv+batch_norm_inference+add+relu"
    plans = rounded_plans(name, *buffers, geometry=nested)
    assert plans
    for plan in plans:
        (out,) = run(plan, buffers)
        assert (np.abs(plain(out) - y) <= (w[0].size + 8) * U * size).all(), plan.name


def test_nan_and_infinities_are_results():
    a, b = np.ones((32, 64), np.float32), np.ones((64, 32), np.float32)
    a[0, 3], a[1, 5], a[2, 5] = np.nan, np.inf, -np.inf
    (plan,) = rounded_plans("matmul", upload(a), upload(b))
    y = plain(run(plan, [upload(a), upload(b)])[0])[:, 7]
    np.testing.assert_array_equal(y[:4], [np.nan, np.inf, -np.inf, 64])


def calls(means):
    geometry = Convolution(Window.of("conv", (8, 8), 3, padding=1))
    image, filters = Spec((2, 32, 8, 8), layout=CHANNELS_LAST), Spec((32, 32, 3, 3))
    yield Call("conv", (image, filters), geometry, means=means)
    yield Call("conv+relu", (image, filters), (geometry, (), 0), means=means)
    yield Call("conv_grad_input", (image, filters), geometry, means=means)
    yield Call("conv_grad_weight", (image, image), geometry, means=means)
    yield Call("matmul", (SQUARE, SQUARE), means=means)


@pytest.mark.parametrize("tuned", [False, True])
def test_rounding_is_the_first_guess_where_it_is_allowed_and_nowhere_else(tuned):
    order = registry.PREFERENCE["cpu"]
    pairs = zip(calls(Means(tuned=tuned)), calls(Means("reduced", tuned=tuned)))
    for full, reduced in pairs:
        plans, more = registry.candidates(full, order), registry.candidates(reduced, order)
        assert not any(p.reduced or "bf16" in p.name for p in plans)
        assert more[0].reduced and more[0].name.startswith("bf16 ")
        rest = [tuning.label(p) for p in more if not p.reduced]
        assert rest == [tuning.label(p) for p in plans]  # they take part in the race


WITHOUT = """
from trivet.onednn.common import Refused
from trivet.onednn.matmul import matmul
from trivet import registry
from trivet.config import Means
from trivet.registry import Call
from trivet.spec import Spec

specs = Spec((64, 64)), Spec((64, 64))
try:
    matmul(Call("matmul", specs), True)
except Refused as why:
    print(why)
names = [[p.name for p in registry.candidates(Call("matmul", specs, means=means), order)]
         for means in (Means(), Means("reduced")) for order in [registry.PREFERENCE["cpu"]]]
print(names[0] == names[1])
"""


@pytest.mark.parametrize("instructions, printed", [
    ("AVX512_CORE", ["no instructions for bfloat16, only", "True"]),
    ("AVX512_CORE_BF16", ["False"]),
])  # fmt: skip
def test_bfloat16_is_not_emulated(instructions, printed):
    text, errors = printed_by(WITHOUT, ONEDNN_MAX_CPU_ISA=instructions)
    lines = text.splitlines()
    assert len(lines) == len(printed), errors
    assert all(line.startswith(start) for line, start in zip(lines, printed))


def trained(precision, decorate, steps=20):
    """Losses of a small net on one batch, and the launches of its last step."""
    nn.init.seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)),
        *(nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10)),
    )
    rule, rng = optim.SGD(net.parameters(), 0.02, momentum=0.9), np.random.default_rng(0)
    x, y = Tensor(rng.standard_normal((32, 3, 8, 8)), "float32"), Tensor(rng.integers(0, 10, 32))

    def step(x, y):
        rule.zero_grad()
        loss = ops.cross_entropy(net(x), y)
        loss.backward()
        rule.step()
        return loss.detach()

    call = decorate(step)
    with using(precision=precision):
        losses = [call(x, y).item() for _ in range(steps)]
    assert {p.dtype for p in net.parameters()} == {"float32"}
    return losses, call


@pytest.mark.parametrize("captured", [False, True])
def test_a_net_learns_as_it_does_in_float32(captured):
    """Each loss is within 2 % of the first one of what float32 gives."""

    def fused(step):
        return capture(step, fuse=True)

    decorate = fused if captured else lambda step: step
    expected, _ = trained("full", decorate)
    losses, call = trained("reduced", decorate)
    assert losses != expected and losses[-1] < 0.1 * losses[0]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=0.02 * expected[0])
    if captured:
        products = [n for n in call.program.notes if n.call.name.startswith(("conv", "matmul"))]
        assert len(products) == 8 and all(n.plan.reduced for n in products)


@pytest.mark.parametrize("size, kernel, stride, dilation, padding", [
    ((5, 1), (3, 3), (2, 3), 1, [(0, 1), (2, 2)]),  # windows larger than the image
    ((9, 9), (3, 3), 1, 1, 3),  # windows that see padding alone
    ((10, 2), (2, 2), (2, 3), 1, [(0, 1), (1, 1)]),  # a column of the filters that does
])  # fmt: skip
def test_what_meets_padding_alone_is_not_rounded(size, kernel, stride, dilation, padding):
    check_unrounded(Convolution(Window.of("conv", size, kernel, stride, padding, dilation)), 32)


def test_depthwise_convolutions_are_not_rounded():
    check_unrounded(Convolution(Window.of("conv", (9, 9), 3, 1, 1), 32), 1)


def check_unrounded(geometry, inputs):
    window = geometry.window
    x, w = Spec((2, 32, *window.size)), Spec((32, inputs, *window.kernel))
    for name, ins in {
        "conv": (x, w),
        "conv_grad_input": (Spec((2, 32, *window.out_size)), w),
        "conv_grad_weight": (x, Spec((2, 32, *window.out_size))),
    }.items():
        plans = registry.ask("trivet.onednn", Call(name, ins, geometry, means=REDUCED))
        assert plans and not any(p.reduced for p in plans)
