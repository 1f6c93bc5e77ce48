"""Normalisation beside PyTorch: values, gradients, running statistics, and hard numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from trivet import Tensor, grad, no_grad
from trivet.errors import GradientError
from trivet.launch import Trace, sending_to
from trivet.ops import batch_norm, group_norm, layer_norm, local_response_norm

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}  # the gradient of a small variance is ill-posed
many = settings(max_examples=60, deadline=None, derandomize=True)
dtypes = st.sampled_from(list(TOLERANCE))
images = st.lists(st.integers(1, 4), max_size=3).map(tuple)
scales = st.sampled_from([1e-2, 0.1, 1.0])  # eps: large enough for two elements that are close


def close(ours, theirs, dtype, what):
    """Equal to rounding; what torch never touched counts as zeros."""
    theirs = np.zeros(ours.shape) if theirs is None else theirs.detach().numpy()
    assert (ours.shape, ours.dtype) == (theirs.shape, dtype), what
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(
        ours.numpy(), theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale, err_msg=what
    )


def compare(ours, theirs, arrays, dtype, view=False):
    """Value and the gradients by every array, None among them meaning not given."""
    data = [None if a is None else a.astype(dtype) for a in arrays]
    xs = [None if a is None else Tensor(a, requires_grad=True) for a in data]
    ts = [None if a is None else torch.tensor(a, requires_grad=True) for a in data]
    if view:  # every other element of a larger tensor
        xs[0] = Tensor(np.repeat(data[0], 2, axis=-1))[..., ::2]
        xs[0].requires_grad = True
    y, t = ours(*xs), theirs(*ts)
    close(y, t, dtype, "y")
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    t.backward(torch.tensor(weights))
    wanted = [i for i, x in enumerate(xs) if x is not None]
    found = grad(y, [xs[i] for i in wanted], gradient=Tensor(weights))
    for i, g in zip(wanted, found):
        close(g, ts[i].grad, dtype, f"gradient {i}")


def draw_affine(data, rng, shape):
    """Weight and bias, each there or not."""
    return [rng.standard_normal(shape) if data.draw(st.booleans()) else None for _ in range(2)]


@many
@given(data=st.data(), n=st.integers(0, 4), c=st.integers(1, 4), image=images, dtype=dtypes)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training, data, n, c, image, dtype):
    if training and n * np.prod(image) == 1:
        n = 2
    rng, eps = np.random.default_rng(n), data.draw(scales)
    x = rng.standard_normal((n, c, *image)) * 2 + 1
    mean, var = rng.standard_normal(c).astype(dtype), rng.uniform(0.5, 2, c).astype(dtype)
    running = Tensor(mean), Tensor(var)
    theirs = torch.tensor(mean), torch.tensor(var)
    compare(
        lambda x, w, b: batch_norm(x, w, b, *running, training=training, momentum=0.3, eps=eps),
        lambda x, w, b: F.batch_norm(x, *theirs, w, b, training, 0.3, eps),
        [x, *draw_affine(data, rng, c)],
        dtype,
        view=data.draw(st.booleans()),
    )
    for ours, t in zip(running, theirs):
        close(ours, t, dtype, "running")


@many
@given(data=st.data(), lead=images, row=images, n=st.integers(0, 3), dtype=dtypes)
def test_layer_norm(data, lead, row, n, dtype):
    rng, eps, row = np.random.default_rng(n), data.draw(scales), (*row, 3)
    compare(
        lambda x, w, b: layer_norm(x, w, b, axes=len(row), eps=eps),
        lambda x, w, b: F.layer_norm(x, row, w, b, eps),
        [rng.standard_normal((n, *lead, *row)), *draw_affine(data, rng, row)],
        dtype,
        view=data.draw(st.booleans()),
    )


@many
@given(
    data=st.data(), n=st.integers(0, 3), groups=st.integers(1, 3), members=st.integers(1, 3),
    image=images, dtype=dtypes,
)  # fmt: skip
def test_group_norm(data, n, groups, members, image, dtype):
    rng, eps, c = np.random.default_rng(n), data.draw(scales), groups * members
    image = (*image, 2)  # torch refuses a single value per group of a single image
    weight, bias = draw_affine(data, rng, c)
    affine = [weight, None if weight is None else bias]  # torch fails on the gradient of the rest
    compare(
        lambda x, w, b: group_norm(x, groups, w, b, eps=eps),
        lambda x, w, b: F.group_norm(x, groups, w, b, eps),
        [rng.standard_normal((n, c, *image)), *affine],
        dtype,
        view=data.draw(st.booleans()),
    )


@many
@given(
    data=st.data(), n=st.integers(0, 3), c=st.integers(1, 7), size=st.integers(1, 9),
    image=images.filter(len), dtype=dtypes, alpha=st.floats(0, 2), beta=st.floats(0.1, 2),
    k=st.floats(0.5, 2),
)  # fmt: skip
def test_local_response_norm(data, n, c, size, image, dtype, alpha, beta, k):
    if n == 0:
        image = image[:1]  # torch cannot average an empty volume
    compare(
        lambda x: local_response_norm(x, size, alpha=alpha, beta=beta, k=k),
        lambda x: F.local_response_norm(x, size, alpha, beta, k),
        [np.random.default_rng(n).standard_normal((n, c, *image))],
        dtype,
        view=data.draw(st.booleans()),
    )


def test_alpha_of_the_alexnet_paper(rng):
    x = rng.standard_normal((1, 7)) * 10
    y = local_response_norm(Tensor(x), 5, alpha=5 * 1e-4, k=2.0).numpy()
    around = np.pad(x[0] ** 2, 2)
    paper = [x[0, i] / (2 + 1e-4 * around[i : i + 5].sum()) ** 0.75 for i in range(7)]
    np.testing.assert_allclose(y[0], paper)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_running_statistics_over_several_steps(dtype, rng):
    ours = Tensor(np.zeros(3), dtype), Tensor(np.ones(3), dtype)
    theirs = torch.zeros(3, dtype=getattr(torch, dtype)), torch.ones(3, dtype=getattr(torch, dtype))
    before = [t.buffer for t in ours]
    for step in range(6):
        x = (rng.standard_normal((4, 3, 5)) * 10.0 ** (step - 3) + step).astype(dtype)
        batch_norm(Tensor(x), None, None, *ours, training=True)
        F.batch_norm(torch.tensor(x), *theirs, training=True)
    for a, t in zip(ours, theirs):
        np.testing.assert_allclose(a.numpy(), t, rtol=1e-12 if dtype == "float64" else 2e-6)
    assert [t.buffer for t in ours] == before
    x = rng.standard_normal((2, 3)).astype(dtype)
    y = batch_norm(Tensor(x), None, None, *ours, training=False)
    close(y, F.batch_norm(torch.tensor(x), *theirs), dtype, "evaluation")


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_constant_channel_has_variance_zero(constant):
    x, (mean, var) = np.full((4, 1), constant), (Tensor([7.0]), Tensor([1.0]))
    y = batch_norm(Tensor(x, "float32"), None, None, mean, var, training=True, momentum=1.0)
    assert (y.numpy() == 0).all()
    assert mean.item() == constant and var.item() == pytest.approx(0, abs=1e-11)
    assert var.item() >= 0


def test_running_statistics_are_updated_by_a_launch(rng):
    x, mean, var = Tensor(rng.standard_normal((4, 3))), Tensor(np.zeros(3)), Tensor(np.ones(3))
    trace = Trace()
    with sending_to(trace):
        batch_norm(x, None, None, mean, var, training=True)
    note = trace.notes[-1]
    assert note.call.name == "batch_norm_update"
    assert [trace.outside[slot] for slot in note.written] == [mean.buffer, var.buffer]


def test_statistics_saved_in_evaluation_must_not_change(rng):
    x = Tensor(rng.standard_normal((4, 3)), requires_grad=True)
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    y = batch_norm(x, None, None, mean, var, training=False)
    batch_norm(x, None, None, mean, var, training=True)
    with pytest.raises(GradientError, match="batch_norm: expected the float64"):
        grad(y, [x], gradient=x.detach())


NORMS = {
    "batch_norm": (lambda x, w, b: batch_norm(x, w, b, training=True), 4),
    "layer_norm": (lambda x, w, b: layer_norm(x, w, b, axes=2), (4, 3)),
    "group_norm": (lambda x, w, b: group_norm(x, 2, w, b), 4),
    "local_response_norm": (lambda x, w, b: local_response_norm(x, 3, alpha=0.5), None),
}


@pytest.mark.parametrize("name", NORMS)
def test_fused_and_recorded_gradients_agree(name, rng):
    f, affine = NORMS[name]
    x = Tensor(rng.standard_normal((5, 4, 3)), requires_grad=True)
    shapes = [] if affine is None else [affine, affine]
    pair = [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]
    y, gy = f(x, *(pair or [None, None])), Tensor(rng.standard_normal(x.shape))
    fused = grad(y, [x, *pair], gradient=gy, keep_graph=True)
    recorded = grad(y, [x, *pair], gradient=gy, create_graph=True)
    for a, b in zip(fused, recorded):
        assert not a.requires_grad and (b.requires_grad or b.shape != x.shape)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_without_recording_nothing_is_kept(name, rng):
    f, _ = NORMS[name]
    with no_grad():
        y = f(Tensor(rng.standard_normal((5, 4, 3)), requires_grad=True), None, None)
    assert y.node is None and not y.requires_grad


def test_a_large_mean_does_not_cancel(rng):
    x = (rng.standard_normal((64, 2)) + 1e4).astype(np.float32)
    for y in (batch_norm(Tensor(x), training=True), layer_norm(Tensor(x.T)).T):
        exact = F.batch_norm(torch.tensor(x, dtype=torch.float64), None, None, training=True)
        np.testing.assert_allclose(y.numpy(), exact, atol=1e-3)  # the step of x


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_of_16_bit_tensors_are_float32(dtype, rng):
    x = Tensor(rng.standard_normal((8, 3)) + 5, dtype, requires_grad=True)
    y = batch_norm(x, None, None, Tensor(np.zeros(3), "float32"), Tensor(np.ones(3), "float32"),
                   training=True)  # fmt: skip
    saved = [buffer.spec.dtype for buffer, *_ in y.node.saved]
    assert saved == [dtype, dtype, "float32", "float32"]
    wide = x.detach().to("float32")
    wide.requires_grad = True
    gy = Tensor(rng.standard_normal(x.shape), dtype)
    expected = grad(batch_norm(wide, training=True), [wide], gradient=gy.to("float32"))[0].numpy()
    found = grad(y, [x], gradient=gy)[0].numpy().astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", NORMS)
def test_nan_and_inf_spread_as_in_torch(name, bad, rng):
    f, _ = NORMS[name]
    x = rng.standard_normal((5, 4, 3))
    x[1, 2, 0] = bad
    t = torch.tensor(x)
    theirs = {
        "batch_norm": lambda: F.batch_norm(t, None, None, training=True),
        "layer_norm": lambda: F.layer_norm(t, (4, 3)),
        "group_norm": lambda: F.group_norm(t, 2),
        "local_response_norm": lambda: F.local_response_norm(t, 3, alpha=0.5),
    }[name]()
    np.testing.assert_allclose(f(Tensor(x), None, None).numpy(), theirs, rtol=1e-9)
