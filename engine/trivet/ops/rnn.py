"""Recurrent nets: plain, LSTM and GRU, in layers and both directions, padded or packed.

A layer in one direction is one kernel over packed rows: all rows of step 0, then those of step 1.
Equal lengths are the case of equally many rows per step; their rows come as (T, N, I), in any
layout.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import OptionError, ShapeError
from ..geometry import Recurrence
from ..launch import launch
from ..tape import Tensor, compute, record, records
from .assemble import concat, stack
from .checks import floats, full
from .op import Sample, no_second_derivative, op
from .packing import PackedSequence, order_rows
from .shape import index, transpose

Between = Callable[[Tensor], Tensor]


def _weights(rng, gates, inputs, hidden, layers=1, directions=1, bias=True):
    weights = []
    for layer in range(layers):
        columns = inputs if layer == 0 else directions * hidden
        for _ in range(directions):
            shapes = [(gates * hidden, columns), (gates * hidden, hidden)]
            shapes += [(gates * hidden,)] * (2 * bias)
            weights += [rng.uniform(-0.7, 0.7, shape) for shape in shapes]
    return weights


def _layer_samples(rng, gates, variants):
    """Samples of one mode; the states come as h0 alone."""
    x, h0 = rng.standard_normal((3, 2, 3)), rng.standard_normal((1, 2, 2))
    for options in variants:
        weights = _weights(rng, gates, 3, 2)
        yield Sample((x, weights, h0), options, differentiable=(0, 1, 2), twice=False)
    deep = _weights(rng, gates, 3, 2, layers=2, directions=2, bias=False)
    options = {**variants[-1], "bidirectional": True, "batch_first": True}
    yield Sample((x, deep), options, differentiable=(0, 1), twice=False)
    yield Sample((x[:, :0], _weights(rng, gates, 3, 2)), differentiable=(0, 1), twice=False)
    yield Sample((x[:1], _weights(rng, gates, 3, 1)), differentiable=(0, 1), twice=False)
    for args, text in [
        ((x, _weights(rng, gates, 2, 2)), f"weight_ih_l0 ({2 * gates}, 3)"),
        ((x[0], weights), "x (T, N, I) with T >= 1; got (2, 3)"),
        ((x[:0], weights), "x (T, N, I) with T >= 1; got (0, 2, 3)"),
        ((x, weights[:3]), "4 weights per layer and direction; got 3"),
        ((x, weights, h0[:, :1]), "initial states (1, 2, 2); got (1, 1, 2)"),
    ]:
        yield Sample(args, error=(ShapeError, text))


def rnn_samples(rng):
    yield from _layer_samples(rng, 1, [{}, {"nonlinearity": "relu"}])
    args = rng.standard_normal((1, 1, 1)), _weights(rng, 1, 1, 1)
    yield Sample(args, {"nonlinearity": "elu"}, error=(OptionError, "'tanh' or 'relu'; got 'elu'"))


@op(rnn_samples)
def rnn(
    x: Tensor | PackedSequence,
    weights: list[Tensor],
    h0: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    batch_first: bool = False,
    bidirectional: bool = False,
    between: Between | None = None,
) -> tuple[Tensor | PackedSequence, Tensor]:
    """Elman's net: ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        weights: For each layer and in it each direction: w_ih, w_hh[, b_ih, b_hh].
        h0: Initial states; zeros unless given. A packed batch's are in the caller's order.
        nonlinearity: "tanh" or "relu", whose derivative at 0 counts as 0.
        batch_first: x and y are (N, T, ...).
        bidirectional: A second net reads each sequence from its end; y holds both side by side.
        between: Applied to what one layer hands to the next, such as a dropout: (T, N, D*H), of a
            packed batch (rows, D*H).

    Shapes: x (T, N, I), h0 (layers * D, N, H), w_ih (H, I, or D*H above the first layer),
        w_hh (H, H), biases (H,) -> y (T, N, D*H) and the last states (layers * D, N, H); D is 2
        if bidirectional, else 1. A PackedSequence makes y one too.

    Raises:
        ShapeError: x, weights and states that do not fit each other.
        OptionError: Another nonlinearity.

    Source: Elman, "Finding structure in time", Cognitive Science 14, 1990; two biases and the
        order of the weights as in PyTorch.

    >>> one = Tensor([[1.0]])
    >>> y, h = rnn(Tensor([[[1.0]], [[2.0]]]), [one, one], nonlinearity="relu")
    >>> y.numpy().ravel(), h.shape
    (array([1., 3.], dtype=float32), (1, 1, 1))
    """
    if nonlinearity not in ("tanh", "relu"):
        raise OptionError(
            f"rnn: expected nonlinearity 'tanh' or 'relu'; got {nonlinearity!r}.", "pick one."
        )
    options = (batch_first, bidirectional, between)
    y, (h,) = _recurrent("rnn", f"rnn_{nonlinearity}", x, weights, [h0], *options)
    return y, h


def gru_samples(rng):
    yield from _layer_samples(rng, 3, [{}, {"form": "original"}])
    args = rng.standard_normal((1, 1, 1)), _weights(rng, 3, 1, 1)
    yield Sample(args, {"form": "keras"}, error=(OptionError, "got 'keras'"))


@op(gru_samples)
def gru(
    x: Tensor | PackedSequence,
    weights: list[Tensor],
    h0: Tensor | None = None,
    *,
    form: str = "cudnn",
    batch_first: bool = False,
    bidirectional: bool = False,
    between: Between | None = None,
) -> tuple[Tensor | PackedSequence, Tensor]:
    """Gated recurrent units: ``h' = (1 - z) * n + z * h`` with the gates, in this order, ::

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))    "cudnn", as in cuDNN and PyTorch
        n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)    "original", Keras's reset_after=False

    Args:
        form: "cudnn" or "original": where the reset gate works.
        weights, h0, batch_first, bidirectional, between: As for ``rnn``.

    Shapes: as for ``rnn``, w_ih (3*H, I), w_hh (3*H, H), biases (3*H,).

    Raises:
        ShapeError: x, weights and states that do not fit each other.
        OptionError: Another form.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014
        (there z and 1 - z change places); two biases and the order of gates as in PyTorch.

    >>> w = Tensor([[0.0], [0.0], [0.0]])
    >>> y, h = gru(Tensor([[[1.0]]]), [w, w], Tensor([[[4.0]]]))
    >>> y.item()
    2.0
    """
    modes = {"cudnn": "gru", "original": "gru_original"}
    if form not in modes:
        raise OptionError(
            f"gru: expected form 'cudnn' or 'original'; got {form!r}.",
            "weights trained in one form mean something else in the other.",
        )
    options = (batch_first, bidirectional, between)
    y, (h,) = _recurrent("gru", modes[form], x, weights, [h0], *options)
    return y, h


def lstm_samples(rng):
    x, h0 = rng.standard_normal((1, 1, 1)), rng.standard_normal((1, 1, 1))
    yield Sample((x, _weights(rng, 4, 1, 1), [h0]), error=(ShapeError, "two initial states"))
    for sample in _layer_samples(rng, 4, [{}]):
        x, weights, *h0 = sample.args
        states = [[h, rng.standard_normal(h.shape)] for h in h0]
        yield Sample((x, weights, *states), sample.kwargs, sample.differentiable, sample.error,
                     twice=False)  # fmt: skip


@op(lstm_samples)
def lstm(
    x: Tensor | PackedSequence,
    weights: list[Tensor],
    states: tuple[Tensor, Tensor] | None = None,
    *,
    batch_first: bool = False,
    bidirectional: bool = False,
    between: Between | None = None,
) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
    """Long short-term memory with a forget gate: ``c' = f * c + i * g``, ``h' = o * tanh(c')``.

    The gates, in this order in the weights: ``i, f, g, o = sigmoid, sigmoid, tanh, sigmoid`` of
    ``W_ih x + b_ih + W_hh h + b_hh``.

    Args:
        states: Initial h and c; zeros unless given.
        weights, batch_first, bidirectional, between: As for ``rnn``.

    Shapes: as for ``rnn``, w_ih (4*H, I), w_hh (4*H, H), biases (4*H,); the states are two.

    Raises:
        ShapeError: x, weights and states that do not fit each other.

    Source: Gers, Schmidhuber, Cummins, "Learning to forget", Neural Computation 12, 2000, without
        peepholes; two biases and the order of gates as in PyTorch.

    >>> w = Tensor([[0.0], [0.0], [0.0], [0.0]])
    >>> y, (h, c) = lstm(Tensor([[[1.0]]]), [w, w], (Tensor([[[0.0]]]), Tensor([[[4.0]]])))
    >>> c.item()
    2.0
    """
    states = (None, None) if states is None else states
    if not isinstance(states, tuple | list) or len(states) != 2:
        raise ShapeError(
            f"lstm: expected two initial states, h and c; got {states!r}.", "pass (h0, c0)."
        )
    options = (batch_first, bidirectional, between)
    y, (h, c) = _recurrent("lstm", "lstm", x, weights, states, *options)
    return y, (h, c)


def _recurrent(op, mode, x, weights, states, batch_first, bidirectional, between):
    """(y, last states) of all layers and directions; ``states`` are tensors or None each."""
    rows, batch_sizes, order = _steps(op, x, batch_first)
    floats(op, rows, *weights, *(s for s in states if s is not None))
    bias, directions = any(w.ndim == 1 for w in weights), 1 + bidirectional
    directed = [Recurrence(mode, batch_sizes, reverse, bias) for reverse in (False, True)]
    per = 4 if bias else 2
    hidden = _check_weights(op, directed[0].gates, rows.shape[-1], weights, per, directions)
    nets = len(weights) // per
    states = [_start(op, s, rows, (nets, batch_sizes[0], hidden), order) for s in states]

    lasts = []
    for first in range(0, nets, directions):  # of each layer
        if first and between:
            rows = between(rows)
        ys = []
        for net in range(first, first + directions):
            own = [index(s, net) for s in states], weights[net * per : (net + 1) * per]
            y, *last = _direction(rows, *own, directed[net - first])
            ys.append(y)
            lasts.append(last)
        rows = concat(ys, axis=-1) if bidirectional else y  # (rows, D*H) or (T, N, D*H)
    ends = [stack(list(of_all)) for of_all in zip(*lasts)]  # (nets, N, H)
    if order:
        back = tuple(np.argsort(order).tolist())
        return PackedSequence(rows, x.packing), [order_rows(end, back) for end in ends]
    return transpose(rows, 0, 1) if batch_first else rows, ends


def _steps(op, x, batch_first):
    """x step by step, how many rows belong to each, and the order of sequences if x is packed."""
    if isinstance(x, PackedSequence):
        if x.data.ndim != 2:
            raise ShapeError(
                f"{op}: expected packed data (rows, I); got {x.data.shape}.", "pack (T, N, I)."
            )
        return x.data, x.batch_sizes, x.order
    floats(op, x)
    axes = "(N, T, I)" if batch_first else "(T, N, I)"
    if x.ndim != 3 or x.shape[1 if batch_first else 0] < 1:
        raise ShapeError(
            f"{op}: expected x {axes} with T >= 1; got {x.shape}.",
            "give a batch of one an axis of size 1; batch_first says which axis is the batch.",
        )
    x = transpose(x, 0, 1) if batch_first else x  # (T, N, I)
    return x, (x.shape[1],) * x.shape[0], None


def _check_weights(op, gates, inputs, weights, per, directions) -> int:
    """The hidden size."""
    if not weights or len(weights) % (per * directions):
        raise ShapeError(
            f"{op}: expected {per} weights per layer and direction; got {len(weights)} for "
            f"{directions} direction{'s' * (directions > 1)}.",
            "list w_ih, w_hh and, with biases, b_ih, b_hh of each.",
        )
    hidden = weights[1].shape[-1]
    for i, w in enumerate(weights):
        layer, direction = divmod(i // per, directions)
        columns, height = directions * hidden if layer else inputs, gates * hidden
        shape = [(height, columns), (height, hidden), (height,), (height,)][i % per]
        if w.shape != shape:
            name = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[i % per]
            raise ShapeError(
                f"{op}: expected {name}_l{layer}{'_reverse' * direction} {shape}; got {w.shape}.",
                f"build the weights for {inputs} inputs and {hidden} hidden units.",
            )
    return hidden


def _start(op, given, like, shape, order):
    """Initial states of all layers and directions, the longest sequence first."""
    if given is None:
        return full(like, 0.0, shape)
    if given.shape != shape:
        raise ShapeError(
            f"{op}: expected initial states {shape}; got {given.shape}.",
            "give one (N, H) per layer and direction.",
        )
    return order_rows(given, order) if order else given


def _direction(rows, states, weights, geometry):
    """(y, last states) of one layer in one direction: rows as x has them, states (N, H)."""
    operands = (rows, *states, *weights)
    made = compute("rnn", *operands, geometry=geometry, auxiliaries=records(*operands))
    outputs, kept = tuple(made[: 1 + len(states)]), made[1 + len(states) :]

    def gradient(gys, needs, *saved):
        like = (saved[len(needs)], *saved[1 : len(gys)])  # y and the initial states
        gys = [full(v, 0.0, v.shape) if g is None else g for g, v in zip(gys, like)]
        buffers = [t.buffer for t in (*gys, *saved)]
        made = launch("rnn_grad", *buffers, geometry=geometry, partner=buffers[-1])
        found = [Tensor(b) for b in made]
        record(tuple(found), (*gys, *saved), gradient=no_second_derivative("a recurrent layer"))
        return [g if need else None for g, need in zip(found, needs)]

    saved = (*operands, outputs[0], *kept)
    return record(outputs, operands, saved=saved, gradient=gradient, name=geometry.mode)
