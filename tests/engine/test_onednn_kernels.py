"""oneDNN's pooling, normalisation, softmax, sums and moves, beside the reference.

U is half the distance from 1 to the next float32. A sum of n terms is off by (n + 2) U of the sum
of their sizes at most; a function's own error is stated beside it.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("trivet.onednn", exc_type=ImportError)

from onednn_calls import U, check, numbers, plain, plans_of, reference
from trivet import registry
from trivet.errors import ShapeError
from trivet.geometry import Adaptive, Average, Resampling, pooled
from trivet.launch import launch, upload
from trivet.ops.norm import Blocks
from trivet.spec import CHANNELS_LAST, PLAIN

few = settings(max_examples=100, deadline=None)
seeds = st.integers(0, 2**32)


@pytest.fixture(autouse=True)
def _first(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.onednn", "trivet.reference"])


def sum_bound(name, *absolute, terms, geometry):
    return (terms + 2) * U * reference(name, *map(np.abs, absolute), geometry=geometry)[0]


@st.composite
def pooling(draw):
    """Images' sizes, kernel, stride, padding."""
    size = tuple(draw(st.integers(1, 8)) for _ in range(draw(st.integers(1, 3))))
    kernel, stride = (tuple(draw(st.integers(1, 4)) for _ in size) for _ in range(2))
    padding = [(draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in kernel]
    return size, kernel, stride, padding


@few
@given(pooling(), st.booleans(), st.booleans(), st.integers(1, 40), seeds)
def test_average_pooling(case, ceil, count_padding, channels, seed):
    try:
        options = dict(ceil=ceil, count_padding=count_padding)
        geometry = Average.of("avg_pool", *case, **options)
    except ShapeError:
        assume(False)
    window, rng = geometry.window, np.random.default_rng(seed)
    x = numbers(rng, 2, channels, *window.size)
    gy = numbers(rng, 2, channels, *window.out_size)
    plans = plans_of("avg_pool", upload(x), geometry=geometry)
    if geometry.counted != window.padding and any(map(any, geometry.counted)):
        assert "all of the padding or none" in plans
        return
    for name, operand in ("avg_pool", x), ("avg_pool_grad", gy):
        bound = sum_bound(name, operand, terms=window.cells, geometry=geometry)
        check(name, operand, geometry=geometry, bounds=[bound])


def test_adaptive_pooling_where_all_windows_are_of_one_size(rng):
    even, odd = Adaptive.of("p", (6, 4), (3, 1)), Adaptive.of("p", (6, 4), (4, 4))
    x = numbers(rng, 2, 5, 6, 4)
    bound = sum_bound("adaptive_avg_pool", x, terms=8, geometry=even)
    check("adaptive_avg_pool", x, geometry=even, bounds=[bound])
    check("adaptive_max_pool", x, geometry=even, bounds=[0], auxiliaries=False)
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        assert "of one size" in plans_of(name, upload(x), geometry=odd)


def check_max_pool(x, geometry, rng):
    """Values, and through the private winners the gradient and the gather."""
    y, winners = launch("max_pool", upload(x), geometry=geometry)
    value, index = reference("max_pool", x, geometry=geometry)
    np.testing.assert_array_equal(plain(y), value.astype(np.float32))
    (alone,) = launch("max_pool", upload(x), geometry=geometry, auxiliaries=False)
    np.testing.assert_array_equal(plain(alone), plain(y))
    gy, v = numbers(rng, *value.shape), numbers(rng, *x.shape)
    (gathered,) = launch("max_pool_gather", upload(v), winners, geometry=geometry, partner=winners)
    expected = reference("max_pool_gather", v, index, geometry=geometry)[0]
    np.testing.assert_array_equal(plain(gathered), expected.astype(np.float32))
    (gx,) = launch("max_pool_grad", upload(gy), winners, geometry=geometry, partner=winners)
    assert gx.backend == winners.backend == "trivet.onednn"
    (expected,) = reference("max_pool_grad", gy, index, geometry=geometry)
    (size,) = reference("max_pool_grad", np.abs(gy), index, geometry=geometry)
    assert (np.abs(plain(gx) - expected) <= (geometry.cells + 2) * U * size).all()


@few
@given(pooling(), st.booleans(), st.integers(1, 2), st.integers(1, 40), seeds)
def test_max_pooling_with_ties_nan_and_inf(case, ceil, dilation, channels, seed):
    rng = np.random.default_rng(seed)
    try:
        window = pooled("max_pool", *case, dilation, ceil=ceil)
    except ShapeError:
        assume(False)
    x = numbers(rng, 2, channels, *window.size).round()  # ties
    for value in rng.choice([np.nan, np.inf, -np.inf, 0.0], rng.integers(3)):
        x[rng.random(x.shape) < rng.choice([0.02, 0.6])] = value
    if not isinstance(plans_of("max_pool", upload(x), geometry=window), str):
        check_max_pool(x, window, rng)


@pytest.mark.parametrize("special", [0.0, np.nan, -np.inf])
def test_max_pooling(rng, special):
    x = numbers(rng, 2, 18, 7, 6)
    x[0, :, :4], x[1, 3, 2, 2] = special, special
    check_max_pool(x, pooled("max_pool", (7, 6), 3, 2, 1), rng)
    check_max_pool(x, pooled("max_pool", (7, 6), (6, 6), 1, 1), rng)
    tall = np.repeat(x, 40, 2)  # more cells than a byte can tell apart
    check_max_pool(tall, pooled("max_pool", (280, 6), (270, 2)), rng)


def statistics(x, shape, axes, eps):
    """Of x in its blocks in float64: centred values, inv_std, and the bound of the mean's error."""
    x = x.astype(float).reshape(shape)
    n = np.prod([shape[a] for a in axes])
    centred = x - x.mean(axes, keepdims=True)
    inv = 1 / np.sqrt((centred**2).mean(axes, keepdims=True) + eps)
    return n, centred, inv, (n + 2) * U * np.abs(x).mean(axes, keepdims=True)


def check_norm(rng, name, x, blocks):
    """``y = (x - m) i w + b``: m is off by d, i relatively by (n + 8) U + (d i)**2 [two passes]."""
    shape, axes, affine, eps = blocks
    w, b, gy = numbers(rng, *affine), numbers(rng, *affine), numbers(rng, *x.shape)
    w, b = (a.reshape([m for m in affine if m > 1] or [1]) for a in (w, b))
    n, centred, inv, d = statistics(x, shape, axes, eps)
    relative = (n + 8) * U + (d * inv) ** 2
    wide = np.abs(w).astype(float).reshape(affine)
    off = inv * (d + 2 * U * np.abs(x.reshape(shape))) + np.abs(centred) * inv * relative
    bounds = wide * off + 4 * U * (wide * np.abs(centred) * inv + np.abs(b).reshape(affine))
    bounds = bounds.reshape(x.shape), d.reshape(-1), (relative * inv).reshape(-1)
    check(name, x, w, b, geometry=blocks, bounds=bounds)

    _, mean, inv_std = (a.astype(np.float32) for a in reference(name, x, w, b, geometry=blocks))
    kept = [1 if i in axes else m for i, m in enumerate(shape)]
    seen = inv_std.astype(float).reshape(kept)
    normal = np.abs(x.reshape(shape) - mean.astype(float).reshape(kept)) * seen
    off = 8 * U * (np.abs(x.reshape(shape)) + np.abs(mean.reshape(kept))) * seen + 8 * U * normal
    gy_ = np.abs(gy).astype(float).reshape(shape)
    summed = tuple(i for i, m in enumerate(affine) if m == 1)
    terms = x.size // np.prod(affine)
    gw = (gy_ * (off + (terms + 4) * U * normal)).sum(summed)
    gb = ((terms + 2) * U * gy_).sum(summed)
    g = gy_ * wide
    parts = g + g.mean(axes, keepdims=True) + normal * (g * normal).mean(axes, keepdims=True)
    moved = off * (g * normal).mean(axes, keepdims=True)
    moved = moved + normal * (g * off).mean(axes, keepdims=True)
    gx = seen * ((2 * n + 16) * U * parts + moved)
    operands = gy, x, w, mean, inv_std
    bounds = gx.reshape(x.shape), gw.reshape(w.shape), gb.reshape(w.shape)
    check(f"{name}_grad", *operands, geometry=blocks, bounds=bounds)
    return w, b, mean


def batch_blocks(shape):
    return Blocks((*shape[:2], int(np.prod(shape[2:]))), (0, 2), (1, shape[1], 1), 1e-5)


def check_batch_norm(rng, shape):
    x = numbers(rng, *shape) * 2 + np.float32(rng.integers(-3, 4))
    blocks = batch_blocks(shape)
    w, b, mean = check_norm(rng, "batch_norm", x, blocks)
    var = rng.uniform(0.1, 2, shape[1]).astype(np.float32)
    column = (1, -1, *(1 for _ in shape[2:]))
    slope = (np.abs(w) / np.sqrt(var)).reshape(column)
    bound = slope * (np.abs(x) + np.abs(mean).reshape(column)) + np.abs(b).reshape(column)
    operands = x, w, b, mean, var
    check("batch_norm_inference", *operands, geometry=blocks, bounds=[8 * U * bound])


@pytest.mark.parametrize("shape", [(4, 3), (4, 32, 5, 6), (2, 50, 7), (2, 16, 2, 3, 4)])
def test_batch_norm(rng, shape):
    check_batch_norm(rng, shape)


@few
@given(st.lists(st.integers(1, 6), max_size=3), st.integers(1, 70), st.integers(2, 9), seeds)
def test_batch_norm_of_any_shape(size, channels, images, seed):
    check_batch_norm(np.random.default_rng(seed), (images, channels, *size))


@few
@given(st.integers(1, 20), st.integers(2, 90), seeds)
def test_layer_norm(rows, elements, seed):
    rng = np.random.default_rng(seed)
    x = numbers(rng, rows, elements) * 2 + np.float32(rng.integers(-3, 4))
    check_norm(rng, "layer_norm", x, Blocks((rows, elements), (1,), (1, elements), 1e-5))


@few
@given(st.lists(st.integers(1, 5), max_size=3), st.integers(1, 40), st.integers(0, 4), seeds)
def test_local_response_norm(size, channels, half, seed):
    """A power is off by 16 U, a sum of squares as every sum."""
    rng = np.random.default_rng(seed)
    x, gy = (numbers(rng, 2, channels, *size) for _ in range(2))
    geometry = 2 * half + 1, 0.5, float(rng.choice([0.75, 0.5, 1.0])), 2.0
    y, *kept = launch("local_response_norm", upload(x), geometry=geometry)
    assert y.backend == "trivet.reference" or half in (1, 2)
    expected, scale = reference("local_response_norm", x, geometry=geometry)
    off = (2 * half + 20) * U
    assert (np.abs(plain(y) - expected) <= off * np.abs(expected)).all()
    if y.backend != "trivet.onednn":
        return
    (gx,) = launch(
        "local_response_norm_grad", upload(gy), upload(x), *kept, geometry=geometry,
        partner=kept[0],
    )  # fmt: skip
    operands = gy, x, scale
    (expected,) = reference("local_response_norm_grad", *operands, geometry=geometry)
    turned = (*geometry[:1], -geometry[1], *geometry[2:])  # adds up what is subtracted
    (size,) = reference("local_response_norm_grad", *map(np.abs, operands), geometry=turned)
    assert (np.abs(plain(gx) - expected) <= 2 * off * size).all()


@pytest.mark.parametrize("size, why", [(4, "has a middle"), (1, "wrong"), (7, "wrong")])
def test_other_windows_of_channels_are_refused(rng, size, why):
    x = upload(numbers(rng, 2, 17, 3))
    assert why in plans_of("local_response_norm", x, geometry=(size, 1e-4, 0.75, 1.0))


@few
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), seeds)
def test_softmax_and_its_gradients(shape, channels, seed):
    """exp is off by its argument's rounding, and by 4 U of its own."""
    axis = 1 if channels and len(shape) > 2 else len(shape) - 1
    rng = np.random.default_rng(seed)
    x, gy = numbers(rng, *shape) * 5, numbers(rng, *shape)
    (y,) = reference("softmax", x, geometry=axis)
    n, spread = shape[axis], np.ptp(x, axis, keepdims=True)
    tiny = np.finfo(np.float32).tiny
    check("softmax", x, geometry=axis, bounds=[(n + 12 + 2 * spread) * U * y + tiny], avx512=True)
    y = y.astype(np.float32)
    bound = (n + 4) * U * y * (np.abs(gy) + (np.abs(gy) * y).sum(axis, keepdims=True))
    check("softmax_grad", gy, y, geometry=axis, bounds=[bound + tiny], avx512=True)
    (z,) = reference("log_softmax", x, geometry=axis)
    z = z.astype(np.float32)
    total = np.abs(gy).sum(axis, keepdims=True)
    bound = (np.abs(gy) + (n + 8 + np.abs(z)) * np.exp(z) * total) * U + tiny * total
    check("log_softmax_grad", gy, z, geometry=axis, bounds=[bound], avx512=True)


def test_softmax_of_nan_and_infinities():
    x = np.array([[1, 2, np.nan], [np.inf, 1, 0], [-np.inf, 1, 2], [-np.inf] * 3], np.float32)
    for name, operands in ("softmax", [x]), ("log_softmax_grad", [np.ones_like(x), x]):
        (got,) = launch(name, *map(upload, operands), geometry=1)
        (expected,) = reference(name, *operands, geometry=1)
        np.testing.assert_allclose(plain(got), expected, rtol=8 * U)


def test_a_gradient_is_added_where_it_lies(rng):
    a, b = numbers(rng, 2, 3, 4, 5), numbers(rng, 2, 3, 4, 5)
    for ways in [(PLAIN, PLAIN), (CHANNELS_LAST, PLAIN), (PLAIN, CHANNELS_LAST)]:
        total, x = (launch("reorder", upload(v), geometry=to)[0] for v, to in zip((a, b), ways))
        (plan,) = plans_of("accumulate", total, x)
        assert plan.writes == (0,) and plan.ins[0] == total.spec
        launch("accumulate", total, x)
        np.testing.assert_array_equal(plain(total), a + b)


@few
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), st.data())
def test_sums_and_means(shape, last, data):
    rng = np.random.default_rng(data.draw(seeds))
    x = numbers(rng, *shape)
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    layouts = [CHANNELS_LAST if last and len(shape) > 2 else PLAIN]
    for name, geometry in ("sum_to", kept), ("mean", (axes,)):
        if not isinstance(plans_of(name, upload(x), geometry=geometry), str):
            bound = sum_bound(name, x, terms=x.size, geometry=geometry)
            check(name, x, geometry=geometry, bounds=[bound], layouts=layouts)


@pytest.mark.parametrize("n, size", [(4, (6, 7)), (6, (32, 33)), (1, (1, 4099))])
def test_a_bias_gradient_is_summed_over_images_whose_channels_lie_last(rng, n, size):
    x = numbers(rng, n, 5, *size)
    bound = sum_bound("sum_to", x, terms=x.size // 5, geometry=(1, 5, 1, 1))
    check("sum_to", x, geometry=(1, 5, 1, 1), bounds=[bound], layouts=[CHANNELS_LAST])


@few
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
       st.sampled_from(["nearest", "linear"]), seeds)  # fmt: skip
def test_enlarged_images(axes, mode, seed):
    sizes, factors = zip(*axes)
    out = tuple(n * k for n, k in axes)
    geometry = Resampling.of("resample", sizes, out, mode, False)
    rng = np.random.default_rng(seed)
    x, gy = numbers(rng, 2, 5, *sizes), numbers(rng, 2, 5, *out)
    if mode == "linear" and any(k % 2 for k in factors):
        assert "inf * 0" in plans_of("resample", upload(x), geometry=geometry)
        return
    terms = 4 ** len(sizes) * int(np.prod(factors))
    for name, operand in ("resample", x), ("resample_grad", gy):
        bound = sum_bound(name, operand, terms=terms, geometry=geometry)
        check(name, operand, geometry=geometry, bounds=[bound])


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 4), st.data())
def test_concatenation(shape, parts, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(data.draw(seeds))
    xs = [numbers(rng, *shape[:axis], n, *shape[axis + 1 :]) for n in range(1, parts + 1)]
    last = data.draw(st.booleans()) and len(shape) > 2
    check(
        "concat", *xs, geometry=axis, bounds=[0], layouts=[CHANNELS_LAST if last else PLAIN] * parts
    )
