"""Tensor and tape: accumulation, saved values, memory, dtypes."""

import gc
import weakref

import numpy as np
import pytest
from trivet import Tensor, device, grad, no_grad, ops, registry
from trivet.errors import DeviceError, DtypeError, GradientError, ShapeError
from trivet.launch import Trace, sending_to
from trivet.tape import compute, record


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


def test_fan_out_adds():
    x = leaf(2.0, 3.0)
    (x * x + x + x * 4).sum().backward()
    assert x.grad.numpy().tolist() == [9, 11]  # 2x + 5


def test_each_backward_adds_exactly_once_more():
    x = leaf(2.0)
    y = (x * x * x).sum()
    for times in (1, 2, 3):
        y.backward(keep_graph=True)
        assert x.grad.numpy() == times * 12
    (x * 5).sum().backward()
    assert x.grad.numpy() == 3 * 12 + 5


def test_gradients_that_start_as_one_value_grow_apart():
    a, b = leaf(1.0), leaf(1.0)
    (a + b).sum().backward()
    (a * 10).sum().backward()
    assert (a.grad.numpy(), b.grad.numpy()) == (11, 1)


def test_every_accumulation_is_a_launch():
    x, trace = leaf(2.0), Trace()
    (x * 1).sum().backward()
    with sending_to(trace):
        (x * x).sum().backward()
    names = [note.call.name for note in trace.notes]
    assert names[-2:] == ["add", "accumulate"] and x.grad.numpy() == 5


def test_an_input_without_a_gradient_ends_the_walk():
    x = leaf(2.0)
    h = x * x
    y = record(compute("tanh", h, geometry=())[0], (h,), gradient=lambda gy, needs: (None,))
    (y + x * 3).sum().backward()
    assert x.grad.numpy() == 3


def test_the_gradient_of_an_intermediate_value():
    x = leaf(2.0, 3.0)
    h = x * x
    gh, gx = grad((h * h).sum(), [h, x])
    assert gh.numpy().tolist() == [8, 18] and gx.numpy().tolist() == [32, 108]
    assert x.grad is None


def test_recording_is_off_in_backward_unless_asked():
    x = leaf(2.0)
    y = (x * x * x).sum()
    assert not grad(y, [x], keep_graph=True)[0].requires_grad
    (g,) = grad(y, [x], create_graph=True)
    (h,) = grad(g.sum(), [x], create_graph=True)
    assert h.numpy() == 12 and grad(h.sum(), [x])[0].numpy() == 6


def test_a_saved_output_is_linked_for_the_second_derivative():
    x = leaf(0.5)  # tanh saves its own result
    (g,) = grad(ops.tanh(x * 3).sum(), [x], create_graph=True)
    (h,) = grad(g.sum(), [x])
    y = np.tanh(1.5)
    assert h.numpy() == pytest.approx(-2 * y * (1 - y * y) * 9)


def both(x):
    """An op with two outputs, 2x and 3x, that keeps no value."""
    ys = tuple(compute("mul", x, compute("fill", x, geometry=((), k))[0])[0] for k in (2.0, 3.0))

    def gradient(gys, needs):
        parts = [g * k for g, k in zip(gys, (2.0, 3.0)) if g is not None]
        return (parts[0] if len(parts) == 1 else parts[0] + parts[1],)

    return record(ys, (x,), gradient=gradient)


def test_an_op_with_several_outputs_gets_the_gradients_that_flowed():
    x = leaf(1.0, 2.0)
    a, b = both(x)
    assert grad((a * b).sum(), [x], keep_graph=True)[0].numpy().tolist() == [12, 24]
    assert grad(b.sum(), [x], keep_graph=True)[0].numpy().tolist() == [3, 3]
    ga, gx = grad((a * a).sum(), [a, x])
    assert ga.numpy().tolist() == [4, 8] and gx.numpy().tolist() == [8, 16]


def test_a_saved_value_changed_in_place_is_an_error():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x * w).sum()
    w[:1].write([0.0])  # through a view: the memory is one
    with pytest.raises(GradientError) as e:
        y.backward()
    assert "mul: expected the float64 (2,) plain saved for its gradient unchanged" in str(e.value)
    assert "\n  Fix: call backward before the write" in str(e.value)


def test_a_value_that_was_not_saved_may_change():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = (x + w).sum()
    w.write([0.0, 0.0])
    y.backward()
    assert w.grad.numpy().tolist() == [1, 1]


def test_buffers_go_as_soon_as_nobody_needs_them():
    gc.disable()  # reference counts alone must do: a cycle would hold on to device memory
    try:
        x = leaf(1.0, 2.0)
        unsaved, saved = x + 1, x * 2
        alive = [weakref.ref(t.buffer) for t in (unsaved, saved)]
        y = (ops.tanh(unsaved + saved) * saved).sum()
        del unsaved, saved
        assert [ref() is not None for ref in alive] == [False, True]
        y.backward()
        assert not any(ref() for ref in alive)  # although y, and so the graph, is still there
    finally:
        gc.enable()


def test_a_deep_tape_meets_no_recursion_limit():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + x
    y.sum().backward()
    assert x.grad.numpy() == 20_001
    y = x
    for _ in range(20_000):
        y = y + x
    del y  # nor does one that is dropped unused


def test_a_second_backward_needs_the_graph_kept():
    x = leaf(2.0)
    y = x * x
    y.sum().backward()
    with pytest.raises(GradientError, match=r"mul: expected values saved(?s:.*)keep_graph=True"):
        y.sum().backward()


def test_a_gradient_given_to_backward_weighs_the_elements():
    x = leaf(1.0, 2.0)
    (x * x).backward(Tensor(np.array([1.0, 10.0])))
    assert x.grad.numpy().tolist() == [2, 40]
    with pytest.raises(
        GradientError, match=r"Expected a gradient float64 \(2,\); got float32 \(2,"
    ):
        (x * x).backward(Tensor([1.0, 1.0]))


def test_what_cannot_be_differentiated_says_so():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match=r"Expected a scalar(?s:.*)Fix: reduce it with y.sum"):
        (x * x).backward()
    with no_grad(), pytest.raises(GradientError, match="check that recording is on"):
        x.sum().backward()
    with pytest.raises(GradientError, match=r"xs that y depends on; got \[Tensor\(float64 \(1,\)"):
        grad(x.sum(), [leaf(1.0)])


def test_integers_are_neither_truncated_nor_differentiated():
    assert Tensor([1, 2]).dtype == "int64" and (Tensor([1, 2]) * 3).numpy().tolist() == [3, 6]
    with pytest.raises(DtypeError, match="Expected int64; got float64, which would be truncated"):
        Tensor([1.5], "int64")
    with pytest.raises(DtypeError, match="would be truncated"):
        Tensor([1]).write([1.5])
    with pytest.raises(DtypeError, match="float dtype where a gradient is required; got int64"):
        Tensor([1], requires_grad=True)
    with pytest.raises(DtypeError, match=r"A Tensor holds one of float16(?s:.*); got complex128"):
        Tensor([1j])


@pytest.mark.parametrize(
    "data, dtype, says",
    [
        (
            [2**40],
            "int32",
            r"Expected int32, \[-2147483648, 2147483647\]; got numbers in \[1099511",
        ),
        ([3, -1], "uint8", r"Expected uint8, \[0, 255\]; got numbers in \[-1, 3\]"),
        (np.array([1j]), "float32", "Expected real numbers; got complex128 from ndarray"),
        (["1.5"], "float32", "Expected real numbers; got str96 from list"),
        ([1.0], "single?", "A Tensor holds one of (?s:.*); got single?"),
    ],
)
def test_host_data_that_would_change_is_refused(data, dtype, says):
    with pytest.raises(DtypeError, match=says):
        Tensor(data, dtype)


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ShapeError, match=r"Expected rows of equal length; got \[\[1.0\], \[\]\]"):
        Tensor([[1.0], []])


@pytest.mark.parametrize("number, dtype", [(2**40, "int32"), (-1, "uint8"), (0.5, "int64")])
def test_a_number_outside_an_integer_dtype_is_refused(number, dtype):
    x = Tensor([1], dtype)
    with pytest.raises(DtypeError, match=f"add: {dtype} would truncate {number}"):
        x + number
    with pytest.raises(DtypeError, match=f"pad: {dtype} would truncate {number}"):
        ops.pad(x, [(1, 1)], value=number)


def test_what_a_dtype_cannot_hold_is_inf_without_a_warning():
    x = Tensor([60000.0], "float16")  # warnings are errors here
    assert [(x * 2).item(), (x * 1e9).item(), Tensor([1e9]).to("float16").item()] == [np.inf] * 3


def test_python_numbers_take_the_tensors_dtype():
    x = Tensor([1.0], "float32")
    for y in (x + 1, 1.5 * x, np.float64(2) * x):
        assert y.dtype == "float32"
    with pytest.raises(DtypeError, match="matmul: expected one dtype; got float32 and float64"):
        ops.matmul(Tensor([[1.0]]), Tensor([[1.0]], "float64"))


def test_a_tensor_keeps_its_shape():
    with pytest.raises(ShapeError, match=r"write: expected data \(2,\); got \(1,\)(?s:.*)Fix:"):
        leaf(1.0, 2.0).write([1.0])


def test_views_share_memory_and_copies_do_not():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    column, row, turned = x[:, 1], x[1], x.T
    x.write(-np.arange(6.0).reshape(2, 3))
    assert column.numpy().tolist() == [-1, -4] and row.numpy().tolist() == [-3, -4, -5]
    turned[0].write([7.0, 8.0])
    assert x.numpy().tolist() == [[7, -1, -2], [8, -4, -5]]
    host = x.numpy()
    host[...] = 0
    assert x.numpy()[0, 0] == 7


def test_a_tensor_is_iterated_by_rows_and_read_by_numpy():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    a, b = x
    assert a.numpy().tolist() == [1, 2] and [t.item() for t in b] == [3, 4]
    assert np.asarray(x).tolist() == x.numpy().tolist() and Tensor(x, "float64").dtype == "float64"
    with pytest.raises(TypeError):
        1.0 in x  # noqa: B015  it would compare objects


@pytest.mark.parametrize("index", [(..., ...), slice(None, None, 0), slice(1.5, None)])
def test_an_index_that_makes_no_sense_is_refused(index):
    with pytest.raises(ShapeError, match=r"index: expected(?s:.*)Fix:"):
        Tensor([[1.0]])[index]


def test_shapes_and_widths_come_as_lists_too():
    x = Tensor([1.0, 2.0])
    assert x.reshape([2, 1]).shape == (2, 1) and x[:1].reshape().shape == ()
    assert ops.pad(x, [[1, 0]]).shape == (3,)
    with pytest.raises(ShapeError, match="integers and none negative"):
        ops.pad(x, [(1.9, 0)])


def test_a_gradient_is_never_a_view_of_something_else():
    x = leaf(1.0, 2.0)
    x.sum().backward()  # the gradient of a sum is one number seen twice
    x.sum().backward()
    assert x.grad.numpy().tolist() == [2, 2]


def test_tensors_on_two_devices_do_not_meet(monkeypatch):
    monkeypatch.setitem(device._EMPTY, "cpu:1", device._EMPTY["cpu"])
    monkeypatch.setitem(registry.PREFERENCE, "cpu:1", registry.PREFERENCE["cpu"])
    a, b = Tensor([1.0]), Tensor([1.0], device="cpu:1")
    with pytest.raises(
        DeviceError, match=r"add: expected tensors on one device; got cpu and cpu:1"
    ):
        a + b
    assert (a + b.to(device="cpu")).item() == 2
    x = leaf(1.0, 2.0)
    (x.to(device="cpu:1") * 3).sum().backward()  # the gradient comes home
    assert x.grad.device == "cpu" and x.grad.numpy().tolist() == [3, 3]
    with pytest.raises(DeviceError, match="Expected one of the devices cpu, cpu:1; got 'cuda'"):
        Tensor([1.0], device="cuda")
