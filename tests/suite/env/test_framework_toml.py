"""framework.toml: what it may say, and what is said when it says something else."""

from __future__ import annotations

import pytest
from rosetta.errors import SpecError
from rosetta.spec import framework as frameworks


def rewritten(make, old: str, new: str):
    framework = make()
    file = framework.folder / "framework.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return frameworks.load("tiny")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", r"unknown key 'titel'; did you mean 'title'\?"),
        ('note = "as', 'nope = "as', r"\[variants.plain\]: unknown key 'nope'"),
        ('distribution = "six"', "", "missing key 'distribution'"),
        ('class = "default"', 'class = "fast"', "class is 'fast'; known: default, tuned"),
        ('class = "default"', 'class = "tuned"', "one variant is the default, here 0"),
        ('device = "cuda"', 'device = "tpu"', "device 'tpu'; known: cpu, cuda"),
        ('name = "tiny"', 'name = "huge"', "name is 'huge', its folder is called 'tiny'"),
        ("title =", 'precisions = { cpu = ["fp8"] }\ntitle =', "precision 'fp8'; known: fp32"),
        ("schema = 1", "schema = 2", "schema is 2; this suite reads 1"),
        ('python = "==', 'python = "is ', "not a version specifier\n  Fix: write it as in"),
    ],
)
def test_what_it_does_not_know_is_named(make, old, new, message):
    with pytest.raises(SpecError, match=message):
        rewritten(make, old, new)


def test_an_unknown_framework_names_the_known_ones():
    with pytest.raises(SpecError, match=r"'pytorhc' is not known: notebooks/ has .*pytorch"):
        frameworks.load("pytorhc")


def test_refusals_and_variants():
    pytorch, keras = frameworks.load("pytorch"), frameworks.load("keras_tf")
    assert pytorch.default.name == "eager"
    assert "fused" not in [v.name for v in pytorch.variants_of("resnet50_features")]
    assert "frozen" not in [v.name for v in pytorch.variants_of("cnn_cifar10")]
    assert pytorch.refusal("cnn_cifar10", "cpu") == ""
    assert keras.refusal("no_such_workload", "cpu") == ""


def test_a_refusal_of_a_device_covers_every_workload():
    mxnet = frameworks.load("mxnet_gluon")
    assert "CUDA 11.2" in mxnet.refusal("cnn_cifar10", "cuda")
    assert "CUDA 11.2" in mxnet.refusal(device="cuda")
    assert mxnet.refusal("cnn_cifar10", "cpu") == ""


def test_a_precision_that_the_notebooks_do_not_compute_in_is_refused():
    pytorch, mxnet = frameworks.load("pytorch"), frameworks.load("mxnet_gluon")
    assert pytorch.refusal("cnn_cifar10", "cpu", precision="bf16") == ""
    assert "float32" in pytorch.refusal("gru_imdb", "cpu", precision="bf16")
    assert "tf32 on cpu" in pytorch.refusal("cnn_cifar10", "cpu", precision="tf32")
    assert "bf16 on cpu" in mxnet.refusal("cnn_cifar10", "cpu", precision="bf16")
