"""Recurrent layers over sequences of one length, whose packed rows are (steps, sequences, ...).

oneDNN's weights are (1, 1, inputs, gates, units) with the units innermost, its gradients want the
inputs innermost; the gates of a GRU come in another order, and it has one bias per gate, of a
"gru" one more for the hidden part of n. So weights are copied gate by gate into the workspace.
oneDNN calls its recurrent nets "ref" even where their products are its fastest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Recurrence
from ..lib import dnnl
from ..lib import dnnl_constants as K
from ..lib.dnnl import Descriptor
from ..registry import Call, Plan
from ..spec import PLAIN, Spec, row_major
from .common import LINE, Place, Recipe, Refused, kernel, operation, reordered

NAMES = {"rnn_tanh": "vanilla_rnn", "lstm": "lstm", "gru": "lbr_gru", "gru_original": "gru"}
SWAPPED = 1, 0, 2  # oneDNN's z, r, n among r, z, n


def plain(shape) -> Descriptor:
    return Descriptor.strided(shape, row_major(shape))


@dataclass(frozen=True)
class Net:
    """One layer's sizes, descriptors and operations."""

    geometry: Recurrence
    inputs: int
    hidden: int

    @classmethod
    def of(cls, geometry: Recurrence, x: Spec, h0: Spec) -> Net:
        if geometry.mode not in NAMES:
            raise Refused(f"oneDNN's {geometry.mode} drops NaN")
        if len(set(geometry.batch_sizes)) > 1:
            raise Refused("oneDNN's sequences are all of one length")
        return cls(geometry, x.shape[-1], h0.shape[1])

    @property
    def order(self) -> tuple[int, ...]:
        """Which of trivet's gates each of oneDNN's is."""
        return SWAPPED if "gru" in self.geometry.mode else tuple(range(self.geometry.gates))

    @property
    def biases(self) -> int:
        return self.geometry.gates + (self.geometry.mode == "gru")

    def layer(self, features: int) -> Descriptor:
        return plain((len(self.geometry.batch_sizes), self.geometry.batch_sizes[0], features))

    @property
    def state(self) -> Descriptor:
        return plain((1, 1, self.geometry.batch_sizes[0], self.hidden))

    @property
    def state_bytes(self) -> int:
        return 4 * self.geometry.batch_sizes[0] * self.hidden

    def weights(self, columns: int, units_last: bool = True) -> Descriptor:
        g, h = self.geometry.gates, self.hidden
        size = g * columns * h
        steps = (g * h, h, 1) if units_last else (1, h * columns, columns)
        return Descriptor.strided((1, 1, columns, g, h), (size, size, *steps))

    @property
    def bias(self) -> Descriptor:
        return plain((1, 1, self.biases, self.hidden))

    def _values(self, units_last: bool):
        """Descriptors of what goes in, of weights and bias, and of what comes out."""
        states = [self.state] * self.geometry.states
        w = [self.weights(n, units_last) for n in (self.inputs, self.hidden)]
        extra = [None, None] if self.geometry.mode == "lstm" else []  # peepholes, projection
        came, went = [self.layer(self.inputs), *states], [self.layer(self.hidden), *states]
        return [*came, *w, *extra, self.bias, *went]

    def _options(self, flags: int) -> tuple:
        return (flags, 0.0, 0.0) if self.geometry.mode == "rnn_tanh" else (flags,)

    @property
    def _direction(self) -> tuple:
        direction = K.UNIDIRECTIONAL_LEFT2RIGHT
        if self.geometry.reverse:
            direction = K.UNIDIRECTIONAL_RIGHT2LEFT
        return (K.ELTWISE_TANH, direction) if self.geometry.mode == "rnn_tanh" else (direction,)

    def forward(self, kind: int) -> dnnl.Operation:
        return operation(
            f"{NAMES[self.geometry.mode]}_forward", kind, *self._direction, *self._values(True),
            *self._options(K.RNN_FLAGS_UNDEF), dnnl.attributes(), ref=True,
        )  # fmt: skip

    def backward(self, hint: dnnl.Operation) -> dnnl.Operation:
        return operation(
            f"{NAMES[self.geometry.mode]}_backward", K.BACKWARD, *self._direction,
            *self._values(False), *self._values(True),
            *self._options(K.RNN_FLAGS_DIFF_WEIGHTS_OVERWRITE), hint, dnnl.attributes(), ref=True,
        )  # fmt: skip

    def imported(self, recipe: Recipe, w: Place, columns: int, units_last: bool) -> Place:
        """Adds a copy of trivet's weight, gate by gate, as oneDNN wants it."""
        target = recipe.memory(self.weights(columns).nbytes)
        for k, own in enumerate(self.order):
            ends = self.gate(w, columns, own, False), self.gate(target, columns, k, units_last)
            reordered(recipe, *ends)
        return target

    def exported(self, recipe: Recipe, source: Place, w: Place, columns: int) -> None:
        """Adds a copy of oneDNN's gradient of a weight, with units last, as trivet has it."""
        for k, own in enumerate(self.order):
            ends = self.gate(source, columns, k, True), self.gate(w, columns, own, False)
            reordered(recipe, *ends)

    def gate(self, place: Place, columns: int, k: int, units_last: bool):
        """Descriptor (columns, units) and place of the gate that is the k-th there."""
        g, h = self.geometry.gates, self.hidden
        steps = (g * h, 1) if units_last else (1, columns)
        offset = 4 * (k * h if units_last else k * h * columns)
        descriptor = Descriptor.strided((columns, h), steps)
        return descriptor, Place(place.index, place.offset + offset)

    def summed_bias(self, recipe: Recipe, given: list[Place]) -> Place:
        """Adds what makes oneDNN's bias of trivet's two; zeros if there are none."""
        bias, shape = recipe.memory(self.bias.nbytes), (self.geometry.gates, self.hidden)
        order, apart = list(self.order), self.biases > self.geometry.gates

        def fill(bias, b_ih=0, b_hh=0):
            bias[...] = 0
            if given:
                np.add(b_ih[order], b_hh[order], out=bias[: len(order)])
            if given and apart:
                bias[2:] = b_ih[2], b_hh[2]

        places = [(place, shape) for place in given]
        recipe.arrays(fill, (bias, (self.biases, self.hidden)), *places)
        return bias

    def split_bias(self, recipe: Recipe, made: Place, given: list[Place]) -> None:
        """Adds what makes trivet's two gradients of oneDNN's one."""
        shape, order = (self.geometry.gates, self.hidden), list(self.order)
        apart = self.biases > self.geometry.gates

        def split(made, g_ih, g_hh):
            g_ih[order] = g_hh[order] = made[: len(order)]
            if apart:
                g_hh[2] = made[3]

        places = [(place, shape) for place in given]
        recipe.arrays(split, (made, (self.biases, self.hidden)), *places)


def _named(states: int, lead: str, what: str) -> list[str]:
    """Arguments of a sequence and of its states: diff_src_layer, diff_src_iter, ..."""
    return [f"{lead}{what}_{part}" for part in ("layer", "iter", "iter_c")[: 1 + states]]


def _at(descriptors, places) -> list[tuple[Descriptor, Place]]:
    return list(zip(descriptors, places))


@kernel("rnn")
def rnn(call: Call) -> Plan | str:
    """x (rows, I), h0 (N, H)[, c0], w_ih (G*H, I), w_hh (G*H, H)[, b_ih, b_hh (G*H)]
    -> y (rows, H), h_n (N, H)[, c_n]; oneDNN's workspace, and of an LSTM c_n, for the gradient.
    """
    geometry, ins = call.geometry, [s.at(PLAIN) for s in call.ins]
    net, states = Net.of(geometry, *ins[:2]), geometry.states
    made = net.forward(K.FORWARD_TRAINING if call.auxiliaries else K.FORWARD_INFERENCE)
    outs = [Spec((*ins[0].shape[:-1], net.hidden)), *ins[1 : 1 + states]]
    wanted = made.descriptor(K.QUERY_WORKSPACE_MD)
    cell = -(-wanted.nbytes // LINE) * LINE  # where c_n is kept
    if call.auxiliaries:
        net.backward(made)  # else nobody could: what is kept is private
        outs.append(Spec((cell + net.state_bytes * (states > 1),), "uint8"))
    recipe = Recipe(tuple(ins), tuple(outs))
    w_ih, w_hh, *biases = (recipe.of(k) for k in range(1 + states, len(ins)))
    each_state = [net.state] * states
    came = _at([net.layer(net.inputs), *each_state], map(recipe.of, range(1 + states)))
    went = _at([net.layer(net.hidden), *each_state], map(recipe.out, range(1 + states)))
    operands = dict(zip(_named(states, "", "src"), came))
    operands |= zip(_named(states, "", "dst"), went)
    if call.auxiliaries:
        operands["workspace"] = wanted, recipe.out(1 + states)
    recipe.launch(
        made,
        weights_layer=(net.weights(net.inputs), net.imported(recipe, w_ih, net.inputs, True)),
        weights_iter=(net.weights(net.hidden), net.imported(recipe, w_hh, net.hidden, True)),
        bias=(net.bias, net.summed_bias(recipe, biases)),
        **operands,
    )
    if call.auxiliaries and states > 1:
        kept, shape = Place(1 + states, cell), outs[2].shape
        recipe.arrays(np.copyto, (kept, shape), (recipe.out(2), shape))
    return recipe.plan(f"{NAMES[geometry.mode]}:{made.implementation}")


@kernel("rnn_grad", private=True)
def rnn_grad(call: Call) -> Plan | str:
    """gy, gh_n[, gc_n], the operands of ``rnn``, y and what was kept -> a gradient per operand."""
    geometry, ins = call.geometry, [s.at(PLAIN) for s in call.ins]
    states, count = geometry.states, 3 + geometry.states + 2 * geometry.bias
    operands = ins[1 + states : 1 + states + count]
    net = Net.of(geometry, *operands[:2])
    hint = net.forward(K.FORWARD_TRAINING)
    made, wanted = net.backward(hint), hint.descriptor(K.QUERY_WORKSPACE_MD)
    recipe = Recipe(tuple(ins), tuple(operands))
    x, w, y, kept = (recipe.of(k) for k in (1 + states, 2 + 2 * states, len(ins) - 2, len(ins) - 1))
    places = [Place(x.index + k) for k in range(count)]
    last = 0 if geometry.reverse else (len(geometry.batch_sizes) - 1) * net.state_bytes
    cell = Place(kept.index, -(-wanted.nbytes // LINE) * LINE)
    ends = [Place(y.index, last), cell][:states]
    layers = [net.layer(n) for n in (net.inputs, net.hidden)]
    each_state = [net.state] * states
    named = {
        "src": _at([layers[0], *each_state], places),
        "dst": _at([layers[1], *each_state], [y, *ends]),
        "diff_src": _at([layers[0], *each_state], map(recipe.out, range(1 + states))),
        "diff_dst": _at([layers[1], *each_state], map(recipe.of, range(1 + states))),
    }
    given = {}
    for what, values in named.items():
        lead, _, side = what.rpartition("_")
        given |= zip(_named(states, f"{lead}_" if lead else "", side), values)
    made_places = []
    for k, (part, columns) in enumerate([("layer", net.inputs), ("iter", net.hidden)]):
        source = net.imported(recipe, Place(w.index + k), columns, False)
        given[f"weights_{part}"] = net.weights(columns, False), source
        made_places.append(recipe.memory(net.weights(columns).nbytes))
        given[f"diff_weights_{part}"] = net.weights(columns), made_places[k]
    given["bias"] = net.bias, net.summed_bias(recipe, places[3 + states :])
    given["diff_bias"] = net.bias, recipe.memory(net.bias.nbytes)
    recipe.launch(made, workspace=(wanted, kept), **given)
    for k, columns in enumerate((net.inputs, net.hidden)):
        net.exported(recipe, made_places[k], recipe.out(1 + states + k), columns)
    if geometry.bias:
        outs = [recipe.out(3 + states), recipe.out(4 + states)]
        net.split_bias(recipe, given["diff_bias"][1], outs)
    return recipe.plan(f"{NAMES[geometry.mode]}:{made.implementation}")
