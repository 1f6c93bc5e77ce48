"""A second backend with a layout of its own: who reorders, who follows, who owns what."""

import blocked_backend
import numpy as np
import pytest
from blocked_backend import NCHW4C
from trivet import Tensor, grad, ops, registry
from trivet.errors import KernelMissing
from trivet.launch import Trace, launch, reorder, sending_to
from trivet.spec import PLAIN

BLOCKED = ["blocked_backend", "trivet.reference"]


@pytest.fixture
def blocked(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", BLOCKED)


def normal(*shape, seed=0, requires_grad=False):
    values = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(values, "float32", requires_grad=requires_grad)


def noted(function):
    trace = Trace()
    with sending_to(trace):
        result = function()
    return [note.call.name for note in trace.notes], result


def test_a_layout_travels_without_reorders_until_someone_wants_it_plain(blocked):
    x, w, b = normal(2, 3, 6, 6), normal(6, 3, 3, 3, seed=1), normal(6, seed=2)
    names, y = noted(lambda: ops.relu(ops.conv2d(x, w, b, padding=1)))
    assert names == ["reorder", "conv", "relu"] and y.buffer.spec.layout == NCHW4C
    names, y = noted(lambda: ops.max_pool2d(y + y, 2))
    assert names == ["add", "max_pool"] and y.buffer.spec.layout == NCHW4C
    names, y = noted(lambda: ops.flatten(y))
    assert names == ["reorder"] and y.buffer.spec.layout == PLAIN


def test_padding_lanes_stay_zero(blocked):
    x, w, b = normal(2, 3, 6, 6), normal(6, 3, 3, 3, seed=1), normal(6, seed=2)
    y = ops.max_pool2d(ops.relu(ops.conv2d(x, w, b)) * ops.conv2d(x, w), 2)
    lanes = y.buffer.array()  # (N, C/4, H, W, 4)
    assert lanes.shape == (2, 2, 2, 2, 4) and not lanes[:, 1, :, :, 2:].any()
    shifted = y + 1.0  # f(0) is not 0: this must not run over the lanes
    assert shifted.buffer.spec.layout == PLAIN
    assert np.array_equal(shifted.numpy(), y.numpy() + 1)


def test_reordering_there_and_back_keeps_every_value(blocked):
    x = normal(2, 5, 3, 3)
    there = reorder(x.buffer, NCHW4C)
    assert there.spec.nbytes == 2 * 8 * 3 * 3 * 4
    assert np.array_equal(Tensor(there).numpy(), x.numpy())
    x2 = Tensor(there)
    x2.write(x.numpy() * 2)  # host data enters a buffer of any layout
    assert np.array_equal(x2.numpy(), x.numpy() * 2) and x2.buffer.spec.layout == NCHW4C


def test_a_blocked_value_is_written_through_a_view(blocked):
    x, there = normal(2, 4, 3, 3), reorder(normal(2, 4, 3, 3, seed=1).buffer, NCHW4C)
    reorder(there, x[::-1].buffer.spec.layout, into=x[::-1].buffer)
    assert np.array_equal(x.numpy(), Tensor(there).numpy()[::-1])


def test_an_auxiliary_goes_back_to_the_backend_that_made_it(blocked, monkeypatch):
    x = normal(1, 3, 4, 4, requires_grad=True)
    y = ops.max_pool2d(x, 2)
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.reference", "blocked_backend"])
    expected = grad((ops.max_pool2d(x, 2) * 2).sum(), [x])[0].numpy()
    names, (g,) = noted(lambda: grad((y * 2).sum(), [x]))
    assert "max_pool_grad" in names and g.buffer.backend == "blocked_backend"
    assert np.array_equal(g.numpy(), expected)


def test_a_partner_that_cannot_is_not_replaced(blocked, monkeypatch):
    x = normal(1, 3, 4, 4, requires_grad=True)
    y = ops.max_pool2d(x, 2).sum()
    missing = {k: v for k, v in registry._KERNELS.items() if k[0] != "max_pool_grad"}
    monkeypatch.setattr(registry, "_KERNELS", missing)
    monkeypatch.setattr(registry, "_CHOICES", {})
    with pytest.raises(KernelMissing, match=r"blocked_backend: not implemented\n +Fix"):
        y.backward()


def test_gradients_accumulate_in_the_layout_they_came_in(blocked):
    x, w = normal(1, 3, 4, 4, requires_grad=True), normal(6, 3, 3, 3, seed=1)
    ops.conv2d(x, w).sum().backward()
    once = x.grad.numpy()
    assert x.grad.buffer.spec.layout == NCHW4C
    ops.conv2d(x, w).sum().backward()
    assert np.array_equal(x.grad.numpy(), once + once)


def test_a_layout_nobody_can_read_is_refused_with_reasons():
    there = launch("reorder", normal(1, 4, 2, 2).buffer, geometry=PLAIN)[0]
    with pytest.raises(
        KernelMissing, match="cannot reorder plain to nChw4c, one of them a backend's own"
    ):
        reorder(there, blocked_backend.NCHW4C)
