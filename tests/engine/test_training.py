"""Whole trainings beside PyTorch's: same weights, same batches, fifty steps.

In float64 the losses agree to 1e-9. In float32 no two computations agree for long: a rounding
error moves a gradient, the gradient moves a weight, and where an element crosses a kink (the zero
of a ReLU, two rivals under a max-pool) the next gradient jumps. How far from the exact losses a
correct float32 run may be is derived in three steps, and measured on PyTorch alone:

1. Backward error. An inner product of n terms in float32 is the exact one of factors moved by
   relative sqrt(n) * u, u = 2**-24 (Higham and Mary, "A new approach to probabilistic rounding
   error analysis", 2019). So RUNS float32 trainings start from weights moved by that, n the longest
   sum in the net, with the samples of each batch in an order of their own. Errors multiply from
   step to step: those made later matter less than these.
2. Let e be a run's largest relative distance from the float64 losses up to a step. As errors
   multiply, log e adds up, and is taken as normal with the mean m and deviation s of these runs.
3. A further run stays, but for one in a thousand, below the upper prediction limit

       exp(m + s * t * sqrt(1 + 1 / RUNS)),   t: Student's, RUNS - 1 degrees of freedom, at 0.999.

   As e only grows, the limit of a later step holds for the earlier ones too.

trivet's run starts from unmoved weights, and has to stay below at every step. Without kinks the
limit stays narrow for all fifty steps: the smooth CNN is there for that. Gradients after the
first step are held against the same limit, tensor by tensor.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from nets import TWINS, Ours, Theirs, start
from scipy import stats

STEPS, BATCHES, RUNS, CONFIDENCE = 50, 10, 8, 0.999
SAMPLES = {"gru": 16, "cnn": 4, "smooth cnn": 2, "resnet": 8, "densenet": 16}
LONGEST = {  # sum in a forward or backward pass
    "gru": 16 * 20,  # samples and words, gradient of the weights
    "cnn": 6400,  # inputs of fc1
    "smooth cnn": 6400,
    "resnet": 8 * 16 * 16,  # samples and pixels, gradient of the first convolution
    "densenet": 16 * 16 * 16,
}
ROUNDING = 2.0**-24  # of float32, relative; smaller distances are accidents
EVERY = pytest.mark.parametrize("name", TWINS)
LONG = pytest.mark.parametrize(
    "name", [n if n == "gru" else pytest.param(n, marks=pytest.mark.slow) for n in TWINS]
)
LONGER = pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in TWINS])


class Run(NamedTuple):
    losses: np.ndarray
    gradients: dict[str, np.ndarray]  # after the first step
    state: dict[str, np.ndarray]  # after the last one


def batches(name):
    """Word ids and sentiments, or coarse patches under fine noise and their classes."""
    rng, n = np.random.default_rng(1), SAMPLES[name]
    for _ in range(BATCHES):
        if name == "gru":
            yield rng.integers(0, 1000, (n, 20)), rng.integers(0, 2, n)
            continue
        coarse = rng.random((n, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
        x = (coarse * 7 + rng.random((n, 3, 32, 32))) / 8  # (N, 3, 32, 32)
        bits = (rng.random((n, 14)) < 0.2).astype(np.float32)
        yield x.astype(np.float32), bits if TWINS[name].findings else rng.integers(0, 10, n)


def moved(name, seed):
    """First weights as far off as rounding makes them seem, and batches in another order."""
    rng = np.random.default_rng(seed)
    state, order = start(TWINS[name]), rng.permutation(SAMPLES[name])
    far = np.sqrt(LONGEST[name]) * ROUNDING
    for key, array in state.items():
        if "running" not in key:
            array *= 1 + far * rng.choice([-1, 1], array.shape)
    return state, [(x[order], y[order]) for x, y in batches(name)]


@cache
def run(name, library, dtype, steps=STEPS, seed=None) -> Run:
    state, data = start(TWINS[name]), list(batches(name))
    if seed is not None:
        state, data = moved(name, seed)
    training = library(TWINS[name], state, dtype)
    losses, gradients = [], {}
    for k in range(steps):
        losses.append(training.step(*data[k % BATCHES]))
        if not k:
            gradients = {key: g.copy() for key, g in training.gradients().items()}
    return Run(np.array(losses), gradients, training.state())


def captured(*args):
    return Ours(*args, captured=True)


def worst(found, expected) -> dict[str, float]:
    """By tensor: the largest difference as a share of the largest element."""
    assert found.keys() == expected.keys()
    return {k: abs(found[k] - g).max() / abs(g).max() for k, g in expected.items()}


def apart(losses, exact):
    """The largest relative distance so far, at each step."""
    return np.maximum.accumulate(abs(losses / exact - 1))


def limit(distances):
    """Upper prediction limit for one more row; distances (RUNS, ...)."""
    logs = np.log(np.maximum(distances, ROUNDING))
    n = len(logs)
    wide = stats.t.ppf(CONFIDENCE, n - 1) * np.sqrt(1 + 1 / n)
    return np.exp(logs.mean(0) + wide * logs.std(0, ddof=1))


@LONG
def test_float64_losses_are_pytorchs(name):
    ours, theirs = (run(name, library, "float64") for library in (Ours, Theirs))
    assert apart(ours.losses, theirs.losses)[-1] < 1e-9
    assert theirs.losses[-BATCHES:].mean() < theirs.losses[:BATCHES].mean()
    ends = worst(ours.state, theirs.state)  # running statistics too, which no loss sees
    assert max(ends.values()) < 1e-7, max(ends, key=ends.get)
    print(f"{name}: losses {apart(ours.losses, theirs.losses)[-1]:.1e}, "
          f"parameters and buffers {max(ends.values()):.1e}")  # fmt: skip


@EVERY
def test_float64_gradients_are_pytorchs(name):
    ours, theirs = (run(name, library, "float64", steps=1) for library in (Ours, Theirs))
    differences = worst(ours.gradients, theirs.gradients)
    print(f"{name}: {max(differences.values()):.1e} of {len(differences)} tensors")
    assert max(differences.values()) < 1e-9, max(differences, key=differences.get)


@LONGER
def test_float32_losses_stay_within_what_rounding_explains(name):
    exact = run(name, Theirs, "float64").losses
    others = [run(name, Theirs, "float32", seed=k).losses for k in range(RUNS)]
    limits = limit(np.array([apart(losses, exact) for losses in others]))
    limits = np.minimum.accumulate(limits[::-1])[::-1]
    found = apart(run(name, Ours, "float32").losses, exact)
    theirs = apart(run(name, Theirs, "float32").losses, exact)
    for k in (0, 9, 19, 49):
        print(f"{name}, step {k + 1}: {found[k]:.1e}, PyTorch {theirs[k]:.1e}, "
              f"limit {limits[k]:.1e}")  # fmt: skip
    assert (found <= limits).all(), (found, limits)


@LONG
def test_float32_gradients_stay_within_what_rounding_explains(name):
    exact = run(name, Theirs, "float64", steps=1).gradients
    others = [
        worst(run(name, Theirs, "float32", steps=1, seed=k).gradients, exact) for k in range(RUNS)
    ]
    found = worst(run(name, Ours, "float32", steps=1).gradients, exact)
    limits = limit(np.array([[other[key] for key in found] for other in others]))
    print(f"{name}: {max(found.values()):.1e}, {max(np.array([*found.values()]) / limits):.2f} "
          f"of the limit, {len(found)} tensors")  # fmt: skip
    outside = {k: (e, at) for (k, e), at in zip(found.items(), limits) if e > at}
    assert not outside


@LONG
def test_a_captured_training_has_the_losses_of_eager_bit_for_bit(name):
    eager, replayed = (run(name, library, "float32") for library in (Ours, captured))
    assert replayed.losses.tobytes() == eager.losses.tobytes()
    assert all(np.array_equal(replayed.state[key], eager.state[key]) for key in eager.state)
