"""A small project with a framework of its own: NumPy, one dense layer. Everything else is real."""

import subprocess
import sys

import nbformat
import pytest

WORKLOAD = """
schema = 1
name = "tiny"
title = "One dense layer on images"
question = "Does the harness work?"
sample = "image"
phase = "train"
dataset = "cifar10"
feeds = { arrays = ["timing", "parity", "training", "layers"] }
seed = 7
input = { dtype = "uint8", shape = [3, 32, 32], target = "class", classes = 10 }
model = { parameters = 30730, forward_flops = 61440, training_flops = 122880 }
train = { optimizer = { name = "sgd", lr = 0.1 } }
accept = {}

[parity]
batch = 16
steps = 3
activations = ["fc"]
bound_first = 1e-6
bound_losses = 1e-5
bound_activations = 1e-5
bound_gradients = 1e-5
bound_updated = 1e-5

[profiles.smoke]
batch = { cpu = 32 }
timing = { steps = 8 }
parity = { steps = 3 }
training = { epochs = 2 }
layers = { seconds = 0.1 }
"""

TENSORS = "name,shape,init\nfc.weight,10x3072,glorot_uniform\nfc.bias,10,zeros\n"
LAYERS = "name,kind,input,flops,like\nfc,dense,3072,61440,\n"

FRAMEWORK = """
schema = 1
name = "plain"
title = "NumPy"
distribution = "numpy"
python = ">=3.11"
judge = "loops"
[requires]
cpu = ["numpy"]
[variants.loops]
class = "default"
note = "one dense layer by hand"
[variants.twice]
class = "tuned"
note = "the same again, under another name"
"""

NOTEBOOK = """
import os, sys, time
import numpy as np
from rosetta.probe import Run

job = dict(job)
run = Run(job, device="cpu", versions={"numpy": np.__version__}, synchronize=lambda value: None)
real = np.float64 if job["precision"] == "fp64" else np.float32
train, test = run.split("train"), run.split("test")
weights = {}


def start(tensors):
    weights.update({name: value.astype(real) for name, value in tensors.items()})


def forward(x):
    return (x.reshape(len(x), -1) / real(255)) @ weights["fc.weight"].T + weights["fc.bias"]


def train_step(x, y):
    flat, logits = x.reshape(len(x), -1) / real(255), forward(x)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[range(len(y)), y]).mean()
    p[range(len(y)), y] -= 1
    gradients = {"fc.weight": p.T @ flat / real(len(y)), "fc.bias": p.mean(0)}
    for name in weights:
        weights[name] = weights[name] - real(0.1) * gradients[name]
    return loss, gradients


for batches in run.parity_batches():
    start(run.parity_tensors)
    activations = {"fc": forward(batches[0][0])}
    loss, gradients = train_step(*batches[0])
    updated = dict(weights)
    losses = [loss] + [train_step(x, y)[0] for x, y in batches[1:]]
    run.parity(losses, activations=activations, gradients=gradients, updated=updated)

start(run.tensors)
run.checkpoint(
    lambda path: np.savez(open(path, "wb"), **weights),
    lambda path: weights.update({k: v for k, v in np.load(path).items()}),
)
for number, lap in enumerate(run.laps()):
    {FAULT}
    with run.lap("train", steps=len(lap)) as done:
        losses = [train_step(train["x"][s.index], train["y"][s.index])[0] for s in lap]
        done(losses)
    run.losses(losses)
run.predictions([forward(test["x"][rows]).argmax(1) for rows in run.test_batches()])
for layer in run.layers:
    x = np.zeros(layer.shape, np.uint8)
    run.layer(layer.name, forward=lambda: forward(x), total=lambda: forward(x))
run.finish()
"""


def notebook(project, fault="pass"):
    """Writes the notebook; ``fault`` is a statement at the start of every lap."""
    parameters = nbformat.v4.new_code_cell("job = {}", metadata={"tags": ["parameters"]})
    code = nbformat.v4.new_code_cell(NOTEBOOK.replace("{FAULT}", fault))
    kernel = {"name": "plain", "display_name": "NumPy", "language": "python"}
    made = nbformat.v4.new_notebook(cells=[parameters, code], metadata={"kernelspec": kernel})
    project.write("notebooks/plain/tiny.ipynb", nbformat.writes(made))


@pytest.fixture
def project(checkout):
    """A checkout with one workload and one framework; ``project.notebook(fault)`` breaks it."""
    made = checkout()
    made.write("benchmarks/tiny/workload.toml", WORKLOAD)
    made.write("benchmarks/tiny/tensors.csv", TENSORS)
    made.write("benchmarks/tiny/layers.csv", LAYERS)
    made.write("notebooks/plain/framework.toml", FRAMEWORK)
    made.notebook = lambda fault: notebook(made, fault)
    notebook(made)
    made.rosetta("setup", "--use", f"plain={sys.executable}")
    return made


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
