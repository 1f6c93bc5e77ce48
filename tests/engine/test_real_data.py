"""Real reviews, images and photos: what PyTorch reaches and names, trivet reaches and names.

Needs ROSETTA_DATA. Data, first tensors and the order of samples are the suite's canonical inputs
(`rosetta prepare`); the subsets are the first of its first epoch.
"""

import os

import numpy as np
import pytest
import torch
import trivet
from nets import TWINS, Ours, Theirs, TorchReviews, TorchSqueezeNet, Twins
from rosetta import datasets, inputs
from rosetta.spec import workload as workloads
from trivet import Tensor, zoo
from trivet.formats.state import read_state

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("ROSETTA_DATA"), reason="needs ROSETTA_DATA"),
]
BATCH = 64
MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def canonical(name):
    """Arrays of a workload by name, and the tensors that training starts from."""
    path = inputs.prepare(workloads.load(name), "full", inputs.Source())
    manifest = inputs.load_manifest(path)
    arrays = {key: inputs.load_array(path, manifest, key) for key in manifest["arrays"]}
    first = {k.removeprefix("tensors/"): v for k, v in arrays.items() if k.startswith("tensors/")}
    return arrays, first


def correct(training, arrays, scale, chosen, tested, epochs):
    """Trains on the chosen samples; tells which of the tested ones it then gets right."""
    for epoch in range(epochs):
        order = chosen[np.random.default_rng(epoch).permutation(len(chosen))]
        for k in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[k : k + BATCH]
            training.step(scale(arrays["train.x"][rows]), arrays["train.y"][rows])
    parts = (tested[k : k + BATCH] for k in range(0, len(tested), BATCH))
    classes = [training.logits(scale(arrays["test.x"][rows])).argmax(1) for rows in parts]
    return np.concatenate(classes) == arrays["test.y"][tested]


def assert_as_accurate(ours, theirs, chance):
    """Within two binomial standard errors of one another, and far above chance."""
    accuracy, expected = ours.mean(), theirs.mean()
    error = np.sqrt(expected * (1 - expected) / len(theirs))
    print(f"trivet {accuracy:.4f}, PyTorch {expected:.4f}, standard error {error:.4f}, "
          f"{(ours == theirs).mean():.4f} judged alike, n = {len(ours)}")  # fmt: skip
    assert abs(accuracy - expected) <= 2 * error
    assert min(accuracy, expected) > chance + 10 * error


def test_gru_on_imdb_is_as_accurate_as_pytorchs():
    """Longer, on fewer reviews, it learns them by heart: PyTorch then disagrees with itself."""
    arrays, first = canonical("gru_imdb")
    twins = Twins(zoo.gru_imdb, lambda: TorchReviews(30_000), rate=1e-3, adam=True)
    subset = arrays["order"][0][:10_000], np.arange(0, 25_000, 5)
    ours, theirs = (
        correct(library(twins, first, "float32"), arrays, np.asarray, *subset, epochs=2)
        for library in (Ours, Theirs)
    )
    assert_as_accurate(ours, theirs, chance=0.5)


def test_cnn_on_cifar10_is_as_accurate_as_pytorchs():
    """Without dropout, whose masks no two libraries draw alike."""
    arrays, first = canonical("cnn_cifar10")
    subset = arrays["order"][0][:6400], np.arange(0, 10_000, 2)
    ours, theirs = (
        correct(library(TWINS["cnn"], first, "float32"), arrays, unit, *subset, epochs=3)
        for library in (Ours, Theirs)
    )
    assert_as_accurate(ours, theirs, chance=0.1)


def unit(pixels):
    return np.float32(pixels) / 255


def test_squeezenet_names_photos_as_pytorch_does():
    root = os.environ["ROSETTA_DATA"]
    state = read_state(f"{root}/weights/squeezenet1_0/squeezenet1_0-deepcomp.pth")
    net, twin = zoo.squeezenet1_0().eval(), TorchSqueezeNet().eval()
    net.load_state_dict(state)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    options = dict(stand_in=False, download=False, large=False, smoke=False)
    photos = datasets.load("imagenet_photos", {}, **options, progress=lambda *_: None).arrays
    hits, differences = [], []
    for k in range(0, 1000, 50):  # 200 of them, ten at a time
        rows = slice(k, k + 50, 5)
        pixels = np.float32(photos["test.x"][rows]).transpose(0, 2, 3, 1) / 255
        x = ((pixels - MEAN) / DEVIATION).transpose(0, 3, 1, 2).copy()  # (10, 3, 224, 224)
        with trivet.no_grad(), torch.no_grad():
            y, z = net(Tensor(x)).numpy(), twin(torch.from_numpy(x)).numpy()
        differences.append(abs(y - z).max())
        five = np.argsort(-y, axis=1)[:, :5]
        assert np.array_equal(five, np.argsort(-z, axis=1)[:, :5])
        hits.append(five == photos["test.y"][rows, None])
    hits = np.concatenate(hits)  # (200, 5)
    top1, top5 = hits[:, 0].mean(), hits.any(1).mean()
    print(f"top-1 {top1:.3f}, top-5 {top5:.3f} of {len(hits)} photos, "
          f"logits differ by {max(differences):.1e}")  # fmt: skip
    assert max(differences) < 1e-4
    assert top1 > 0.5 and top5 > 0.7
