"""Who may write where: gradients, results of captured steps, views; and what is kept for whom."""

import weakref

import numpy as np
import pytest
from trivet import Tensor, capture, grad, nn, ops
from trivet.device import Buffer
from trivet.errors import CaptureError, GradientError, IdError, ShapeError
from trivet.spec import Spec


def leaf(*values, dtype=None):
    return Tensor(np.array(values), dtype, requires_grad=True)


def numbers(*tensors):
    return [t.numpy().tolist() for t in tensors]


def test_backward_leaves_the_callers_gradient_alone():
    a, b, g = leaf(1.0), leaf(1.0), Tensor(np.array([1.0]))
    y = a + b  # hands g itself to both
    for _ in range(3):
        y.backward(g, keep_graph=True)
    assert numbers(a.grad, b.grad, g) == [[3], [3], [1]]


def test_results_of_grad_may_become_grads():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    a.grad, b.grad = grad((a + b).sum() * 10, [a, b])  # one number, seen four times
    ops.clip_value_(a.grad, largest=1.0)
    (b * 5).sum().backward()
    assert numbers(a.grad, b.grad) == [[1, 1], [15, 15]]


def test_results_of_grad_lie_apart_and_keep_their_history():
    x, g = leaf(2.0, 3.0), leaf(1.0, 1.0)
    first, second = grad(x + 0, [x, x], gradient=g, create_graph=True)
    assert len({first.buffer.owner, second.buffer.owner, g.buffer}) == 3
    (back,) = grad((first * second).sum(), [g])
    assert numbers(back) == [[2, 2]]
    assert not grad(x + 0, [x], gradient=g)[0].requires_grad  # though g has a gradient to give


def test_a_grad_that_cannot_be_added_to_is_named():
    x = leaf(1.0, 2.0)
    for wrong in (Tensor(np.zeros(3)), Tensor([0.0, 0.0], "float32")):
        x.grad = wrong
        with pytest.raises(GradientError, match=r"\.grad float64 \(2,\), to add to; got Tensor"):
            (x * x).sum().backward()


def test_a_view_that_repeats_elements_is_not_written():
    x = Tensor([0.0])
    with pytest.raises(ShapeError, match=r"a place in memory for each element(?s:.*)Fix: write to"):
        ops.broadcast_to(x, (3,)).write([1.0, 2.0, 3.0])
    ops.broadcast_to(x, (1, 1)).write([[4.0]])  # nothing is repeated here
    assert x.item() == 4


@pytest.mark.parametrize(
    "op",
    [lambda h, w: h * w, lambda h, w: h / w, lambda h, w: h @ w, lambda h, w: ops.linear(h, w)],
    ids=["mul", "div", "matmul", "linear"],
)
def test_a_value_is_not_kept_for_a_gradient_that_nobody_wants(op):
    x, constant = leaf([1.0, 2.0], [3.0, 4.0]), Tensor(np.array([[2.0, 1.0], [1.0, 2.0]]))
    h = x + 0
    y, gone = op(h, constant), weakref.ref(h.buffer)
    del h
    assert gone() is None
    y.sum().backward()
    expected = grad(op(x, Tensor(constant.numpy(), requires_grad=True)).sum(), [x])
    assert numbers(x.grad) == numbers(*expected)


@pytest.mark.parametrize("dtype, values", [("float16", (300.0, 300.0)), ("float32", (1e30, 1e25))])
def test_the_gradient_of_a_quotient_squares_nothing(dtype, values):
    a, b = (leaf(v, dtype=dtype) for v in values)
    (a / b).backward(Tensor([1.0], dtype))
    assert b.grad.item() == pytest.approx(-values[0] / values[1] / values[1], rel=2e-3, abs=0)


def test_the_sign_of_zero_is_kept():
    x = Tensor([1.0])
    assert ((x / 0.0).item(), (x / -0.0).item()) == (np.inf, -np.inf)


def test_a_captured_step_may_be_fed_what_it_returned_of_its_inputs():
    def step(a, b):
        return a + b, a

    captured, mine, his = (
        capture(step),
        (Tensor([1.0]), Tensor([0.0])),
        (Tensor([1.0]), Tensor([0.0])),
    )
    for _ in range(6):
        mine, his = captured(*mine), step(*his)
        assert numbers(*mine) == numbers(*his)


def test_a_captured_step_that_raised_at_first_may_be_called_otherwise():
    w = Tensor(np.ones((3, 2)))
    step = capture(lambda x: x @ w)
    with pytest.raises(ShapeError, match="matmul"):
        step(Tensor(np.ones((4, 5))))
    assert [step(Tensor(np.ones((4, 3)) * k)).numpy()[0, 0] for k in (1, 2, 3)] == [3, 6, 9]


def test_a_replay_that_raises_counts_as_a_change_too():
    w, table = leaf(1.0), Tensor(np.ones((3, 2)))
    step = capture(lambda x, ids: (x * 2, ops.embedding(ids, table)))
    for _ in range(3):
        y, _ = step(Tensor(np.array([1.0])), Tensor([0, 1]))
    z = (w * y).sum()
    with pytest.raises(IdError):
        step(Tensor(np.array([100.0])), Tensor([0, 7]))  # y has been overwritten by then
    with pytest.raises(GradientError, match="written in place since"):
        z.backward()


def test_a_buffer_in_the_place_of_one_that_is_gone_is_another():
    spec, memories = Spec((1,)), [Tensor([k]).buffer.memory for k in (1.0, 2.0)]
    state = [Tensor(Buffer(spec, "cpu", memories[0]))]
    step, x = capture(lambda x: x * state[0]), Tensor([1.0])
    step(x)
    state[0].buffer = None
    state[0].buffer = Buffer(spec, "cpu", memories[1])  # Python gives it the id of the first
    with pytest.raises(CaptureError, match="something else"):
        step(x)


def test_results_that_are_views_inputs_parameters_or_twice_the_same():
    w, before = nn.Parameter([1.0, 2.0]), Tensor([5.0, 6.0])

    def step(x):
        y = x * w
        return y, y, y[::-1], x, x[:1], w, w[::-1], before, before[1:], y.detach()

    captured = capture(step)
    for k in range(4):
        before.write([k, k + 1.0])
        x = Tensor([k + 1.0, k + 2.0])
        assert numbers(*captured(x)) == numbers(*step(x))


def test_a_parameter_replaced_since_it_was_saved_is_an_error():
    layer = nn.Linear(2, 2)
    y = layer(leaf([1.0, 2.0], dtype="float32")).sum()
    layer.to("float64").to("float32")
    with pytest.raises(GradientError, match=r"linear: expected(?s:.*)replaced since"):
        y.backward()


def test_a_step_without_a_module_name_is_captured():
    names = {"capture": capture, "x": Tensor([1.0])}
    exec("step = capture(lambda x: x * 2)\nfor _ in range(3): y = step(x)", names)
    assert names["y"].item() == 2
