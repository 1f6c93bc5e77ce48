"""Tests that every op gets, from its samples. A new op needs no new test here."""

import numpy as np
import pytest
from legs import BLOCKED, CPU, REFERENCE
from trivet import Tensor, capture, grad, ops, registry
from trivet.errors import GradientError
from trivet.ops.dropout import seed
from trivet.tape import Node

ALL = [
    (name, function, sample, f"{name}-{i}")
    for name, (function, samples) in ops.OPS.items()
    for i, sample in enumerate(samples(np.random.default_rng(0)))
]
ROUNDING = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 1.5e-1}  # of values of order one


def cases(wanted):
    found = [pytest.param(f, s, id=label) for name, f, s, label in ALL if wanted(name, s)]
    return pytest.mark.parametrize("function, sample", found)


valid = cases(lambda name, s: not s.error)
pure = cases(lambda name, s: not s.error and not name.endswith("_"))
differentiable = cases(lambda name, s: s.differentiable)
twice = cases(lambda name, s: s.differentiable and s.twice)
once = cases(lambda name, s: s.differentiable and not s.twice)


def of_arrays(a):
    return isinstance(a, list) and all(isinstance(b, np.ndarray) for b in a)


def tensor(a, dtype, requires_grad=False, strided=False):
    """An array, or each array of a list, as a Tensor of the dtype if it is a float."""
    if of_arrays(a):
        return [tensor(b, dtype, requires_grad, strided) for b in a]
    if not isinstance(a, np.ndarray):
        return a
    kind = dtype if a.dtype.kind == "f" else None
    if strided and a.ndim:  # every other element of a larger tensor
        view = Tensor(np.repeat(a, 2, axis=-1), kind)[..., ::2]
        view.requires_grad = requires_grad
        return view
    return Tensor(a, kind, requires_grad=requires_grad)


def tensors(sample, dtype="float64", args=None, strided=False):
    """The sample's arguments as Tensors; those that are differentiable require a gradient."""
    args = sample.args if args is None else args
    return [tensor(a, dtype, i in sample.differentiable, strided) for i, a in enumerate(args)]


def leaves(sample, args):
    """The differentiable tensors among the arguments."""
    found = []
    for i in sample.differentiable:
        found += args[i] if isinstance(args[i], list) else [args[i]]
    return found


def outputs(y):
    """The tensors that an op returned, in order."""
    if isinstance(y, Tensor):
        return [y]
    return [t for part in y for t in outputs(part)]


def uneven(shape, dtype="float64"):
    return Tensor(np.random.default_rng(1).standard_normal(shape), dtype)


def weighed(ys, weights=None):
    """A loss that weighs every element of every float output differently."""
    total = 0.0
    for i, y in enumerate(ys):
        if y.requires_grad:
            total = (y * (weights[i] if weights else uneven(y.shape, y.dtype))).sum() + total
    return total


def run(function, sample, args, weights=None):
    """Forward and backward: the outputs, and the gradients of the weighed loss."""
    ys = outputs(function(*args, **sample.kwargs))
    if not sample.differentiable:
        return ys
    return [*ys, *grad(weighed(ys, weights), leaves(sample, args))]


def moved(args, i, part, entry, delta):
    """The sample's arguments with one number changed."""
    copy = [[b.copy() for b in a] if of_arrays(a) else a for a in args]
    copy = [a.copy() if isinstance(a, np.ndarray) else a for a in copy]
    target = copy[i] if part is None else copy[i][part]
    target.reshape(-1)[entry] += delta
    return copy


def central(loss, sample, eps):
    """(which leaf, which entry, difference of the loss) for up to eight entries of each leaf."""
    leaf = -1
    for i in sample.differentiable:
        a = sample.args[i]
        for part in range(len(a)) if of_arrays(a) else [None]:
            leaf += 1
            array = a if part is None else a[part]
            base = [np.array(b) if isinstance(b, np.ndarray) else b for b in sample.args]
            for entry in np.random.default_rng(2).permutation(array.size)[:8]:
                ends = [
                    loss(tensors(sample, args=moved(base, i, part, entry, d))) for d in (eps, -eps)
                ]
                yield leaf, entry, (ends[0] - ends[1]) / (2 * eps)


@differentiable
def test_gradient_matches_central_differences(function, sample):
    def loss(args):
        return weighed(outputs(function(*args, **sample.kwargs))).item()

    args = tensors(sample)
    gradients = grad(weighed(outputs(function(*args, **sample.kwargs))), leaves(sample, args))
    for t, g in zip(leaves(sample, args), gradients, strict=True):
        assert (g.shape, g.dtype) == (t.shape, "float64")
    for leaf, entry, numeric in central(loss, sample, eps=1e-6):
        found, tolerance = gradients[leaf].numpy().reshape(-1)[entry], sample.tolerance
        assert found == pytest.approx(numeric, rel=tolerance, abs=tolerance)


def first_derivative(function, sample, args, create_graph, dtype="float64"):
    """The gradient of sum(y**3), which bends even where y is linear, summed with weights."""
    xs, bent = leaves(sample, args), 0.0
    for y in outputs(function(*args, **sample.kwargs)):
        bent = (y * y * y).sum() + bent if y.requires_grad else bent
    rng, total = np.random.default_rng(3), 0.0
    for g in grad(bent, xs, create_graph=create_graph):
        total = (g * Tensor(rng.standard_normal(g.shape), dtype)).sum() + total
    return total, xs


@twice
def test_second_derivative_matches_central_differences(function, sample):
    def slope(args):
        return first_derivative(function, sample, args, False)[0].item()

    total, xs = first_derivative(function, sample, tensors(sample), True)
    gradients = grad(total, xs)
    for leaf, entry, numeric in central(slope, sample, eps=1e-5):
        found = gradients[leaf].numpy().reshape(-1)[entry]
        assert found == pytest.approx(numeric, rel=1e-5, abs=1e-5)


@twice
def test_second_derivatives_of_the_fast_leg_agree_with_float64(function, sample, monkeypatch):
    if not sample.narrow:
        pytest.skip("its samples are about float64")
    total, xs = first_derivative(function, sample, tensors(sample), True)
    expected = [g.numpy() for g in grad(total, xs)]
    monkeypatch.setitem(registry.PREFERENCE, "cpu", CPU)
    total, xs = first_derivative(function, sample, tensors(sample, "float32"), True, "float32")
    for wide, g in zip(expected, grad(total, xs), strict=True):
        scale = max(1.0, np.abs(wide).max(initial=0.0))
        np.testing.assert_allclose(g.numpy(), wide, rtol=1e-3, atol=1e-3 * scale)


@once
def test_a_missing_second_derivative_is_an_error_not_zero(function, sample):
    total, xs = first_derivative(function, sample, tensors(sample), True)
    with pytest.raises(GradientError, match=r"has no second(?s:.*)Fix:"):
        grad(total, xs)


@pytest.mark.parametrize(
    "leg, dtype",
    [
        pytest.param(REFERENCE, "float32", id="float32"),
        pytest.param(CPU, "float32", id="float32-cpu"),
        pytest.param(REFERENCE, "float16", id="float16", marks=pytest.mark.slow),
        pytest.param(REFERENCE, "bfloat16", id="bfloat16", marks=pytest.mark.slow),
    ],
)
@pure
def test_narrower_floats_agree_with_float64(function, sample, dtype, leg, monkeypatch):
    if not sample.narrow:
        pytest.skip("its samples are about float64")
    monkeypatch.setitem(registry.PREFERENCE, "cpu", leg)
    tolerance = ROUNDING[dtype]
    expected = run(function, sample, tensors(sample))
    for wide, t in zip(expected, run(function, sample, tensors(sample, dtype)), strict=True):
        assert t.dtype == (dtype if wide.dtype == "float64" else wide.dtype)
        wide, narrow = wide.numpy(), t.numpy()
        if wide.dtype.kind == "f":
            scale = max(1.0, np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
            np.testing.assert_allclose(
                narrow.astype(np.float64), wide, rtol=tolerance, atol=tolerance * scale
            )


@pure
def test_operands_are_left_alone(function, sample):
    args = tensors(sample)
    given = [a for a in args if isinstance(a, Tensor)]
    given += [t for a, b in zip(args, sample.args) if of_arrays(b) for t in a]
    before = [(t.buffer.version, t.numpy().tobytes()) for t in given]
    run(function, sample, args)
    assert [(t.buffer.version, t.numpy().tobytes()) for t in given] == before


@pure
def test_views_give_the_same_as_plain_tensors(function, sample):
    plain = run(function, sample, tensors(sample))
    strided = run(function, sample, tensors(sample, strided=True))
    for a, b in zip(plain, strided, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "backends",
    [
        pytest.param(CPU, id="cpu"),
        pytest.param(BLOCKED, id="blocked", marks=pytest.mark.slow),
        pytest.param(REFERENCE, id="reference", marks=pytest.mark.slow),
    ],
)
@valid
def test_a_captured_op_gives_the_bits_of_eager(function, sample, backends, monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", backends)
    dtype = "float64" if function.__name__.endswith("_") else "float32"  # rates are float64
    made = outputs(function(*tensors(sample, dtype), **sample.kwargs))
    weights = [uneven(y.shape, y.dtype) if y.requires_grad else None for y in made]

    def results(decorate):
        seed(0)  # of the masks of dropout
        args = tensors(sample, dtype)  # they exist before the step: ops that write them go on
        step = decorate(lambda: tuple(run(function, sample, args, weights)))
        return [[t.numpy().tobytes() for t in step()] for _ in range(4)]

    assert results(capture) == results(lambda step: step)


@pytest.mark.parametrize(
    "backends",
    [pytest.param(CPU, id="cpu"), pytest.param(BLOCKED, id="blocked", marks=pytest.mark.slow)],
)
@pure
def test_another_backend_agrees_with_the_reference(function, sample, backends, monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", REFERENCE)
    seed(0)
    expected = [t.numpy() for t in run(function, sample, tensors(sample, "float32"))]
    monkeypatch.setitem(registry.PREFERENCE, "cpu", backends)
    seed(0)
    for a, t in zip(expected, run(function, sample, tensors(sample, "float32")), strict=True):
        np.testing.assert_allclose(t.numpy(), a, rtol=1e-4, atol=1e-4)


@cases(lambda name, s: s.error)
def test_errors_say_what_came_and_how_to_fix_it(function, sample):
    kind, text = sample.error
    with pytest.raises(kind) as e:
        function(*(tensor(a, None) for a in sample.args), **sample.kwargs)
    assert text in str(e.value) and "\n  Fix: " in str(e.value)


@differentiable
def test_gradients_see_tensors_only_through_saved(function, sample):
    stack = [y.node for y in outputs(function(*tensors(sample), **sample.kwargs)) if y.node]
    while stack:
        node = stack.pop()
        held = [cell.cell_contents for cell in node.gradient.__closure__ or ()]
        assert not any(isinstance(value, Tensor) for value in held)
        stack += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
        assert isinstance(node, Node)


def test_every_op_is_documented():
    for name, (function, _) in ops.OPS.items():
        assert all(part in function.__doc__ for part in ["\n    Shapes", ">>> "]), name
