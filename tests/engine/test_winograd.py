"""Winograd convolutions against the float64 reference, element by element."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from addressed import execute, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from trivet import Tensor, capture, ops, registry
from trivet.config import Means
from trivet.geometry import Convolution, Window
from trivet.lib import openmp
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, PLAIN, Spec, Strided

pytest.importorskip("numba")

EPS = np.finfo(np.float32).eps
P, Q = 0.5**0.5, 2**0.5  # the sizes of the matrices' entries follow
A = np.array([[1, 1, 1, 1, 1, 0], [0, P, P, Q, Q, 0], [0, P**2, P**2, Q**2, Q**2, 0],
              [0, P**3, P**3, Q**3, Q**3, 1]])  # fmt: skip
NEAR, FAR = [0, 2 * P, 2, P, 1, 0], [0, Q / 2, 0.5, Q, 1, 0]
B = np.array([[1, 0, 2.5, 0, 1, 0], NEAR, NEAR, FAR, FAR, [0, 1, 0, 2.5, 0, 1]])
G = np.array([[6, 0, 0], [4, 4 * P, 2], [4, 4 * P, 2], [1, Q, 2], [1, Q, 2], [0, 0, 6]]) / 6
ROUNDINGS = 32  # of the transforms of pixels, filters and products, both axes


def tiles(x, above, left, out_size):
    """|x| in overlapping squares (N, C, rows, columns, 6, 6), zeros outside."""
    rows, columns = (-(-n // 4) for n in out_size)
    n, c, height, width = x.shape
    wide = np.zeros((n, c, 4 * rows + 2 + height, 4 * columns + 2 + width))
    first, start = max(-above, 0), max(-left, 0)
    kept = np.abs(x[:, :, first:, start:])
    wide[:, :, max(above, 0) :, max(left, 0) :][:, :, : kept.shape[2], : kept.shape[3]] = kept
    squares = np.lib.stride_tricks.sliding_window_view(wide, (6, 6), (2, 3))
    return squares[:, :, : 4 * rows : 4, : 4 * columns : 4]


def bound_of_images(x, w, above, left, out_size):
    """What every pixel of x (N, C, H, W) through w (O, C, 3, 3) may be off."""
    filters = G @ np.abs(w) @ G.T
    products = np.einsum("ncyxij,ocij->noyxij", B @ tiles(x, above, left, out_size) @ B.T, filters)
    pixels = (A @ products @ A.T).swapaxes(3, 4)  # (N, O, rows, 4, columns, 4)
    n, o, rows, _, columns, _ = pixels.shape
    pixels = pixels.reshape(n, o, 4 * rows, 4 * columns)[:, :, : out_size[0], : out_size[1]]
    return (w.shape[1] + ROUNDINGS) * EPS * pixels


def bound_of_filters(x, gy, above, left):
    out_size = gy.shape[2:]
    pixels = B @ tiles(x, above, left, out_size) @ B.T
    n, o = gy.shape[:2]
    rows, columns = pixels.shape[2:4]
    wide = np.zeros((n, o, 4 * rows, 4 * columns))
    wide[:, :, : out_size[0], : out_size[1]] = np.abs(gy)
    parts = A.T @ wide.reshape(n, o, rows, 4, columns, 4).swapaxes(3, 4) @ A
    sums = np.einsum("noyxij,ncyxij->ocij", parts, pixels)
    return (n * rows * columns + ROUNDINGS) * EPS * (G.T @ sums @ G)


def sliced(shape, more):
    """The spec of the first channels of an image that has ``more`` of them."""
    _, c, h, w = shape
    step = c + more
    steps = (h * w * step, 1, w * step, step)
    return Spec(shape, "float32", Strided(steps=steps) if more else CHANNELS_LAST)


class Case:
    """Operands of the three directions of one convolution."""

    def __init__(self, batch, inputs, outputs, size, padding, more=0, bias=False, seed=0):
        rng = np.random.default_rng(seed)
        self.window = Window.of("conv2d", size, (3, 3), 1, padding)
        self.geometry, self.more = Convolution(self.window), more
        self.x = rng.standard_normal((batch, inputs, *size)).astype("f")
        self.w = rng.standard_normal((outputs, inputs, 3, 3)).astype("f")
        self.gy = rng.standard_normal((batch, outputs, *self.window.out_size)).astype("f")
        self.bias = [rng.standard_normal(outputs).astype("f")] if bias else []

    def call(self, name, *operands, **changes):
        images = [sliced(a.shape, self.more) if a.ndim == 4 else Spec(a.shape) for a in operands]
        ins = [Spec(a.shape) if a is self.w else s for a, s in zip(operands, images)]
        return Call(name, tuple(ins), replace(self.geometry, **changes))

    def check(self, name, operands, *bounds, plans=slice(None), **changes):
        """Each plan's first result; all are within their bounds."""
        call = self.call(name, *operands, **changes)
        expected = reference(call, *operands)
        found = registry.ask("trivet.native", call)
        assert not isinstance(found, str), found
        results = [execute(plan, *operands) for plan in found[plans]]
        for result in results:
            for value, right, bound in zip(result, expected, bounds, strict=True):
                assert (np.abs(value - right) <= bound + EPS * np.abs(right)).all()
        return [first for first, *_ in results]

    def forward(self, **options):
        padding = [before for before, _ in self.window.padding]
        bound = bound_of_images(self.x, self.w, *padding, self.window.out_size)
        return self.check("conv", (self.x, self.w, *self.bias), bound, **options)

    def grad_input(self, **options):
        padding = [2 - before for before, _ in self.window.padding]
        w = self.w.swapaxes(0, 1)[:, :, ::-1, ::-1]
        bound = bound_of_images(self.gy, w, *padding, self.window.size)
        return self.check("conv_grad_input", (self.gy, self.w), bound, **options)

    def grad_weight(self, **options):
        padding = [before for before, _ in self.window.padding]
        bound = bound_of_filters(self.x, self.gy, *padding)
        alone = self.check("conv_grad_weight", (self.x, self.gy), bound, **options)
        of_a_tile = 15 * EPS / 2 * np.abs(self.gy).sum((0, 2, 3))  # those of tiles are in float64
        options |= dict(bias=True)
        both = self.check("conv_grad_weight", (self.x, self.gy), bound, of_a_tile, **options)
        for one, other in zip(alone, both):
            np.testing.assert_array_equal(one, other)


CASES = [
    Case(2, 16, 16, (7, 7), 1),
    Case(1, 50, 17, (13, 30), 1, bias=True),
    Case(3, 19, 100, (4, 5), 0, more=3),
    Case(2, 20, 33, (9, 3), ((2, 0), (3, 1)), bias=True, more=30),
    Case(1, 128, 64, (28, 12), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_every_direction_is_within_the_bound(case):
    case.forward()
    case.grad_input()
    case.grad_weight()


sizes = st.integers(1, 40)
channels = st.integers(16, 130)
padding = st.integers(0, 3)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_geometries(data):
    paddings = tuple((data.draw(padding), data.draw(padding)) for _ in range(2))
    size = tuple(max(data.draw(sizes), 3 - sum(p)) for p in paddings)
    case = Case(
        data.draw(st.integers(1, 3)), data.draw(channels), data.draw(channels), size, paddings,
        more=data.draw(st.sampled_from((0, 0, 1, 16, 77))), bias=data.draw(st.booleans()),
        seed=data.draw(st.integers(0, 999)),
    )  # fmt: skip
    one = slice(data.draw(st.integers(0, 1)), 2)
    case.forward(plans=one)
    case.grad_input(plans=one)
    case.grad_weight(plans=one)


def test_pixels_do_not_depend_on_chunks_nor_on_threads(monkeypatch):
    """The sums of a pixel run over channels, in their order; those of a filter over tiles."""
    case, results = Case(2, 40, 36, (17, 19), 1), []
    for threads in (1, 2, 3):
        monkeypatch.setattr(openmp, "threads", lambda threads=threads: threads)
        results.append((*case.forward(), *case.grad_input()))
        case.grad_weight()
    first, *others = [[a.tobytes() for a in r] for r in results]
    for other in others:
        assert set(other) == set(first)
    assert len(set(first)) == 2  # one result for each direction


LINKS = [
    (), ("relu",), ("add",), ("add", "relu"), ("batch_norm_inference",),
    ("batch_norm_inference", "relu"), ("batch_norm_inference", "add", "relu"),
]  # fmt: skip


@pytest.mark.parametrize("links", LINKS, ids="+".join)
@pytest.mark.parametrize("bias", [False, True])
def test_joined_with_what_follows(links, bias):
    case, rng = Case(2, 20, 37, (11, 9), 1, more=2, bias=bias), np.random.default_rng(1)
    operands, name = [case.x, case.w, *case.bias], "conv"
    (expected,) = reference(case.call("conv", *operands), *operands)
    bound = bound_of_images(case.x, case.w, 1, 1, (11, 9)) + EPS * np.abs(expected)
    ins, geometry = list(case.call("conv", *operands).ins), case.geometry
    for link in links:
        own, more = None, []
        if link == "batch_norm_inference":
            more = [rng.uniform(0.5, 2, 37).astype("f") for _ in range(4)]
            weight, shift, mean, variance = (a.astype("d")[:, None, None] for a in more)
            own = (2, 37, 99), (0, 2), (1, 37, 1), 1e-3
            scale = weight / np.sqrt(variance + 1e-3)
            sizes = np.abs(scale) * (np.abs(expected) + np.abs(mean) + 4) + np.abs(shift)
            bound = np.abs(scale) * bound + 8 * EPS * sizes
            expected = (expected - mean) * scale + shift
            ins += [Spec((37,))] * 4
        elif link == "add":
            more = [rng.standard_normal(expected.shape).astype("f")]
            bound = bound + EPS * (np.abs(expected) + np.abs(more[0]))
            expected = expected + more[0]
            ins += [sliced(expected.shape, 5)]
        else:
            expected = np.maximum(expected, 0)
        operands += more
        name, geometry = f"{name}+{link}", (geometry, own, 0)
    for plan in registry.ask("trivet.native", Call(name, tuple(ins), geometry)):
        assert plan.ins == tuple(ins)
        (y,) = execute(plan, *operands)
        assert (np.abs(y - expected) <= bound).all()


@pytest.mark.parametrize("more", [0, 7])
def test_gradients_joined_with_what_follows(more):
    case = Case(2, 37, 20, (11, 9), 1)
    other = np.random.default_rng(1).standard_normal(case.x.shape).astype("f")
    other[0, :5] = np.nan, 0, np.inf, -np.inf, -0.0, 1, 2, 3, 4
    gy, w = case.gy, case.w
    (gradient,) = reference(case.call("conv_grad_input", gy, w), gy, w)
    bound = bound_of_images(gy, w.swapaxes(0, 1)[:, :, ::-1, ::-1], 1, 1, (11, 9))
    ins = (*case.call("conv_grad_input", gy, w).ins, sliced(other.shape, more))
    expected = np.where(other <= 0, 0, gradient)
    call = Call("conv_grad_input+relu_grad", ins, (case.geometry, None, 0))
    (gx,) = execute(registry.ask("trivet.native", call)[0], gy, w, other)
    assert (np.abs(gx - expected) <= bound + EPS * np.abs(expected)).all()
    call = Call("conv_grad_input+add", ins, (case.geometry, None, 0))
    other = np.nan_to_num(other, posinf=5, neginf=-5)
    (gx,) = execute(registry.ask("trivet.native", call)[0], gy, w, other)
    allowed = bound + EPS * (2 * np.abs(gradient) + np.abs(other))
    assert (np.abs(gx - (gradient + other)) <= allowed).all()
    call = Call("conv_grad_input+relu_grad", ins, (case.geometry, None, 1))
    assert isinstance(registry.ask("trivet.native", call), str)


def test_a_bound_plan_gives_the_same_bits():
    case = Case(1, 20, 24, (8, 9), 1)
    plan = registry.ask("trivet.native", case.call("conv", case.x, case.w))[0]
    once, again = (execute(plan, case.x, case.w, bound=b)[0] for b in (False, True))
    np.testing.assert_array_equal(once, again)


def test_not_a_number_spreads_to_its_tiles_only():
    case = Case(1, 16, 16, (12, 12), 1)
    case.x[0, 3, 0, 0] = np.nan
    plan = registry.ask("trivet.native", case.call("conv", case.x, case.w))[0]
    (y,) = execute(plan, case.x, case.w)
    assert np.isnan(y[:, :, :2, :2]).all() and np.isfinite(y[:, :, 4:, 4:]).all()


def test_refusals():
    case = Case(1, 16, 16, (8, 8), 1)
    call = case.call("conv", case.x, case.w)

    def refused(**changes):
        return isinstance(registry.ask("trivet.native", replace(call, **changes)), str)

    few = Case(1, 15, 16, (8, 8), 1)
    window = case.window
    assert not refused()
    assert refused(means=Means(strict=True))
    assert refused(ins=few.call("conv", few.x, few.w).ins)
    assert refused(ins=tuple(replace(s, dtype="float64") for s in call.ins))
    assert refused(ins=(Spec((0, 16, 8, 8)), call.ins[1]))
    for change in (dict(groups=2), dict(flip=True), dict(algo="fft"), dict(algo="im2col")):
        assert refused(geometry=replace(case.geometry, **change))
    for change in (dict(stride=(2, 2)), dict(dilation=(2, 2)), dict(kernel=(5, 5))):
        assert refused(geometry=Convolution(replace(window, **change)))
    assert not refused(geometry=replace(case.geometry, algo="winograd"))


def test_large_filters_for_few_tiles_are_left_to_others():
    geometry = Convolution(Window.of("conv2d", (7, 7), (3, 3), 1, 1))

    def answer(batch, algo):
        ins = Spec((batch, 512, 7, 7)), Spec((512, 512, 3, 3))
        return registry.ask("trivet.native", Call("conv", ins, replace(geometry, algo=algo)))

    assert isinstance(answer(5, "auto"), str)
    assert isinstance(answer(6, "auto"), list) and isinstance(answer(5, "winograd"), list)


def test_a_plain_image_is_wanted_channels_last():
    case = Case(1, 16, 20, (8, 8), 1)
    call = replace(case.call("conv", case.x, case.w), ins=(Spec(case.x.shape), Spec(case.w.shape)))
    plan = registry.ask("trivet.native", call)[0]
    assert plan.ins[0].layout == CHANNELS_LAST and plan.ins[1].layout == PLAIN
    assert plan.outs[0].layout == CHANNELS_LAST


@pytest.mark.parametrize("written", [False, True])
def test_replays_transform_filters_again_only_when_they_were_written(written, monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.native", "trivet.reference"])
    rng = np.random.default_rng(0)
    weight = Tensor(rng.standard_normal((16, 16, 3, 3)), "float32")
    bias, change = Tensor(rng.standard_normal(16), "float32"), Tensor(weight.numpy() / 8)
    rate = Tensor(0.5, "float64")

    def step(x):
        y = ops.conv2d(x, weight, bias, padding=1, algo="winograd")
        if written:
            ops.sgd_(weight, change, rate)
        return y

    call = capture(step)
    x = Tensor(rng.standard_normal((2, 16, 9, 9)), "float32")
    for _ in range(4):
        expected = ops.conv2d(x, weight, bias, padding=1, algo="winograd").numpy()
        assert np.array_equal(call(x).numpy(), expected)
    assert len(call.program.constants) == 1 + (not written)  # the image, channels last, is one
    weight.write(weight.numpy()[::-1])
    expected = ops.conv2d(x, weight, bias, padding=1, algo="winograd").numpy()
    assert np.array_equal(call(x).numpy(), expected)
