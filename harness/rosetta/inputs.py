"""What every framework is fed, drawn and decoded once: arrays, their digests, and a manifest.

Notebooks only read what stands here. Unpacking, verifying, decoding and drawing random numbers
happen in this one place and in this one environment, so they cannot differ between frameworks.
Arrays are stored under the digest of their content, so profiles share them, a manifest never
changes, and a copy that was cut off is never taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from . import datasets, project, weights
from .datasets.download import LARGE
from .spec import workload as workloads
from .spec.workload import Profile, Tensor, Workload

SCHEMA = 1
PARITY_BATCHES = 4  # distinct ones, cycled through by the 20 steps, so that the loss falls


@dataclass(frozen=True)
class Source:
    """Where data may come from."""

    stand_in: bool = False  # ask for the built-in one even where real data is at hand
    download: bool = False  # fetch what is missing from its official address
    large: bool = False  # also above 1 GB
    seed: int = 0  # another one draws other initial values, orders and crops


def prepare(workload: Workload, profile: str, source: Source, progress=lambda *_: None) -> Path:
    """Writes the canonical inputs of a workload, or finds them written.

    Args:
        progress: Called with (what, done, total) while data is read, drawn or downloaded.

    Returns:
        The manifest; its format is in docs/contract.md.

    Raises:
        DataError: Data is missing, altered or cut off.
    """
    folder = project.home() / "inputs" / workload.name
    newest = folder / f"{profile}.json"
    recipe = _recipe(workload, profile, source)
    if newest.is_file():
        manifest = json.loads(newest.read_text("utf-8"))
        if manifest["recipe"] == recipe and _whole(manifest, folder):
            return folder / f"{manifest['digest']}.json"
    manifest = _build(workload, profile, source, progress)
    recipe = _recipe(workload, profile, source)  # a download has changed what there is
    text = json.dumps({**manifest, "recipe": recipe}, indent=1)
    path = folder / f"{manifest['digest']}.json"
    write_whole(path, text.encode())
    write_whole(newest, text.encode())
    return path


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest at ``path`` as a dict."""
    return json.loads(path.read_text("utf-8"))


def load_array(path: Path, manifest: dict[str, Any], name: str) -> np.ndarray:
    """The array ``name`` of the manifest at ``path``, memory-mapped and read-only."""
    return np.load(path.parent / manifest["arrays"][name]["file"], mmap_mode="r")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def stream(workload: Workload, what: str, seed: int = 0) -> np.random.Generator:
    """The random numbers for one purpose: one purpose more leaves the others as they were."""
    purpose = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "little")
    return np.random.default_rng([workload.seed, purpose, seed])


def initial(workload: Workload, tensor: Tensor, seed: int = 0) -> np.ndarray:
    """A tensor as training starts from it, float32.

    Glorot & Bengio 2010, eq. 16: U(+-sqrt(6 / (fan_in + fan_out))) with the fans of the stored
    array (out, in, *window), each times the window; biases 0; batch norm 1, 0 and 0, 1.
    """
    if tensor.init == "glorot_uniform":
        fans = (tensor.shape[0] + tensor.shape[1]) * prod(tensor.shape[2:])
        bound = sqrt(6 / fans)
        drawn = stream(workload, f"tensors/{tensor.name}", seed)
        return drawn.uniform(-bound, bound, tensor.shape).astype(np.float32)
    value = 1.0 if tensor.init in ("ones", "buffer_ones") else 0.0
    return np.full(tensor.shape, value, np.float32)


def parity_tensors(workload: Workload) -> dict[str, np.ndarray]:
    """The second set, in which nothing is trivial: a lost or mis-mapped tensor shows.

    Biases N(0, 0.1), scales U[0.5, 1.5], shifts N(0, 0.1); batch norm's running statistics are
    those of the parity batch under these very weights, stored beside the workload
    (harness/make_parity_statistics.py). Where a step of training moves them they start some way
    off, or the wrong momentum would move them as little as the right one: the mean by N(0, 0.1)
    standard deviations, the variance by a factor U[0.5, 1.5].
    """
    stored = project.BENCHMARKS / workload.name / "parity_statistics.npz"
    statistics = dict(np.load(stored)) if stored.is_file() else {}
    tensors = {}
    for tensor in workload.tensors:
        rng = stream(workload, f"parity/{tensor.name}")
        if tensor.init == "zeros":
            tensors[tensor.name] = rng.normal(0, 0.1, tensor.shape).astype(np.float32)
        elif tensor.init == "ones":
            tensors[tensor.name] = rng.uniform(0.5, 1.5, tensor.shape).astype(np.float32)
        else:
            value = statistics.get(tensor.name, initial(workload, tensor))
            if workload.phase == "train" and tensor.name in statistics:
                value = _displaced(tensor, statistics, rng)
            tensors[tensor.name] = value
    return tensors


def _displaced(tensor: Tensor, statistics: dict[str, np.ndarray], rng) -> np.ndarray:
    """A running statistic some way off the stored one, float32."""
    value = statistics[tensor.name]
    if tensor.init == "buffer_ones":  # a variance
        return (value * rng.uniform(0.5, 1.5, value.shape)).astype(np.float32)
    deviation = np.sqrt(statistics[tensor.name.replace("running_mean", "running_var")])
    return (value + rng.normal(0, 0.1, value.shape) * deviation).astype(np.float32)


def parity_batches(workload: Workload) -> dict[str, np.ndarray]:
    """Samples and targets of the parity job, drawn, so that they are the same on every machine.

    Returns:
        parity.x (4 * batch, *shape), parity.y (4 * batch,) int64 or (4 * batch, classes) uint8.
    """
    rng = stream(workload, "parity batches")
    samples, spec = PARITY_BATCHES * workload.parity.batch, workload.input
    if spec.dtype == "float32":  # patches: noise alone makes images too alike for batch norm
        pixels = _samples(rng, samples, replace(spec, dtype="uint8"))
        return {"parity.x": pixels.astype(np.float32) / 256}
    return {
        "parity.x": _samples(rng, samples, spec),
        **({"parity.y": _targets(rng, samples, spec)} if spec.target != "none" else {}),
    }


def _samples(rng: np.random.Generator, n: int, spec: workloads.Input) -> np.ndarray:
    if spec.dtype == "float32":
        return rng.random((n, *spec.shape), np.float32)
    if spec.dtype == "int32":  # word ids: 1 starts, every length occurs, the end is padded
        ids = rng.integers(2, spec.vocabulary, (n, *spec.shape), np.int32)
        ids[:, 0] = 1
        lengths = rng.integers(spec.shape[0] // 4, spec.shape[0] + 1, (n, 1))
        return np.where(np.arange(spec.shape[0]) < lengths, ids, 0).astype(np.int32)
    channels, height, width = spec.shape  # pixels: patches of 4 x 4 under fine noise
    patches = rng.integers(0, 224, (n, channels, height // 4, width // 4), np.uint8)
    fine = rng.integers(0, 32, (n, *spec.shape), np.uint8)
    return patches.repeat(4, axis=2).repeat(4, axis=3) + fine


def _targets(rng: np.random.Generator, n: int, spec: workloads.Input) -> np.ndarray:
    if spec.target == "class":
        return rng.integers(0, spec.classes, n, np.int64)
    return (rng.random((n, spec.classes)) < 0.2).astype(np.uint8)


def _build(workload: Workload, name: str, source: Source, progress) -> dict[str, Any]:
    profile = workload.profiles[name]
    data = datasets.load(
        workload.dataset,
        workload.data,
        stand_in=source.stand_in,
        download=_fetches(workload, source),
        large=source.large,
        smoke=name == "smoke",
        progress=progress,
    )
    pretrained = weights.find(workload)
    arrays = {
        **data.arrays,
        **_orders(workload, profile, data.arrays, source.seed),
        **parity_batches(workload),
        **_synthetic(workload, profile),
    }
    arrays |= {f"parity/{key}": value for key, value in parity_tensors(workload).items()}
    arrays |= {
        f"tensors/{key}": value for key, value in _start(workload, pretrained, source.seed).items()
    }
    entries = {key: _store(value) for key, value in sorted(arrays.items())}
    together = hashlib.sha256("".join(f"{k}{e['sha256']}" for k, e in entries.items()).encode())
    return {
        "schema": SCHEMA,
        "workload": workload.name,
        "profile": name,
        "digest": together.hexdigest()[:16],
        "data": {
            "dataset": data.name,
            "label": data.label,
            "digest": data.digest,
            "note": data.note,
        },
        "weights": pretrained.label if pretrained else "random",
        "arrays": entries,
        "folders": {key: str(path) for key, path in data.folders.items()},
        "batch": profile.batch,
        "parity_batch": workload.parity.batch,
        "feeds": list(workload.feeds),
        "schedule": {kind: asdict(s) for kind, s in profile.schedules.items()},
        "layers": [asdict(layer) for layer in workload.layers],
        "activations": list(workload.parity.activations),
    }


def _fetches(workload: Workload, source: Source) -> bool:
    """Above 1 GB only what was asked for is fetched; a run then goes on with the stand-in."""
    archives = datasets.spec(workload.dataset).archives
    size = sum(archive.bytes for archive in archives if archive.download)
    return source.download and (source.large or size <= LARGE)


def _start(
    workload: Workload, pretrained: weights.Weights | None, seed: int
) -> dict[str, np.ndarray]:
    """What training or feature extraction starts from.

    Without a loss to train on, feature extraction needs a batch norm that is not the identity: it
    starts from the parity tensors unless pretrained weights are at hand.
    """
    if pretrained:
        return weights.take(pretrained, workload.tensors)
    if workload.phase == "forward":
        return parity_tensors(workload)
    return {tensor.name: initial(workload, tensor, seed) for tensor in workload.tensors}


def _orders(
    workload: Workload, profile: Profile, arrays: dict[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """order (epochs, samples) int64; augment (epochs, samples, 3) int64: top, left, flip."""
    samples = next((len(v) for k, v in arrays.items() if k in ("train.y", "train.x")), 0)
    if not samples:
        return {}
    epochs = profile.schedules["training"].epochs or 1
    rng = stream(workload, "order", seed)
    orders = {"order": np.stack([rng.permutation(samples) for _ in range(epochs)])}
    if augment := workload.train.get("augment"):
        rng = stream(workload, "augment", seed)
        corners = rng.integers(0, augment["margin"] + 1, (epochs, samples, 2))
        flips = rng.integers(0, 2, (epochs, samples, 1))
        orders["augment"] = np.concatenate([corners, flips], axis=2)
    return orders


def _synthetic(workload: Workload, profile: Profile) -> dict[str, np.ndarray]:
    if not profile.synthetic:
        return {}
    return {
        "synthetic.x": _samples(stream(workload, "synthetic"), profile.synthetic, workload.input)
    }


def _store(array: np.ndarray) -> dict[str, Any]:
    """Keeps an array under the digest of its dtype, shape and bytes."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.view(np.uint8).reshape(-1) if array.size else b"")
    name = digest.hexdigest()
    path = project.home() / "inputs/arrays" / f"{name[:16]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return {
        "file": f"../arrays/{path.name}",
        "bytes": path.stat().st_size,
        "sha256": name,
        "shape": list(array.shape),
        "dtype": array.dtype.name,
    }


def _whole(manifest: dict[str, Any], folder: Path) -> bool:
    """Whether everything a manifest names is there; sizes only, contents are content-addressed."""
    files = [(folder / e["file"], e["bytes"]) for e in manifest["arrays"].values()]
    return (
        (folder / f"{manifest['digest']}.json").is_file()
        and all(path.is_file() and path.stat().st_size == size for path, size in files)
        and all(Path(path).is_dir() for path in manifest["folders"].values())
    )


def _recipe(workload: Workload, profile: str, source: Source) -> str:
    """Equal when preparing again would give the same: comments in a .toml file do not count."""
    data = datasets.recipe(
        workload.dataset,
        workload.data,
        stand_in=source.stand_in,
        smoke=profile == "smoke",
        download=_fetches(workload, source),
    )
    pretrained = weights.find(workload)
    statistics = project.BENCHMARKS / workload.name / "parity_statistics.npz"
    parts = [
        repr(workload),
        profile,
        str(source.seed),
        data,
        pretrained.label if pretrained else "",
        hashlib.sha256(statistics.read_bytes()).hexdigest() if statistics.is_file() else "",
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
