"""The workloads as they are defined: counts, flops, initial values, parity inputs."""

import numpy as np
import pytest
from rosetta import inputs
from rosetta.errors import SpecError
from rosetta.spec import workload

EXPECTED = {
    "cnn_cifar10": (3_441_592, 124.5e6),
    "resnet50_features": (23_508_032, 8.2e9),
    "gru_imdb": (3_818_302, 20.25e6),
    "densenet_chexnet": (6_968_206, 5.67e9),
}


@pytest.fixture(params=EXPECTED)
def task(request):
    return workload.load(request.param)


def test_parameters_and_flops_are_those_of_the_definition(task):
    parameters, flops = EXPECTED[task.name]
    assert task.parameters == parameters
    assert sum(layer.flops for layer in task.layers) == pytest.approx(flops, rel=0.01)
    assert task.model["forward_flops"] == pytest.approx(flops, rel=0.01)


def test_layers_refer_to_earlier_layers_of_their_kind_and_shape(task):
    known = {}
    for layer in task.layers:
        if layer.like:
            assert (known[layer.like].kind, known[layer.like].input) == (layer.kind, layer.input)
        known[layer.name] = layer
    assert len(known) == len(task.layers)


def test_every_profile_says_what_each_kind_does(task):
    assert set(task.profiles) == set(workload.PROFILES)
    for profile in task.profiles.values():
        assert set(profile.schedules) == set(workload.KINDS)


def test_initial_values_are_glorot_and_the_same_every_time(task):
    for tensor in task.tensors[:6]:
        value = inputs.initial(task, tensor)
        np.testing.assert_array_equal(value, inputs.initial(task, tensor))
        if tensor.init == "glorot_uniform":
            window = np.prod(tensor.shape[2:], dtype=int)
            bound = np.sqrt(6 / ((tensor.shape[0] + tensor.shape[1]) * window))
            assert abs(value).max() <= bound
            assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
            assert not np.array_equal(value, inputs.initial(task, tensor, seed=1))


def test_nothing_is_trivial_in_the_parity_tensors(task):
    for name, value in inputs.parity_tensors(task).items():
        assert len(np.unique(value)) > 1, name


def test_parity_batches_are_the_same_every_time_and_all_differ(task):
    first, again = inputs.parity_batches(task), inputs.parity_batches(task)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    x = first["parity.x"]
    assert x.shape == (4 * task.parity.batch, *task.input.shape)
    assert len({sample.tobytes() for sample in x}) == len(x)


def test_reviews_start_with_1_and_are_padded_at_the_end():
    ids = inputs.parity_batches(workload.load("gru_imdb"))["parity.x"]
    assert (ids[:, 0] == 1).all() and ids.max() < 30_000
    ends = (ids == 0).argmax(1)
    for row, end in zip(ids, ends):
        assert end == 0 or not row[end:].any()


def test_a_typo_is_named_located_and_corrected(tmp_path):
    for source in (workload.project.BENCHMARKS / "cnn_cifar10").glob("*.*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    path = tmp_path / "workload.toml"
    whole = path.read_text()
    path.write_text(whole.replace("at_least = 20", "at_lest = 20"))
    with pytest.raises(SpecError, match=r"unknown key 'at_lest'; did you mean 'at_least'"):
        workload.load("cnn_cifar10", tmp_path)
    path.write_text(whole.replace("parameters = 3441592", "parameters = 3441593"))
    with pytest.raises(SpecError, match=r"is 3441593, tensors\.csv adds up to 3441592"):
        workload.load("cnn_cifar10", tmp_path)


def test_an_unknown_workload_is_named_with_the_known_ones():
    with pytest.raises(SpecError, match="'mnist' is not known: benchmarks/ has cnn_cifar10"):
        workload.load("mnist")
