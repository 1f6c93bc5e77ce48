"""Parity jobs of trivet's networks, done as its notebooks do them, small enough for a test.

A ``Job`` says what a notebook says: the network, what enters it, the loss, the optimiser, how
tensors are loaded and handed back. A planted fault is another value of one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import trivet
from rosetta import inputs
from rosetta.spec import workload as workloads
from rosetta.spec.workload import Input, Workload
from rosetta.spec.workload import Tensor as Entry
from trivet import Tensor, nn, ops, optim, zoo

Arrays = dict[str, np.ndarray]


def as_it_is(given):
    return given


@dataclass(frozen=True)
class Job:
    """How a framework does the parity job of a workload."""

    workload: Workload
    network: Callable[..., nn.Module]
    enter: Callable[[Tensor], Tensor]  # what the network gets of a batch in its own precision
    loss: Callable[[Tensor, Tensor], Tensor] = ops.cross_entropy
    optimizer: Callable[..., optim.Optimizer] | None = None  # None: nothing is trained
    alter: Callable[[nn.Module], object] = as_it_is  # the network, once it is built
    load: Callable[[Arrays], Arrays] = as_it_is  # the suite's tensors as this framework has them
    store: Callable[[Arrays], Arrays] = as_it_is  # and back


def images(x: Tensor) -> Tensor:
    return x / 255


def batch_norm_net(dtype: str) -> nn.Module:
    """Two convolutions, each with batch norm; the image may have any size."""
    return nn.Sequential(
        dict(
            conv1=nn.Conv2d(3, 8, 3, padding=1, bias=False, dtype=dtype),
            bn1=nn.BatchNorm2d(8, dtype=dtype),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 8, 3, padding=1, bias=False, dtype=dtype),
            bn2=nn.BatchNorm2d(8, dtype=dtype),
            relu2=nn.ReLU(),
            pool=nn.GlobalAvgPool(),
            flatten=nn.Flatten(),
            fc=nn.Linear(8, 4, dtype=dtype),
        )
    )


def batch_norm_workload() -> Workload:
    """The workload of that network, with the bounds of cnn_cifar10, and one for statistics."""

    def norm(name):
        inits = {"weight": "ones", "bias": "zeros"}
        inits |= {"running_mean": "buffer_zeros", "running_var": "buffer_ones"}
        return [Entry(f"{name}.{part}", (8,), init) for part, init in inits.items()]

    tensors = [
        Entry("conv1.weight", (8, 3, 3, 3), "glorot_uniform"),
        *norm("bn1"),
        Entry("conv2.weight", (8, 8, 3, 3), "glorot_uniform"),
        *norm("bn2"),
        Entry("fc.weight", (4, 8), "glorot_uniform"),
        Entry("fc.bias", (4,), "zeros"),
    ]
    seen = ("conv1", "bn1", "conv2", "bn2", "pool", "fc")
    return Workload(
        schema=1,
        name="batch_norm",
        title="A small network with batch norm",
        question="",
        sample="image",
        phase="train",
        dataset="",
        feeds={},
        seed=7,
        input=Input("uint8", (3, 4, 4), "class", classes=4),
        model={},
        train={},
        parity=replace(
            workloads.load("cnn_cifar10").parity, batch=4, activations=seen, bound_buffers=1e-5
        ),
        profiles={},
        accept={},
        tensors=tuple(tensors),
    )


def smaller(name: str, batch: int, **changed) -> Workload:
    """A workload of the suite with a smaller parity batch; ``changed`` of its input."""
    whole = workloads.load(name)
    parity = replace(whole.parity, batch=batch)
    return replace(whole, parity=parity, input=replace(whole.input, **changed))


@cache
def right(name: str) -> Job:
    """The job as it should be done: of three workloads of the suite, and of ``batch_norm``."""
    if name == "cnn_cifar10":
        # of the first 4 images one pool window has two maxima that are equal in float32 only: its
        # gradient goes to another pixel, and that of conv4.weight is off by 1e-3
        workload = smaller(name, batch=8)
        return Job(workload, zoo.suite.cnn_cifar10, images, optimizer=momentum)
    if name == "gru_imdb":
        workload, adam = smaller(name, batch=4), optim.Adam
        return Job(workload, zoo.suite.gru_imdb, as_it_is, optimizer=adam)
    if name == "resnet50_features":
        workload = smaller(name, batch=2, shape=(3, 64, 64))
        return Job(workload, zoo.suite.resnet50_features, as_it_is)
    return Job(batch_norm_workload(), batch_norm_net, images, optimizer=momentum)


@cache
def fed(name: str) -> tuple[Arrays, Arrays]:
    """The canonical parity tensors and batches of ``right(name)``."""
    workload = right(name).workload
    return inputs.parity_tensors(workload), inputs.parity_batches(workload)


@cache
def reference(name: str, steps: int) -> Arrays:
    """The arrays of the right job in float64."""
    return parity(right(name), "float64", steps)


def parity(job: Job, dtype: str, steps: int) -> Arrays:
    """Does a parity job.

    Returns:
        Its arrays, as parity.npz has them.
    """
    tensors, batches = fed(job.workload.name)
    net = job.network(dtype=dtype)
    net.load_state_dict(job.load(tensors))
    for module in net.named_modules().values():
        if isinstance(module, nn.Dropout):  # off, but batch norm goes on training
            module.eval()
    job.alter(net)
    seen: Arrays = {}
    handles = [_keep(seen, name, net) for name in job.workload.parity.activations]
    if job.optimizer is None:
        with trivet.no_grad():
            net.eval()
            features = net(_enter(job, batches, 0, dtype)).numpy()
        return {**_named("activation", seen), "features": features}
    arrays = _first_step_and_losses(job, net, batches, dtype, steps, handles)
    return {**_named("activation", seen), **arrays}


def _first_step_and_losses(job, net, batches, dtype, steps, handles) -> Arrays:
    optimizer, losses, arrays = job.optimizer(net.parameters()), [], {}
    for step in range(steps):
        x, y = _enter(job, batches, step, dtype), Tensor(_batch(job, batches["parity.y"], step))
        looked_at = step == 0 and x.dtype == dtype  # words have no gradient
        x.requires_grad = looked_at
        optimizer.zero_grad()
        loss = job.loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 0:
            gradients = {name: p.grad.numpy() for name, p in net.named_parameters().items()}
            arrays |= _named("gradient", job.store(gradients))
            arrays |= _named("updated", job.store(net.state_dict()))
            if looked_at:
                arrays["gradient/input"] = x.grad.numpy()
            for handle in handles:
                handle.remove()
    return {**arrays, "losses": np.array(losses)}


def _enter(job: Job, batches: Arrays, step: int, dtype: str) -> Tensor:
    x = Tensor(_batch(job, batches["parity.x"], step))
    words = job.workload.input.dtype == "int32"
    return job.enter(x if words else x.to(dtype)).detach()


def _batch(job: Job, samples: np.ndarray, step: int) -> np.ndarray:
    size = job.workload.parity.batch
    start = step % inputs.PARITY_BATCHES * size
    return samples[start : start + size]


def _keep(seen: Arrays, name: str, net: nn.Module):
    def keep(module, inputs, out):
        seen[name] = (out[0] if isinstance(out, tuple) else out).numpy()

    return net.named_modules()[name].on_output(keep)


def _named(group: str, arrays: Arrays) -> Arrays:
    return {f"{group}/{name}": array for name, array in arrays.items()}


# --- optimisers: the right one of two workloads, and those of another form


def momentum(parameters) -> optim.Optimizer:
    return optim.SGD(parameters, 0.01, momentum=0.9)


def nesterov(parameters):
    return optim.SGD(parameters, 0.01, momentum=0.9, nesterov=True)


def decayed(parameters):
    return optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=5e-4)


def momentum_lost(parameters):
    return optim.SGD(parameters, 0.01)


class Damped(optim.SGD):
    """``v = 0.9 v + 0.1 g``; PyTorch's "dampening" begins with the whole gradient, ``v = g``."""

    def __init__(self, parameters, first=0.1):
        super().__init__(parameters, 0.01, momentum=0.9)
        self.share = first

    def update(self, i, weight, g):
        super().update(i, weight, g * self.share)

    def step(self):
        super().step()
        self.share = 0.1


def damped_from_the_second(parameters):
    return Damped(parameters, first=1.0)


class RateInVelocity(optim.SGD):
    """``v = 0.9 v + rate * g; w -= v``: the same numbers as long as the rate stays."""

    def __init__(self, parameters):
        super().__init__(parameters, 1.0, momentum=0.9)

    def update(self, i, weight, g):
        super().update(i, weight, g * 0.01)


class EpsBeforeCorrection(optim.Adam):
    """``w -= rate * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + eps)``, the paper's shortcut."""

    def begin(self, places):
        super().begin(places)
        correction = np.sqrt(1 - self.options.betas[1] ** int(self.steps.numpy()[0]))
        self.options = replace(self.options, eps=1e-8 / correction)


class Uncorrected(optim.Adam):
    """Means that start at zero, and no correction for it."""

    def begin(self, places):
        self.steps.write(np.full(self.steps.shape, 10**6))


class Lazy(optim.Adam):
    """Rows of the embedding without a gradient are left alone: "sparse" updates."""

    def update(self, i, weight, g):
        kept = weight, self.means[i], self.squares[i]
        before, idle = [t.numpy() for t in kept], ~g.numpy().reshape(len(weight), -1).any(axis=1)
        super().update(i, weight, g)
        for t, old in zip(kept, before):
            new = t.numpy()
            new[idle] = old[idle]
            t.write(new)


def adam_with(**options):
    return lambda parameters: optim.Adam(parameters, **options)
