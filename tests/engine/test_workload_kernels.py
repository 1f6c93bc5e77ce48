"""The four workloads, on inputs of the dtypes they have: nothing that takes time runs on NumPy."""

import numpy as np
import pytest
from trivet import Tensor, capture, no_grad, ops, optim, registry, zoo

pytestmark = pytest.mark.skipif(
    any(registry.missing(leg) for leg in ("trivet.native", "trivet.onednn")),
    reason="a leg is missing",
)
RNG = np.random.default_rng(0)


def pixels(*shape):
    return Tensor(RNG.integers(0, 256, shape).astype("uint8"))


def training(net, loss, rule):
    def step(x, y):
        rule.zero_grad()
        value = loss(net(x.to("float32") / 255 if x.dtype == "uint8" else x), y)
        value.backward()
        rule.step()
        return value.detach()

    return step


def cnn():
    net = zoo.cnn_cifar10()
    rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)
    return training(net, ops.cross_entropy, rule), (pixels(4, 3, 32, 32), Tensor([1, 2, 3, 4]))


def gru():
    net = zoo.gru_imdb()
    words = Tensor(RNG.integers(0, 100, (4, 150)).astype("int32"))
    rule = optim.Adam(net.parameters(), 1e-3)
    return training(net, ops.cross_entropy, rule), (words, Tensor([0, 1, 1, 0]))


def densenet():
    net = zoo.densenet121(num_classes=14)
    rule = optim.Adam(net.parameters(), 1e-4)
    labels = Tensor(RNG.integers(0, 2, (2, 14)).astype("float32"))
    loss = ops.binary_cross_entropy_with_logits
    return training(net, loss, rule), (pixels(2, 3, 64, 64), labels)


def resnet():
    net = zoo.resnet50().eval()

    def step(x):
        with no_grad():
            return net(x.to("float32") / 255)

    return step, (pixels(2, 3, 64, 64),)


@pytest.mark.parametrize("workload", [cnn, gru, densenet, resnet])
def test_no_launch_but_the_cast_of_pixels_runs_on_numpy(workload):
    step, operands = workload()
    captured = capture(step, fuse=True)
    for _ in range(2):
        captured(*operands)
    notes = captured.program.notes
    assert len(notes) > 20
    fell = {note.call.name for note in notes if note.plan.backend == "trivet.reference"}
    assert fell <= {"cast"}
