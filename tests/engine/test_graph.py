"""Captured steps: bits, memory, and what a replay cannot repeat."""

import gc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from trivet import Tensor, capture, nn, ops, optim, registry
from trivet.device import empty
from trivet.errors import CaptureError, GradientError, ShapeError
from trivet.graph.arena import place
from trivet.launch import Trace, launch, reorder, sending_to
from trivet.ops.dropout import Generator
from trivet.spec import PLAIN, Spec

REFERENCE, BLOCKED = ["trivet.reference"], ["blocked_backend", "trivet.reference"]


class Net(nn.Module):
    """Convolution, relu, a residual branch, pooling, dropout and a linear classifier."""

    def __init__(self):
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6 * 4 * 4, 10)
        self.generator = Generator(7)

    def forward(self, x):
        h = ops.relu(self.stem(x))  # (N, 6, 8, 8)
        h = h + ops.relu(self.branch(h))
        h = ops.flatten(ops.max_pool2d(h, 2))
        return self.head(ops.dropout(h, 0.25, generator=self.generator))  # (N, 10)


def batch(k):
    rng = np.random.default_rng(100 + k)
    return Tensor(rng.standard_normal((8, 3, 8, 8)), "float32"), Tensor(rng.integers(0, 10, 8))


def train(backends, monkeypatch, decorate, steps=6):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", backends)
    nn.init.seed(0)
    net = Net()
    optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9)

    def step(x, target):
        optimizer.zero_grad()
        loss = ops.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return loss

    step, losses = decorate(step), []
    for k in range(steps):
        optimizer.rate = 0.1 / (k + 1)
        losses.append(step(*batch(k)).numpy())
    return np.array(losses), net.state_dict(), step


@pytest.mark.parametrize("backends", [REFERENCE, BLOCKED], ids=["reference", "blocked"])
def test_a_captured_training_step_gives_the_bits_of_eager(backends, monkeypatch):
    eager, expected, _ = train(backends, monkeypatch, lambda step: step)
    losses, state, _ = train(backends, monkeypatch, capture)
    assert losses.tobytes() == eager.tobytes()
    assert {k: v.tobytes() for k, v in state.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    assert len(set(losses.tolist())) == len(losses)  # inputs and rate did arrive


def test_the_blocked_backend_trains_like_the_reference(monkeypatch):
    losses, state, _ = train(BLOCKED, monkeypatch, capture)
    expected, parameters, _ = train(REFERENCE, monkeypatch, lambda step: step)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for name in state:
        np.testing.assert_allclose(state[name], parameters[name], rtol=1e-3, atol=1e-5)


def test_values_share_the_arena_and_equal_reorders_are_merged(monkeypatch):
    seen, run = [], Trace.run
    monkeypatch.setattr(Trace, "run", lambda s, c, p, b: (seen.append((c, p, b)), run(s, c, p, b)))
    *_, captured = train(BLOCKED, monkeypatch, capture, steps=1)
    made = {id(b): b.spec.nbytes for _, p, bs in seen for b in bs[: len(p.outs)]}
    count, reorders = len(seen), sum(call.name == "reorder" for call, *_ in seen)
    captured(*batch(1))
    assert captured.program.arena.nbytes < sum(made.values()) / 2
    # x goes to nChw4c once, though the forward pass and the weight gradient both want it so
    dropped = count - len(captured.program.notes)
    assert 1 <= dropped < reorders


def test_a_backend_may_join_launches(monkeypatch):
    eager, expected, _ = train(BLOCKED, monkeypatch, lambda step: step)
    losses, state, captured = train(BLOCKED, monkeypatch, partial(capture, fuse=True))
    names = [note.call.name for note in captured.program.notes]
    assert names.count("conv+relu") == 2 and "conv" not in names and "relu" not in names
    assert losses.tobytes() == eager.tobytes()  # this joined kernel does the same arithmetic
    assert all(np.array_equal(state[name], expected[name]) for name in state)


@pytest.mark.parametrize("written", [False, True])
def test_a_joined_kernel_may_want_weights_in_another_layout_if_they_stay_as_they_are(
    monkeypatch, written
):
    """They are reordered once for all replays, which no launch of the step could pay for."""
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["blocked_backend", "trivet.reference"])
    rng = np.random.default_rng(0)
    weight = Tensor(rng.standard_normal((5, 3, 1, 1)), "float32")

    def step(x):
        y = ops.relu(ops.conv2d(x, weight))
        if written:
            ops.sgd_(weight, ones, rate)
        return y

    rate = Tensor(0.0, "float64")
    ones = Tensor(np.ones((5, 3, 1, 1)), "float32")
    call = capture(step, fuse=True)
    x = Tensor(rng.standard_normal((2, 3, 4, 4)), "float32")
    for _ in range(3):
        found = call(x).numpy()
    names = [note.call.name for note in call.program.notes]
    assert ("conv+relu" in names) == (not written)
    assert len(call.program.constants) == 1 + (not written)  # the argument is one
    assert np.array_equal(found, ops.relu(ops.conv2d(x, weight)).numpy())
    weight.write(weight.numpy() * -1)
    assert np.array_equal(call(x).numpy(), ops.relu(ops.conv2d(x, weight)).numpy())


def test_a_launch_is_not_joined_past_a_write_of_its_operand(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", BLOCKED)
    rng = np.random.default_rng(0)
    w = Tensor(rng.standard_normal((4, 4, 3, 3)), "float32")
    x = Tensor(rng.standard_normal((1, 4, 5, 5)), "float32")

    def results(decorate):
        weight = Tensor(w.numpy())

        def step():
            y = ops.conv2d(x, weight)
            launch("accumulate", weight.buffer, w.buffer)
            return ops.relu(y)

        step = decorate(step)
        return [step().numpy().tobytes() for _ in range(4)]

    assert results(partial(capture, fuse=True)) == results(lambda step: step)


def test_the_arena_never_overlaps_values_alive_at_once():
    rng = np.random.default_rng(0)
    specs = [Spec((int(n),), "uint8") for n in rng.integers(0, 999, 60)]
    born = rng.integers(0, 50, 60)
    lives = {i: (int(b), int(b + d)) for i, (b, d) in enumerate(zip(born, rng.integers(0, 9, 60)))}
    offsets, total = place(lives, specs)
    assert total < sum(s.nbytes for s in specs)
    assert not any(offset % 64 for offset in offsets.values())
    for k in range(60):
        alive = sorted((offsets[i], specs[i].nbytes) for i, (b, d) in lives.items() if b <= k <= d)
        assert all(a + n <= b for (a, n), (b, _) in pairwise(alive))


def test_a_trace_needs_no_more_memory_than_eager():
    gc.disable()
    try:
        trace, x = Trace(), Tensor(np.zeros(4))
        with sending_to(trace):
            for _ in range(5):
                x = x + x
        assert len(trace.notes) == 5 and len(trace.slots) == 2  # the first x, noted; the last
    finally:
        gc.enable()


def test_a_gradient_that_exists_before_the_step_grows_at_each_replay():
    w = Tensor([1.0, 2.0], requires_grad=True)
    step = capture(lambda x: (w * x).sum().backward())
    (w * 0).sum().backward()
    for _ in range(3):
        step(Tensor([1.0, 10.0]))
    assert w.grad.numpy().tolist() == [3, 30]


def test_a_counter_is_a_tensor():
    count, one, rate = Tensor(0.0), Tensor(1.0), Tensor(np.float64(-1))

    @capture
    def step():
        ops.sgd_(count, one, rate)
        return count * 10

    assert [float(step().numpy()) for _ in range(3)] == [10, 20, 30]


def test_only_what_is_returned_outlives_the_step():
    leaked = []
    step = capture(lambda x: (leaked.append(x * 2), x * 3)[1])
    assert [step(Tensor([k])).item() for k in (1.0, 2.0, 3.0)] == [3, 6, 9]
    with pytest.raises(CaptureError, match=r"made in a captured step(?s:.*)Fix: return it"):
        leaked[1].numpy()


def test_a_replay_runs_no_python_of_the_step_and_leaves_arguments_alone():
    x, calls = Tensor([1.0]), []
    step = capture(lambda x: (calls.append(1), x * 2)[1])
    step(x), step(x)
    assert step(Tensor([5.0])).numpy() == 10
    assert len(calls) == 2 and x.numpy() == 1


@pytest.mark.parametrize(
    "step, says",
    [
        (lambda x: x * Tensor([2.0]), "takes data from the host"),
        (lambda x: x * float(x.sum().numpy()), "reads a Tensor"),
        (lambda x: x.write([3.0]), "takes data from the host"),
        (lambda x: capture(lambda y: y)(x), "calls another captured step"),
    ],
)
def test_what_a_replay_cannot_repeat_is_named_with_its_line(step, says):
    with pytest.raises(CaptureError) as e:
        capture(step)(Tensor([1.0]))
    line = step.__code__.co_firstlineno
    assert f"A captured step {says}" in str(e.value) and f"test_graph.py:{line}: (lambda x" in str(
        e.value
    )
    assert "\n  Fix: do it outside" in str(e.value)


def test_other_shapes_at_replay_are_refused():
    step = capture(lambda x: x * 2)
    step(Tensor([1.0, 2.0]))
    expected = r"first call, \[\(\(2,\), 'float32'\)\]; got(?s:.*)Fix"
    for wrong in ([Tensor([1.0])], [Tensor([1, 2])], []):
        with pytest.raises(ShapeError, match=expected):
            step(*wrong)


def test_a_replay_counts_as_a_change_of_what_it_writes():
    w, rate = Tensor([1.0], requires_grad=True), Tensor(np.float64(0.1))
    step = capture(lambda g: ops.sgd_(w, g, rate))
    for _ in range(3):
        step(Tensor([1.0]))
    y = (w * w).sum()
    step(Tensor([1.0]))
    with pytest.raises(GradientError, match="written in place since"):
        y.backward()


def test_a_reorder_of_a_value_changed_since_is_not_merged(monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", BLOCKED)
    rng = np.random.default_rng(0)
    w, g = (Tensor(rng.standard_normal(s), "float32") for s in [(4, 4, 3, 3), (1, 4, 5, 5)])
    rate = Tensor(np.float64(0.5))

    def results(decorate):
        x = Tensor(g.numpy())

        def step():
            before = ops.conv2d(x, w) + ops.conv2d(x, w)  # the second reorder is merged
            ops.sgd_(x, g, rate)
            return before, ops.conv2d(x, w)

        step = decorate(step)
        return [t.numpy().tobytes() for _ in range(3) for t in step()]

    assert results(capture) == results(lambda step: step)


def test_a_copy_made_to_be_written_stays_a_copy():
    a, b, c, d, e = leaves = [Tensor([1.0], requires_grad=True) for _ in range(5)]

    @capture
    def step(x):
        for leaf in leaves:
            leaf.grad = None
        (a + b + c + d + e).sum().backward()  # one value for all five
        (b * x).sum().backward()
        return b.grad * 1, c.grad * 1, a.grad, d.grad, e.grad

    for x in (5.0, 7.0):
        results = step(Tensor([x]))
        assert [float(g.numpy()[0]) for g in results] == [1 + x, 1, 1, 1, 1]
        results[2].write([9.0])  # what the caller does to one result is no other's business
        assert [float(g.numpy()[0]) for g in results[3:]] == [1, 1]


def test_a_reorder_into_what_existed_before_is_never_merged():
    a, b = Tensor([0.0]), Tensor([0.0])
    step = capture(lambda x: [reorder(x.buffer, PLAIN, into=t.buffer) for t in (a, b)] and None)
    for value in (1.0, 2.0):
        step(Tensor([value]))
        assert a.numpy() == b.numpy() == value


def test_numbers_that_would_freeze_are_refused():
    with pytest.raises(CaptureError, match=r"takes Tensors only; got float 0.1(?s:.*)Fix: wrap"):
        capture(lambda x, rate: x * rate)(Tensor([1.0]), 0.1)
    with pytest.raises(CaptureError, match="returns Tensors only; got int 3"):
        capture(lambda x: 3)(Tensor([1.0]))


def test_all_memory_starts_on_a_cache_line():
    assert {empty("cpu", n).ctypes.data % 64 for n in range(1, 4000, 37)} == {0}


def test_a_step_that_does_something_else_the_second_time_is_refused_with_its_line():
    w = Tensor([1.0], requires_grad=True)

    @capture
    def step(x):
        (w * x).sum().backward()  # at first w.grad is None, then it is added to

    step(Tensor([1.0]))
    with pytest.raises(CaptureError) as e:
        step(Tensor([1.0]))
    said = str(e.value)
    assert "at its second call it did something else" in said
    assert "accumulate at" in said and "(w * x).sum().backward()" in said
    assert "\n  Fix: create what the step needs" in said


def test_a_step_that_makes_its_state_at_first_is_refused():
    states = []

    @capture
    def step(x):
        if not states:
            states.append(x * 0)
        return x + states[0]

    step(Tensor([1.0]))
    with pytest.raises(CaptureError, match="second call it did something else"):
        step(Tensor([1.0]))


def test_views_inside_a_step_share_the_memory_of_their_owner():
    def work(x):
        y = x * 2
        return y[:, 1:].T @ y[:, :1], y.reshape(6)[::2], y

    step = capture(work)
    for k in (1.0, 2.0, 3.0, 4.0):
        x = Tensor(np.arange(6.0).reshape(3, 2) * k)
        for a, b in zip(step(x), work(x), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())


def test_a_view_of_a_parameter_follows_it_through_replays():
    w = Tensor(np.zeros((2, 2)))
    row, one = w[0], Tensor(np.ones((2, 2)))
    step = capture(lambda x: (launch("accumulate", w.buffer, one.buffer), row * x)[1])
    assert [step(Tensor(np.array([k]))).numpy().tolist() for k in (1.0, 10.0, 100.0)] == [
        [1, 1], [20, 20], [300, 300]
    ]  # fmt: skip
