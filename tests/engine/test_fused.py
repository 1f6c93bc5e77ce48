"""Captured and fused steps on the CPU leg: which launches are joined, and that numbers agree."""

import numpy as np
import pytest
from legs import CPU, REFERENCE
from trivet import Tensor, capture, ops, optim, registry, zoo
from trivet.registry import missing
from trivet.tape import grad

pytestmark = pytest.mark.skipif(
    any(map(missing, CPU)), reason="the CPU leg lacks a library on this platform"
)


def trained(legs, decorate, dtype, monkeypatch, steps=4):
    """Losses and parameters of a small dense network, trained for a few steps."""
    monkeypatch.setitem(registry.PREFERENCE, "cpu", legs)
    rng = np.random.default_rng(0)
    net = zoo.densenet.DenseNet((2, 3), growth=16, num_classes=3, dtype=dtype)
    for name, p in net.named_parameters().items():
        p.write(rng.standard_normal(p.shape) * 0.1 + ("norm" in name and "weight" in name))
    rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)

    def step(x, y):
        rule.zero_grad()
        loss = ops.cross_entropy(net(x), y)
        loss.backward()
        rule.step()
        return loss.detach()

    call, losses = decorate(step), []
    for _ in range(steps):
        x, y = rng.standard_normal((4, 3, 64, 64)), rng.integers(0, 3, 4)
        losses.append(call(Tensor(x, dtype), Tensor(y)).item())
    return losses, net.state_dict(), call


def test_a_dense_network_joins_its_normalisations_and_concatenates_nothing(monkeypatch):
    expected, state, _ = trained(REFERENCE, lambda step: step, "float64", monkeypatch)
    losses, found, call = trained(
        CPU, lambda step: capture(step, fuse=True), "float32", monkeypatch
    )
    names = [note.call.name for note in call.program.notes]
    assert "concat" not in names and "relu" not in names
    # from a block's third reader on, each goes on from the statistics that the one before took
    assert names.count("batch_norm_onward+relu") == 3
    assert names.count("batch_norm+relu") == 10
    # and what the rectifiers behind them gave is not read again by their gradients
    assert names.count("batch_norm_relu_grad+add") == 5  # one in each dense layer
    assert not any(name.startswith("relu_grad+batch_norm_grad") for name in names)
    assert losses == pytest.approx(expected, rel=1e-4)
    for name, value in state.items():
        scale = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(found[name], value, atol=2e-4 * scale, err_msg=name)


def test_a_captured_step_that_is_not_fused_gives_the_bits_of_eager(monkeypatch):
    eager, state, _ = trained(CPU, lambda step: step, "float32", monkeypatch)
    losses, found, _ = trained(CPU, capture, "float32", monkeypatch)
    assert losses == eager
    assert all(np.array_equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("moved", [False, True])
def test_a_gradient_takes_the_bias_that_was_added_though_another_is_there_meanwhile(moved):
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape) for shape in [(4, 16, 9, 9), (16,), (16,), (4, 16, 9, 9)]]
    push, rate = Tensor(np.full(16, 9.0), "float32"), Tensor(1.0, "float64")

    def gradient(x, weight, bias, gy):
        y = ops.relu(ops.batch_norm(x, weight, bias, training=True))
        if moved:  # so low that every rectifier would be closed
            ops.sgd_(bias, push, rate)
        return grad(y, [x], gradient=gy)[0]

    call = capture(gradient, fuse=True)
    for _ in range(3):
        tensors = [Tensor(v, "float32", requires_grad=v is given[0]) for v in given]
        found = call(*tensors).numpy()
    x, weight, bias, gy = (Tensor(v, requires_grad=v is given[0]) for v in given)
    y = ops.relu(ops.batch_norm(x, weight, bias, training=True))
    expected = grad(y, [x], gradient=gy)[0].numpy()
    names = [note.call.name for note in call.program.notes]
    assert ("batch_norm_relu_grad" in names) is not moved
    # some ten roundings of values that are all about as large
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
