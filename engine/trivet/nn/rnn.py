"""Recurrent layers. Names, arguments, order of gates and initial values are PyTorch's."""

from __future__ import annotations

import math
from functools import partial

from .. import ops
from ..errors import OptionError
from ..geometry import Recurrence
from ..ops.packing import PackedSequence
from ..tape import Tensor
from . import init
from .layers import fresh
from .module import Module


class _Recurrent(Module):
    """What recurrent nets share: parameters by layer and direction, all U[-1/sqrt(H), 1/sqrt(H)).

    They are ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, the same with
    ``_reverse`` behind it if bidirectional, then those of layer 1.
    """

    mode: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: str = "float32",
    ):
        if min(input_size, hidden_size, num_layers) < 1:
            raise OptionError(
                f"{type(self).__name__}: expected input_size, hidden_size and num_layers >= 1; "
                f"got {input_size}, {hidden_size} and {num_layers}.",
                "give the last axis of x, the width of the state and the depth.",
            )
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self._names: list[str] = []  # of the parameters, in the order in which ops want them
        height, bound = Recurrence.GATES[self.mode] * hidden_size, 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            columns = (1 + bidirectional) * hidden_size if layer else input_size
            for suffix in ("", "_reverse")[: 1 + bidirectional]:
                shapes = {"weight_ih": (height, columns), "weight_hh": (height, hidden_size)}
                shapes |= {"bias_ih": (height,), "bias_hh": (height,)} if bias else {}
                for kind, shape in shapes.items():
                    self._names.append(name := f"{kind}_l{layer}{suffix}")
                    setattr(self, name, init.uniform_(fresh(shape, dtype), -bound, bound))

    def _run(self, op, x, states, **options):
        between = partial(ops.dropout, p=self.dropout, training=self.training)
        return op(
            x,
            [getattr(self, name) for name in self._names],
            states,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            between=between if self.dropout else None,
            **options,
        )

    def flops(self, inputs, y) -> int:
        """Of the matrix products."""
        out = y[0].data if isinstance(y[0], PackedSequence) else y[0]
        weights = [getattr(self, name) for name in self._names if name.startswith("weight")]
        return 2 * (out.size // max(out.shape[-1], 1)) * sum(w.size for w in weights)


class RNN(_Recurrent):
    """Elman's net; see ops.rnn.

    Args:
        nonlinearity: "tanh" or "relu".
        dropout: Probability of a zero between layers, in training.

    Shapes: x (T, N, I), or (N, T, I) if batch_first, or packed; h0 (layers * D, N, H)
        -> y (T, N, D*H) and the last states (layers * D, N, H); D is 2 if bidirectional, else 1.

    >>> y, h = RNN(3, 4, num_layers=2)(Tensor([[[1.0, 2.0, 3.0]]]))
    >>> y.shape, h.shape
    ((1, 1, 4), (2, 1, 4))
    """

    mode = "rnn_tanh"  # relu's parameters are the same

    def __init__(self, *args, nonlinearity: str = "tanh", **options):
        super().__init__(*args, **options)
        self.nonlinearity = nonlinearity

    def forward(self, x: Tensor | PackedSequence, h0: Tensor | None = None):
        return self._run(ops.rnn, x, h0, nonlinearity=self.nonlinearity)


class LSTM(_Recurrent):
    """Long short-term memory; see ops.lstm.

    Args:
        dropout: Probability of a zero between layers, in training.

    Shapes: as for RNN, but the states are two: h and c.

    >>> y, (h, c) = LSTM(3, 4, bidirectional=True)(Tensor([[[1.0, 2.0, 3.0]]]))
    >>> y.shape, h.shape, c.shape
    ((1, 1, 8), (2, 1, 4), (2, 1, 4))
    """

    mode = "lstm"

    def forward(self, x: Tensor | PackedSequence, states: tuple[Tensor, Tensor] | None = None):
        return self._run(ops.lstm, x, states)


class GRU(_Recurrent):
    """Gated recurrent units; see ops.gru.

    Args:
        form: "cudnn", PyTorch's, or "original": where the reset gate works.
        dropout: Probability of a zero between layers, in training.

    Shapes: as for RNN.

    >>> y, h = GRU(3, 4, batch_first=True)(Tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    >>> y.shape, h.shape
    ((1, 2, 4), (1, 1, 4))
    """

    mode = "gru"

    def __init__(self, *args, form: str = "cudnn", **options):
        super().__init__(*args, **options)
        self.form = form

    def forward(self, x: Tensor | PackedSequence, h0: Tensor | None = None):
        return self._run(ops.gru, x, h0, form=self.form)
