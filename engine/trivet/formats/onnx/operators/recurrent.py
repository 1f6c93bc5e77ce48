"""RNN, GRU and LSTM: ONNX's order of gates and of axes, brought to the engine's and back."""

from __future__ import annotations

from .... import ops
from ....ops.checks import full
from ....ops.packing import pack, unpack
from ....tape import Tensor
from ..operator import operator


def _only(*activations: tuple[str, ...], **more) -> dict:
    """What the engine has: these activations, in each direction."""
    return {
        "activations": (None, *activations, *(names * 2 for names in activations)),
        "direction": ("forward", "reverse", "bidirectional"),
        "layout": (0, 1),
        "clip": (None,),
        "activation_alpha": (None,),
        "activation_beta": (None,),
        **more,
    }


def _weights(w, r, b, order) -> list[Tensor]:
    """The engine's list, direction after direction; ``order``: which gate of ONNX's comes when."""
    hidden = r.shape[-1]

    def arranged(t):
        blocks = [ops.index(t, slice(g * hidden, (g + 1) * hidden)) for g in order]
        return blocks[0] if len(blocks) == 1 else ops.concat(blocks)

    found = []
    for d in range(w.shape[0]):
        found += [arranged(ops.index(w, d)), arranged(ops.index(r, d))]
        if b is not None:
            of_both = ops.index(b, d)
            middle = len(order) * hidden
            found += [arranged(ops.index(of_both, slice(middle)))]
            found += [arranged(ops.index(of_both, slice(middle, None)))]
    return found


def _swapped(t: Tensor | None, layout: int) -> Tensor | None:
    """Layout 1 puts the batch before the steps or directions."""
    return ops.transpose(t, 0, 1) if layout and t is not None else t


def _run(layer, x, weights, states, lengths, direction, layout, **options):
    """(Y, last states) in ONNX's axes. ``layer`` takes and returns a list of states."""
    x, states = _swapped(x, layout), [_swapped(s, layout) for s in states]
    steps, batch = x.shape[:2]
    bidirectional, turned = direction == "bidirectional", None
    if direction == "reverse" and lengths is None:
        turned = slice(None, None, -1)
        x = ops.index(x, turned)
    elif direction == "reverse":  # each sequence from its own end: as one half of both ways
        weights, bidirectional = weights * 2, True
        states = [s if s is None else ops.concat([s, s]) for s in states]
    rows = x if lengths is None else pack(x, [int(n) for n in lengths])
    given = None if all(s is None for s in states) else states
    y, lasts = layer(rows, weights, given, bidirectional=bidirectional, **options)
    y = y if lengths is None else unpack(y)
    y = y if turned is None else ops.index(y, turned)
    y = ops.reshape(y, (steps, batch, 1 + bidirectional, y.shape[-1] // (1 + bidirectional)))
    y = ops.permute(y, (0, 2, 1, 3))  # (T, D, N, H)
    if bidirectional and direction == "reverse":
        y, lasts = y[:, 1:], [last[1:] for last in lasts]
    y = ops.permute(y, (2, 0, 1, 3)) if layout else y  # (N, T, D, H)
    return y, *(_swapped(last, layout) for last in lasts)


def _one_state(function):
    """A layer with the state h alone, as _run wants it."""

    def layer(x, weights, states, **options):
        y, h = function(x, weights, states and states[0], **options)
        return y, [h]

    return layer


@operator("RNN", host=("lengths",), outputs=2, only=_only(("Tanh",), ("Relu",)))
def rnn(x, w, r, b=None, lengths=None, h0=None, *, activations=None, activation_alpha=None,
        activation_beta=None, clip=None, direction="forward", hidden_size=None, layout=0,
        output_sequence=0):  # fmt: skip
    kind = activations[0].lower() if activations else "tanh"
    return _run(_one_state(ops.rnn), x, _weights(w, r, b, (0,)), [h0], lengths, direction, layout,
                nonlinearity=kind)  # fmt: skip


@operator("GRU", host=("lengths",), outputs=2, only=_only(("Sigmoid", "Tanh")))
def gru(x, w, r, b=None, lengths=None, h0=None, *, activations=None, activation_alpha=None,
        activation_beta=None, clip=None, direction="forward", hidden_size=None, layout=0,
        linear_before_reset=0, output_sequence=0):  # fmt: skip
    """ONNX's gates are z, r, h."""
    form = "cudnn" if linear_before_reset else "original"
    return _run(_one_state(ops.gru), x, _weights(w, r, b, (1, 0, 2)), [h0], lengths, direction,
                layout, form=form)  # fmt: skip


@operator(
    "LSTM", host=("lengths",), outputs=3, only=_only(("Sigmoid", "Tanh", "Tanh"), input_forget=(0,))
)
def lstm(x, w, r, b=None, lengths=None, h0=None, c0=None, *, activations=None,
         activation_alpha=None, activation_beta=None, clip=None, direction="forward",
         hidden_size=None, input_forget=0, layout=0, output_sequence=0):  # fmt: skip
    """ONNX's gates are i, o, f, c. An eighth input, peepholes, is more than the engine has."""
    weights = _weights(w, r, b, (0, 2, 3, 1))
    return _run(ops.lstm, x, weights, _both(h0, c0), lengths, direction, layout)


def _both(h0, c0):
    """An initial state that is left out is zero."""
    if (h0 is None) == (c0 is None):
        return [h0, c0]
    given = h0 if c0 is None else c0
    zeros = full(given, 0.0, given.shape)
    return [zeros if s is None else s for s in (h0, c0)]
