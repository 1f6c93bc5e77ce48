"""Models from ONNX train: against PyTorch, and captured."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import build, normal, outputs
from trivet import Tensor, capture, ops, optim

DATA = Path(os.environ.get("ROSETTA_DATA", ""))
needs_data = pytest.mark.skipif(
    "ROSETTA_DATA" not in os.environ, reason="needs ROSETTA_DATA with models/onnx"
)


CNN = """
    a = Conv <pads = [1, 1, 1, 1]> (x, conv_w, conv_b)
    b = BatchNormalization (a, bn_w, bn_b, bn_mean, bn_var)
    c = Relu (b)
    d = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
    s = Shape (d)
    zero = Constant <value = int64[1] {0}> ()
    n = Gather (s, zero)
    rest = Constant <value = int64[1] {-1}> ()
    shape = Concat <axis = 0> (n, rest)
    e = Reshape (d, shape)
    y = Gemm <transB = 1> (e, fc_w, fc_b)
"""


def cnn_weights(rng):
    return {
        "conv_w": normal(rng, 4, 2, 3, 3),
        "conv_b": normal(rng, 4),
        "bn_w": rng.uniform(0.5, 1.5, 4).astype("float32"),
        "bn_b": normal(rng, 4),
        "bn_mean": np.zeros(4, "float32"),
        "bn_var": np.ones(4, "float32"),
        "fc_w": normal(rng, 3, 36),
        "fc_b": normal(rng, 3),
    }


def torch_cnn(weights):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 3),
    )
    renamed = {"conv": "0", "bn": "1", "fc": "5"}
    kinds = {"w": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"}
    state = {
        f"{renamed[k.split('_')[0]]}.{kinds[k.split('_')[1]]}": torch.tensor(v)
        for k, v in weights.items()
    }
    net.load_state_dict(state, strict=False)
    return net, dict(zip(weights, state))


def test_one_step_of_sgd_equals_torchs(rng):
    weights = cnn_weights(rng)
    net, (other, names) = build(CNN, weights).train(), torch_cnn(weights)
    x, target = normal(rng, 5, 2, 6, 6), rng.integers(0, 3, 5)
    loss = ops.cross_entropy(net(Tensor(x)), Tensor(target))
    loss.backward()
    optim.SGD(net.parameters(), rate=0.1).step()
    theirs = torch.nn.functional.cross_entropy(other(torch.tensor(x)), torch.tensor(target))
    theirs.backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    state, expected = net.state_dict(), other.state_dict()
    assert set(state) == set(weights)
    for name, torchs in names.items():
        np.testing.assert_allclose(state[name], expected[torchs].numpy(), 1e-4, 1e-5, err_msg=name)


def test_losses_fall_and_a_captured_step_replays_the_same(rng):
    weights = cnn_weights(rng)
    x, target = Tensor(normal(rng, 8, 2, 6, 6)), Tensor(rng.integers(0, 3, 8))
    losses = []
    for captured in (False, True):
        net = build(CNN, weights).train()
        optimiser = optim.SGD(net.parameters(), rate=0.05)

        def step(x, target, net=net, optimiser=optimiser):
            for p in net.parameters():
                p.grad = None
            loss = ops.cross_entropy(net(x), target)
            loss.backward()
            optimiser.step()
            return loss

        run = capture(step) if captured else step
        losses.append([run(x, target).item() for _ in range(12)])
    eager, replayed = losses
    assert eager[-1] < 0.2 * eager[0]
    assert eager == replayed


def test_an_embedding_and_a_gru_train_as_torchs(rng):
    """PyTorch's gates r, z, n in ONNX's order z, r, h."""
    table, gru = torch.nn.Embedding(10, 4), torch.nn.GRU(4, 3)
    w, r = (getattr(gru, f"weight_{k}_l0").detach().numpy() for k in ("ih", "hh"))
    b = [getattr(gru, f"bias_{k}_l0").detach().numpy() for k in ("ih", "hh")]

    def onnxs(t):
        return np.concatenate([t[3:6], t[:3], t[6:]])

    net = build(
        "e = Gather (table, ids) y, last = GRU <hidden_size = 3, linear_before_reset = 1> "
        "(e, w, r, b)",
        {
            "table": table.weight.detach().numpy(),
            "w": onnxs(w)[None],
            "r": onnxs(r)[None],
            "b": np.concatenate([onnxs(t) for t in b])[None],
        },
        inputs={"ids": ("int64", [5, 2])},
        outputs="last",
    )
    ids, target = rng.integers(0, 10, (5, 2)), normal(rng, 1, 2, 3)
    optimiser = optim.SGD(net.parameters(), rate=0.5)
    torchs = torch.optim.SGD([*table.parameters(), *gru.parameters()], lr=0.5)
    for _ in range(5):
        optimiser.zero_grad()
        loss = ops.mse_loss(net(Tensor(ids)), Tensor(target))
        loss.backward()
        optimiser.step()
        torchs.zero_grad()
        theirs = torch.nn.functional.mse_loss(
            gru(table(torch.tensor(ids)))[1], torch.tensor(target)
        )
        theirs.backward()
        torchs.step()
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)
    np.testing.assert_allclose(net.state_dict()["table"], table.weight.detach().numpy(), 1e-4, 1e-5)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["RNN", "GRU", "LSTM"]),
    st.sampled_from(["forward", "reverse", "bidirectional"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_recurrent_layers_agree_with_torch(kind, direction, packed, batch_first, states, number):
    rng = np.random.default_rng(number)
    steps, batch, inputs, hidden = rng.integers(1, 5, 4).tolist()
    both = direction != "forward"
    torchs = getattr(torch.nn, kind)(inputs, hidden, bidirectional=both, batch_first=batch_first)
    halves = {"forward": [""], "reverse": ["_reverse"], "bidirectional": ["", "_reverse"]}[
        direction
    ]
    order = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}[kind]

    def stacked(*names):
        parts = [[torchs_gates(torchs, f"{n}_l0{d}", order) for n in names] for d in halves]
        return np.stack([np.concatenate(p) for p in parts])

    weights = {
        "w": stacked("weight_ih"),
        "r": stacked("weight_hh"),
        "b": stacked("bias_ih", "bias_hh"),
    }
    lengths = np.sort(rng.integers(1, steps + 1, batch))[::-1].copy()
    lengths[0] = steps
    if packed:
        weights["n"] = lengths.astype("int32")
    all_states = [normal(rng, 2 if both else 1, batch, hidden) for _ in range(1 + (kind == "LSTM"))]
    chosen = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[direction]
    if states:
        for i, s in enumerate(all_states):
            weights[f"s{i}"] = s[chosen].swapaxes(0, 1) if batch_first else s[chosen]
    names = ["x", "w", "r", "b", "n" if packed else "", *(f"s{i}" * states for i in (0, 1))]
    names = names[: 5 + len(all_states)]
    attributes = f'direction = "{direction}", layout = {int(batch_first)}, hidden_size = {hidden}'
    attributes += ", linear_before_reset = 1" * (kind == "GRU")
    made = ["y", "h", "c"][: 1 + len(all_states)]
    given = ", ".join(name or '""' for name in names)
    node = f"{', '.join(made)} = {kind} <{attributes}> ({given})"
    net = build(node, weights, outputs=" ".join(made))
    x = normal(rng, *((batch, steps) if batch_first else (steps, batch)), inputs)
    got = outputs(net, [Tensor(x)])

    given = torch.tensor(x)
    if packed:
        given = torch.nn.utils.rnn.pack_padded_sequence(given, torch.tensor(lengths), batch_first)
    start = [torch.tensor(s) for s in all_states]
    start = (tuple(start) if kind == "LSTM" else start[0]) if states else None
    y, last = torchs(given, start)
    y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first)[0] if packed else y
    y = y.detach().numpy().reshape(*y.shape[:2], -1, hidden)[:, :, chosen]
    y = y if batch_first else y.transpose(0, 2, 1, 3)
    lasts = [v.detach().numpy()[chosen] for v in (last if kind == "LSTM" else [last])]
    lasts = [v.swapaxes(0, 1) if batch_first else v for v in lasts]
    for ours, theirs in zip(got, [y, *lasts], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, 1e-4, 1e-5)


def torchs_gates(module, name, order):
    blocks = np.split(getattr(module, name).detach().numpy(), len(order))
    return np.concatenate([blocks[i] for i in order])
