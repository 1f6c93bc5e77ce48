"""benchmarks/<workload>/: workload.toml, tensors.csv and layers.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from .. import project
from ..errors import SpecError
from .common import read_toml, table_to

KINDS = ("timing", "parity", "training", "layers")  # that are asked for; parity brings "alone"
PROFILES = ("smoke", "quick", "full")
INITS = ("glorot_uniform", "zeros", "ones", "buffer_zeros", "buffer_ones")


@dataclass(frozen=True)
class Tensor:
    """One named initial tensor, in the suite's layout: weights (out, in, *window)."""

    name: str
    shape: tuple[int, ...]
    init: str

    @property
    def trained(self) -> bool:
        """Whether it is a parameter; the buffers are batch norm's running statistics."""
        return not self.init.startswith("buffer")


@dataclass(frozen=True)
class Layer:
    """One layer of the network, at the shape it has there, without the batch."""

    name: str
    kind: str  # conv, bn, relu, pool, dropout, dense, embedding, gru
    input: tuple[int, ...]
    flops: int  # of one forward pass of one sample; a multiply-add counts two
    like: str  # an earlier layer of the same kind and shape, which is timed in its place; or ""


@dataclass(frozen=True)
class Schedule:
    """What one kind of job does in one profile. A key that a kind has no use for stays None."""

    steps: int | None = None  # at most
    reference: int | None = None  # parity: of these in float64, where the later losses are stored
    at_least: int = 5  # timing: steps after the first, however long they take
    epochs: int | None = None  # training: instead of steps
    seconds: float | None = None  # timing: after the first step; layers: all of them together
    warmup: int = 0  # timing: steps after the first that are recorded but not counted
    validate: int = 0  # batches of the validation split, after the training steps
    latency: int = 0  # forward passes of one single sample
    distinct: bool = True  # layers: one of each shape
    devices: tuple[str, ...] = ("cpu", "cuda")  # where this kind of job is done at all


@dataclass(frozen=True)
class Profile:
    """One profile of one workload: its batch by device type, its data sizes, its schedules."""

    batch: dict[str, int]
    schedules: dict[str, Schedule]
    synthetic: int = 0  # how many synthetic samples there are


@dataclass(frozen=True)
class Parity:
    """What the parity job runs on, and the bounds within which frameworks agree.

    The bounds are relative: of losses to the loss, of a tensor by Euclidean norms. README.md of the
    workload derives them. Those "alone" are of layers that start from the framework's own numbers,
    so that no rounding of earlier layers is in them.
    """

    batch: int
    steps: int
    bound_first: float
    bound_losses: float
    bound_activations: float
    bound_gradients: float
    bound_updated: float
    bound_buffers: float = 0.0  # of batch norm's running statistics; 0: not judged
    bound_alone: float = 0.0  # of a layer's output
    bound_alone_gradients: float = 0.0
    bound_alone_updated: float = 0.0  # of the change that the framework's own gradients call for
    activations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """One sample and its target, as notebooks receive them."""

    dtype: str  # "uint8" pixels, "int32" word ids, "float32" values in [0, 1)
    shape: tuple[int, ...]
    target: str  # "class": one id; "multi_hot": 0 or 1 for each class; "none"
    classes: int = 0
    vocabulary: int = 0  # of word ids; 0 pads at the end


@dataclass(frozen=True)
class Workload:
    """One row of the suite: what is trained or run, on what, how long, and what is right."""

    schema: int
    name: str
    title: str
    question: str
    sample: str  # what one sample is called in a throughput column
    phase: str  # the phase of the clock that the tables compare: "train" or "forward"
    dataset: str
    feeds: dict[str, list[str]]  # what enters the network -> the kinds of job done with it
    seed: int  # of everything that is drawn
    input: Input
    model: dict[str, Any]  # parameters; forward_flops and training_flops of one sample
    train: dict[str, Any]  # loss, optimizer, epochs
    parity: Parity
    profiles: dict[str, Profile]
    accept: dict[str, Any]  # bands of a whole run on real data
    data: dict[str, Any] = field(default_factory=dict)  # options of the dataset
    weights: tuple[str, ...] = ()  # file patterns of pretrained weights under ROSETTA_DATA/weights
    tensors: tuple[Tensor, ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def parameters(self) -> int:
        """Trained numbers: batch norm's running statistics do not count."""
        return sum(prod(t.shape) for t in self.tensors if t.trained)


def names() -> list[str]:
    """The workloads there are."""
    return project.names(project.BENCHMARKS, "workload.toml")


def load(name: str, folder: Path | None = None) -> Workload:
    """Reads a workload.

    Raises:
        SpecError: It is unknown, or one of its files says something else than it may.
    """
    path = (folder or project.BENCHMARKS / name) / "workload.toml"
    table = read_toml(path)
    where = f"benchmarks/{name}/workload.toml"
    table["input"] = table_to(Input, _tuples(table.get("input", {})), f"{where} [input]")
    table["parity"] = table_to(Parity, _tuples(table.get("parity", {})), f"{where} [parity]")
    table["profiles"] = {
        profile: _profile(dict(entry), f"{where} [profiles.{profile}]")
        for profile, entry in table.get("profiles", {}).items()
    }
    table["tensors"] = tuple(_tensor(row) for row in _rows(path.parent / "tensors.csv"))
    table["layers"] = tuple(_layer(row) for row in _rows(path.parent / "layers.csv"))
    workload = table_to(Workload, _tuples(table), where)
    if workload.parameters != workload.model["parameters"]:
        raise SpecError(
            f"{where}: model.parameters is {workload.model['parameters']}, "
            f"tensors.csv adds up to {workload.parameters}"
        )
    return workload


def _profile(entry: dict[str, Any], where: str) -> Profile:
    schedules = {
        kind: table_to(Schedule, _tuples(entry.pop(kind)), f"{where} {kind}")
        for kind in KINDS
        if kind in entry
    }
    return table_to(Profile, {**entry, "schedules": schedules}, where)


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("x"))


def _tensor(row: dict[str, str]) -> Tensor:
    if row["init"] not in INITS:
        raise SpecError(
            f"tensors.csv: {row['name']}: init is {row['init']!r}; known: {', '.join(INITS)}"
        )
    return Tensor(row["name"], _shape(row["shape"]), row["init"])


def _layer(row: dict[str, str]) -> Layer:
    return Layer(row["name"], row["kind"], _shape(row["input"]), int(row["flops"]), row["like"])
