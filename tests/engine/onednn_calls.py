"""Runs every plan that oneDNN offers for a call, and the float64 reference of the same call."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from trivet import registry
from trivet.config import DEFAULT
from trivet.device import Buffer, empty
from trivet.geometry import Convolution, Window
from trivet.launch import operands, reorder, upload, view
from trivet.registry import Call
from trivet.spec import CHANNELS_LAST, PLAIN, Spec, Strided

ENGINE = Path(__file__).parents[2] / "engine"
U = 2.0**-24  # half the distance from 1 to the next float32


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def plans_of(
    name, *buffers, geometry=None, auxiliaries=True, means=DEFAULT, backend="trivet.onednn"
):
    specs = tuple(b.spec for b in buffers)
    call = Call(name, specs, geometry, means=means, auxiliaries=auxiliaries)
    return registry.ask(backend, call)


GUARD = 1 << 15  # bytes behind a memory that nobody may write


def fresh(spec):
    """A buffer in front of a guard."""
    memory = empty("cpu", spec.nbytes + GUARD)
    memory[...] = 0xFF
    return Buffer(spec, "cpu", memory)


def run(plan, buffers, over=None):
    """The outputs of an eager run, after a bound one has been seen to give the same bits.

    ``over``: a result and the operand in whose memory it shall lie.
    """
    ins = [b if b.spec == s else reorder(b, s.layout) for b, s in zip(buffers, plan.ins)]
    results = []
    for launch in (lambda a: plan.run(*a), lambda a: plan.bound(*a)()):
        outs, taken = [fresh(s) for s in plan.outs], list(ins)
        if over:
            result, operand = over
            outs[result].memory[: ins[operand].spec.nbytes] = ins[operand].memory[
                : ins[operand].spec.nbytes
            ]
            taken[operand] = outs[result]
        scratch = [fresh(Spec((plan.workspace,), "uint8"))] * bool(plan.workspace)
        launch(operands(plan, [*outs, *taken, *scratch]))
        for buffer in (*outs, *scratch):
            assert (buffer.memory[buffer.spec.nbytes :] == 0xFF).all(), f"{plan.name}: overrun"
        results.append(outs)
    for a, b in zip(*results):
        np.testing.assert_array_equal(plain(a), plain(b))
    return results[0]


def plain(buffer):
    array = reorder(buffer, PLAIN).array() if buffer.spec.layout != PLAIN else buffer.array()
    return array.copy()


def reference(name, *arrays, geometry=None, auxiliaries=True):
    """The results in float64."""
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    buffers = [upload(np.ascontiguousarray(a)) for a in wide]
    call = Call(name, tuple(b.spec for b in buffers), geometry, auxiliaries=auxiliaries)
    (plan,) = registry.ask("trivet.reference", call)
    outs = [Buffer(s, "cpu", empty("cpu", s.nbytes)) for s in plan.outs]
    scratch = [np.empty(plan.workspace, np.uint8)] * bool(plan.workspace)
    ins = [reorder(b, s.layout) for b, s in zip(buffers, plan.ins)]
    plan.run(*(b.array() for b in [*outs, *ins]), *scratch)
    return [plain(b) for b in outs]


def check(name, *arrays, geometry=None, bounds, auxiliaries=True, layouts=None, avx512=False):
    """Every plan's results within the bounds, one array (or number) of absolute errors each.

    Args:
        avx512: oneDNN may refuse on a processor without it.
    """
    buffers = [upload(a) for a in arrays]
    if layouts:
        buffers = [reorder(b, to) for b, to in zip(buffers, layouts)]
    plans = plans_of(name, *buffers, geometry=geometry, auxiliaries=auxiliaries)
    if avx512 and plans == "oneDNN has only ref:any for this":
        return
    assert not isinstance(plans, str), plans
    expected = reference(name, *arrays, geometry=geometry, auxiliaries=auxiliaries)
    for plan in plans:
        outs = [plain(b) for b in run(plan, buffers)]
        for out, value, bound in zip(outs, expected, bounds):
            error = np.abs(out - value) / np.maximum(bound, np.finfo(np.float32).tiny)
            assert error.max() <= 1, f"{plan.name}: {error.max()} times the bound"


def product_bound(count, *absolute, name, geometry=None):
    """(count + 2) half-ulps of the sum of the absolute products."""
    (total, *_) = reference(name, *map(np.abs, absolute), geometry=geometry)
    return (count + 2) * U * total


def convolved(rng, n, c, o, geometry, bias):
    """The three calls of a convolution: name, its two factors, bias if any, terms of each sum."""
    window = geometry.window
    x, w = numbers(rng, n, c, *window.size), numbers(rng, o, c // geometry.groups, *window.kernel)
    gy, b = numbers(rng, n, o, *window.out_size), [numbers(rng, o)] * bias
    yield "conv", (x, w), b, w[0].size
    yield "conv_grad_input", (gy, w), [], window.cells * o // geometry.groups
    yield "conv_grad_weight", (x, gy), [], n * gy[0, 0].size


def slice_of_channels(whole, first, count):
    """Some of the channels of images: the array, and a buffer in which they lie channels last."""
    n, _, *size = whole.shape
    steps = Spec(whole.shape, layout=CHANNELS_LAST).steps
    spec = Spec((n, count, *size), layout=Strided(steps=steps))
    lies = view(reorder(upload(whole), CHANNELS_LAST), spec, whole.itemsize * first)
    return whole[:, first : first + count], lies


def printed_by(code, **environment):
    """What a process of its own prints, and what it says of errors."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ENGINE), **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    size = tuple(draw(st.integers(1, 9 if rank < 3 else 5)) for _ in range(rank))
    groups, per_in, per_out = (draw(st.integers(1, 5)) for _ in range(3))
    if draw(st.booleans()):
        groups, per_in, per_out = 1, draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if draw(st.booleans()):  # depthwise
        groups, per_in = draw(st.integers(1, 40)), 1
    numbers = [tuple(draw(st.integers(1, 3)) for _ in size) for _ in range(3)]
    kernel, stride, dilation = numbers
    padding = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in size]
    for axis, (k, d, n) in enumerate(zip(kernel, dilation, size)):  # room for one position at least
        missing = (k - 1) * d + 1 - n - sum(padding[axis])
        padding[axis] = padding[axis][0], padding[axis][1] + max(missing, 0)
    window = Window.of("conv", size, kernel, stride, padding, dilation)
    return draw(st.integers(1, 3)), groups * per_in, groups * per_out, Convolution(window, groups)


@st.composite
def products(draw):
    n, k, m = (draw(st.integers(1, 70)) for _ in range(3))
    batch = draw(st.lists(st.integers(1, 3), max_size=3))
    shapes = []
    for matrix in ((n, k), (k, m)):
        own = [draw(st.sampled_from([1, size])) for size in batch]
        shapes.append((*own[draw(st.integers(0, len(own))) :], *matrix))
    return shapes


def transposed(array):
    """A buffer of array whose last two axes lie the other way round."""
    turned = upload(np.ascontiguousarray(array.swapaxes(-1, -2)))
    steps = list(turned.spec.steps)
    steps[-2:] = steps[:-3:-1]
    return view(turned, Spec(array.shape, layout=Strided(steps=tuple(steps))), 0)
