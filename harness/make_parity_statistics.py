"""Makes benchmarks/<workload>/parity_statistics.npz: running statistics for parity jobs.

Batch norm's statistics of 0 and 1 would hide a network that loses them. These are the mean and the
unbiased variance that each layer sees in one float64 pass, in training mode, over the first parity
batch under the parity tensors. Which network that is, the Model cell of the PyTorch notebook says.

The files are committed, so nobody else needs this. It wants PyTorch beside the suite's own
dependencies, which the `dev` environment has:

    python harness/make_parity_statistics.py resnet50_features densenet_chexnet
"""

from __future__ import annotations

import sys
from collections import OrderedDict

import nbformat
import numpy as np
import torch
from rosetta import inputs, project
from rosetta.spec import workload as workloads
from rosetta.spec.workload import Workload
from torch import nn

NETWORKS = {"resnet50_features": "ResNet50", "densenet_chexnet": "DenseNet121"}


def network(workload: str) -> nn.Module:
    """The network as the Model section of the workload's PyTorch notebook defines it."""
    notebook = nbformat.read(project.NOTEBOOKS / "pytorch" / f"{workload}.ipynb", as_version=4)
    titles = [cell.source.split("\n")[0] for cell in notebook.cells]
    code = notebook.cells[titles.index("## Model") + 1].source
    names = {"torch": torch, "nn": nn, "OrderedDict": OrderedDict}
    exec(code, names)
    return names[NETWORKS[workload]]()


def first_batch(workload: Workload) -> torch.Tensor:
    """What enters the network in the first parity batch, float64 (batch, *shape)."""
    pixels = inputs.parity_batches(workload)["parity.x"][: workload.parity.batch]
    x = torch.from_numpy(pixels).double()
    if pixels.dtype != np.uint8:
        return x
    mean = torch.tensor(workload.train["mean"], dtype=torch.float64).view(3, 1, 1)
    deviation = torch.tensor(workload.train["deviation"], dtype=torch.float64).view(3, 1, 1)
    return (x / 255 - mean) / deviation


def statistics(workload: Workload) -> dict[str, np.ndarray]:
    """{name of a running mean or variance: float32 array (channels,)}."""
    tensors = inputs.parity_tensors(workload)
    model = network(workload.name)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    model.double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # keep what this batch shows, nothing of before
    with torch.no_grad():
        model(first_batch(workload))
    state = model.state_dict()
    buffers = [tensor.name for tensor in workload.tensors if not tensor.trained]
    return {name: state[name].float().numpy() for name in buffers}


def main(names: list[str]) -> None:
    """Writes the file of each workload named."""
    for name in names:
        path = project.BENCHMARKS / name / "parity_statistics.npz"
        np.savez(path, **statistics(workloads.load(name)))
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:] or list(NETWORKS))
