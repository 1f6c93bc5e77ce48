"""Recurrent nets against PyTorch, and the original GRU against its formula in PyTorch's ops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from trivet import Tensor, capture, grad, ops
from trivet.errors import GradientError, OptionError, ShapeError
from trivet.geometry import Packing, Recurrence
from trivet.nn import rnn as rnn_layers
from trivet.ops.packing import PackedSequence

BOUNDS = {"float64": 1e-10, "float32": 2e-5}  # of gradients of order one
MODES = {
    "tanh": (ops.rnn, {"nonlinearity": "tanh"}, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (ops.rnn, {"nonlinearity": "relu"}, torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (ops.lstm, {}, torch.nn.LSTM, {}),
    "gru": (ops.gru, {}, torch.nn.GRU, {}),
}
nets = st.fixed_dictionaries(
    {
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "batch_first": st.booleans(),
        "bias": st.booleans(),
    }
)
sizes = st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4))
few = settings(max_examples=40, deadline=None, derandomize=True)


def close(found, expected, dtype, what=""):
    expected = expected.detach().numpy()
    scale = max(1.0, np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    bound = BOUNDS[dtype]
    assert found.shape == expected.shape and found.dtype == dtype, what
    np.testing.assert_allclose(
        found.numpy(), expected, rtol=bound, atol=bound * scale, err_msg=what
    )


def ours(t, requires_grad=True):
    return Tensor(t.detach().numpy(), requires_grad=requires_grad)


def states_of(mode, options, N, H, rng, dtype):
    """Initial states as torch takes them: a tensor, or two of an LSTM."""
    nets = options["num_layers"] * (1 + options["bidirectional"])
    made = [
        torch.tensor(rng.standard_normal((nets, N, H)), dtype=dtype, requires_grad=True)
        for _ in range(1 + (mode == "lstm"))
    ]
    return tuple(made) if mode == "lstm" else made[0]


def several(states):
    return list(states) if isinstance(states, tuple | list) else [states]


def compare(mode, dtype, options, dims, lengths=None):
    """Value and every gradient; packed and padded again if there are lengths."""
    (T, N, C, H), rng, kind = dims, np.random.default_rng(0), getattr(torch, dtype)
    op, extra, torch_class, torch_extra = MODES[mode]
    torch.manual_seed(0)
    net = torch_class(C, H, **torch_extra, **options).to(kind)
    first = options["batch_first"]
    x = torch.tensor(rng.standard_normal((N, T, C) if first else (T, N, C)), dtype=kind)
    x.requires_grad = True
    start = states_of(mode, options, N, H, rng, kind)
    given_x = x
    if lengths:
        given_x = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
    y, ends = net(given_x, start)
    if lengths:
        y, _ = pad_packed_sequence(y, batch_first=first, total_length=T)

    our_x, weights = ours(x), [ours(p) for p in net.parameters()]
    our_start = [ours(s) for s in several(start)]
    our_given = ops.pack(our_x, lengths, batch_first=first) if lengths else our_x
    our_y, our_ends = op(
        our_given,
        weights,
        our_start if mode == "lstm" else our_start[0],
        batch_first=first,
        bidirectional=options["bidirectional"],
        **extra,
    )
    our_y = ops.unpack(our_y, batch_first=first) if lengths else our_y

    outs, our_outs = [y, *several(ends)], [our_y, *several(our_ends)]
    loss, our_loss = 0.0, 0.0
    for out, our_out in zip(outs, our_outs, strict=True):
        close(our_out, out, dtype, "value")
        weigh = torch.tensor(rng.standard_normal(out.shape), dtype=kind)
        loss, our_loss = (out * weigh).sum() + loss, (our_out * ours(weigh, False)).sum() + our_loss
    leaves = [x, *several(start), *net.parameters()]
    our_leaves = [our_x, *our_start, *weights]
    expected = torch.autograd.grad(loss, leaves)
    for g, e in zip(grad(our_loss, our_leaves), expected, strict=True):
        close(g, e, dtype, "gradient")


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("mode", MODES)
@few
@given(options=nets, dims=sizes)
def test_padded_batches_agree_with_torch(mode, dtype, options, dims):
    compare(mode, dtype, options, dims)


@pytest.mark.parametrize("mode", MODES)
@few
@given(options=nets, lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_packed_batches_agree_with_torch(mode, options, lengths, data):
    T = data.draw(st.integers(max(lengths), 6))
    compare(mode, "float64", options, (T, len(lengths), 3, 2), lengths)


def original_gru(x, h, w_ih, w_hh, b_ih, b_hh):
    """Cho et al. 2014, the reset gate before the product; one step after the other."""
    H, ys = h.shape[-1], []
    for v in x:
        a = v @ w_ih.T + b_ih
        u = h @ w_hh[: 2 * H].T + b_hh[: 2 * H]
        r, z = torch.sigmoid(a[:, :H] + u[:, :H]), torch.sigmoid(a[:, H : 2 * H] + u[:, H:])
        n = torch.tanh(a[:, 2 * H :] + (r * h) @ w_hh[2 * H :].T + b_hh[2 * H :])
        h = (1 - z) * n + z * h
        ys.append(h)
    return torch.stack(ys), h


@pytest.mark.parametrize("dtype", BOUNDS)
@few
@given(dims=sizes)
def test_the_original_gru_agrees_with_its_formula(dtype, dims):
    (T, N, C, H), rng = dims, np.random.default_rng(0)
    shapes = [(T, N, C), (1, N, H), (3 * H, C), (3 * H, H), (3 * H,), (3 * H,)]
    leaves = [
        torch.tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in shapes
    ]
    x, h0, *weights = leaves
    y, h = original_gru(x, h0[0], *weights)
    our_leaves = [ours(t) for t in leaves]
    our_y, our_h = ops.gru(our_leaves[0], our_leaves[2:], our_leaves[1], form="original")
    close(our_y, y, dtype)
    close(our_h, h[None], dtype)
    expected = torch.autograd.grad((y * y).sum() + h.sum(), leaves)
    for g, e in zip(grad((our_y * our_y).sum() + our_h.sum(), our_leaves), expected):
        close(g, e, dtype)


def gru_weights(rng, inputs=2, hidden=2):
    shapes = [(3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)]
    return [Tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]


def test_the_two_forms_of_gru_differ(rng):
    x, weights = Tensor(rng.standard_normal((4, 2, 2))), gru_weights(rng)
    y, other = (ops.gru(x, weights, form=form)[0].numpy() for form in ("cudnn", "original"))
    assert np.abs(y - other).max() > 1e-2


def test_outputs_that_nobody_uses_get_zero_gradients(rng):
    x, weights = Tensor(rng.standard_normal((4, 2, 2)), requires_grad=True), gru_weights(rng)
    y, h = ops.gru(x, weights)
    last, end = grad(y[-1].sum(), [x], keep_graph=True)[0], grad(h.sum(), [x])[0]
    np.testing.assert_array_equal(last.numpy(), end.numpy())


def test_nan_stays_in_its_sequence_and_inf_saturates(rng):
    x = rng.standard_normal((3, 3, 2))
    x[1, 0, 0], x[1, 1, 0] = np.nan, np.inf
    y = ops.gru(Tensor(x), gru_weights(rng))[0].numpy()
    assert np.isnan(y[1:, 0]).any() and np.isfinite(y[0]).all() and np.isfinite(y[:, 1:]).all()


def test_views_are_taken_as_operands(rng):
    x, weights = rng.standard_normal((2, 4, 6)), gru_weights(rng)
    view = Tensor(x)[:, ::-1, ::3]
    y, _ = ops.gru(view, weights, batch_first=True)
    expected, _ = ops.gru(Tensor(x[:, ::-1, ::3].transpose(1, 0, 2)), weights)
    np.testing.assert_array_equal(y.numpy(), expected.numpy().transpose(1, 0, 2))


def test_between_sees_what_one_layer_hands_to_the_next(rng):
    weights, seen = [*gru_weights(rng), *gru_weights(rng)], []

    def between(rows):
        seen.append(rows.shape)
        return rows * 0.0

    x = Tensor(rng.standard_normal((4, 3, 2)), requires_grad=True)
    y, _ = ops.gru(x, weights, between=between)
    assert seen == [(4, 3, 2)]
    assert not grad(y.sum(), [x])[0].numpy().any()


def test_inference_makes_no_auxiliaries(rng):
    x, weights = Tensor(rng.standard_normal((4, 3, 2))), gru_weights(rng)
    y, _ = ops.gru(x, weights)
    free, _ = ops.gru(x, [w.detach() for w in weights])
    assert y.requires_grad and not free.requires_grad
    np.testing.assert_array_equal(y.numpy(), free.numpy())


def test_a_weight_written_before_backward_is_noticed(rng):
    weights = gru_weights(rng)
    y, _ = ops.gru(Tensor(rng.standard_normal((4, 3, 2))), weights)
    weights[1].write(np.zeros((6, 2)))
    with pytest.raises(GradientError, match="gru: expected the float64"):
        y.sum().backward()


def test_packing_restores_the_callers_order(rng):
    x = Tensor(rng.standard_normal((4, 3, 2)))
    packed = ops.pack(x, [1, 4, 2])
    assert (packed.order, packed.batch_sizes) == ((1, 2, 0), (3, 2, 1, 1))
    back = ops.unpack(packed).numpy()
    for sequence, length in enumerate([1, 4, 2]):
        np.testing.assert_array_equal(back[:length, sequence], x.numpy()[:length, sequence])
        assert not back[length:, sequence].any()
    doubled = PackedSequence(packed.data * 2.0, packed.packing)
    np.testing.assert_array_equal(ops.unpack(doubled).numpy(), 2 * back)


def test_packed_data_of_another_net_is_refused(rng):
    with pytest.raises(ShapeError, match=r"expected 3 rows; got data \(2, 1\)"):
        PackedSequence(Tensor(np.zeros((2, 1))), Packing((1, 2), 2))
    packed = ops.pack(Tensor(np.zeros((2, 3))), [1, 2, 2])
    with pytest.raises(ShapeError, match=r"packed data \(rows, I\); got \(5,\)"):
        ops.gru(packed, gru_weights(rng))


def test_flops_of_a_layer():
    assert Recurrence("gru", (64,) * 150).flops(125, 100) == 2 * 9600 * 300 * 225


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_load_torchs_state_and_agree(kind):
    options = dict(num_layers=2, bidirectional=True, batch_first=True, dropout=0.5)
    net = getattr(torch.nn, kind)(3, 4, **options).eval()
    layer = getattr(rnn_layers, kind)(3, 4, **options).eval()
    assert list(layer.named_parameters()) == [name for name, _ in net.named_parameters()]
    layer.load_state_dict({name: p.detach().numpy() for name, p in net.named_parameters()})
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    (y, ends), (our_y, our_ends) = net(x), layer(ours(x))
    for found, expected in zip([our_y, *several(our_ends)], [y, *several(ends)], strict=True):
        close(found, expected, "float32")
    assert layer.flops((x,), (our_y, our_ends)) == 2 * 10 * sum(
        p.numel() for p in net.parameters() if p.ndim == 2
    )
    packed, _ = layer(ops.pack(ours(x), [2, 5], batch_first=True))
    given = pack_padded_sequence(x, [2, 5], batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(net(given)[0], batch_first=True)
    close(ops.unpack(packed, batch_first=True), expected, "float32")


def test_layers_start_uniform_and_drop_only_in_training(rng):
    layer = rnn_layers.GRU(3, 16, 2, dropout=0.5, bias=False)
    assert len(layer.parameters()) == 4
    assert all(0.2 < np.abs(p.numpy()).max() <= 0.25 for p in layer.parameters())
    x = Tensor(rng.standard_normal((4, 2, 3)), "float32")
    a, b = layer(x)[0].numpy(), layer(x)[0].numpy()
    assert (a != b).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


def test_layers_refuse_sizes_that_make_no_sense():
    with pytest.raises(OptionError, match="got 3, 0 and 1"):
        rnn_layers.LSTM(3, 0)


def test_the_form_of_a_layer_is_the_ops(rng):
    layer, x = rnn_layers.GRU(2, 3, form="original"), Tensor(np.ones((4, 2, 2), "float32"))
    expected, _ = ops.gru(x, layer.parameters(), form="original")
    np.testing.assert_array_equal(layer(x)[0].numpy(), expected.numpy())


def test_a_captured_step_replays_the_same_bits(rng):
    weights = gru_weights(rng)

    def step(x):
        y, h = ops.gru(ops.pack(x, [2, 4, 3]), weights)
        return ops.unpack(y), *grad((h * h).sum(), weights)

    captured = capture(step)
    for _ in range(4):
        x = Tensor(rng.standard_normal((4, 3, 2)))
        for found, expected in zip(captured(x), step(x), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_nan_passes_relu_as_in_pytorch():
    ours, theirs = (
        rnn_layers.RNN(2, 3, nonlinearity="relu"),
        torch.nn.RNN(2, 3, nonlinearity="relu"),
    )
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    data = np.array([[[1.0, np.nan]], [[1.0, 1.0]]], "float32")
    x, tx = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    ours(x)[0].sum().backward()
    theirs(tx)[0].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-5)
