"""The judge finds what is wrong and names it; planted faults are the proof."""

import json
import re

import numpy as np
import pytest
from rosetta import judge, project, references, store
from rosetta.errors import ResultError
from rosetta.spec import workload

RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.normal(size=shape)


def reference():
    """The arrays of a float64 parity job of the workload that conftest.py describes."""
    shapes = {"conv.weight": (4, 4, 3, 3), "conv.bias": (4,)}
    shapes |= {"gru.weight": (9, 10), "gru.bias": (1, 2)}
    arrays = {f"gradient/{name}": normal(*shape) for name, shape in shapes.items()}
    arrays |= {f"updated/{name}": normal(*shape) for name, shape in shapes.items()}
    arrays |= {"activation/conv": normal(2, 4, 8, 8), "activation/gru": normal(2, 3)}
    arrays["gradient/conv.bias"][:] = 0  # as in front of a batch norm
    return {**arrays, "gradient/input": normal(2, 3, 8, 8), "losses": np.array([2.3, 2.1, 1.9])}


def rounded(arrays):
    """What a float32 framework would say of the same."""
    noise = {k: v * (1 + 1e-7 * RNG.normal(size=v.shape)) for k, v in arrays.items()}
    noise["gradient/conv.bias"] = 1e-9 * normal(4)
    return {k: v.astype(np.float32) for k, v in noise.items()}


def transposed(arrays):
    arrays["gradient/conv.weight"] = arrays["gradient/conv.weight"].swapaxes(0, 1)
    return "gradient/conv.weight"


def shifted_padding(arrays):
    """Padding on one side only: the image moves by a pixel, and all that follows is wrong."""
    arrays["activation/conv"] = np.roll(arrays["activation/conv"], 1, axis=3)
    for name in arrays.keys() - {"activation/conv"}:
        arrays[name] = arrays[name] * 1.1
    return "activation/conv"


def swapped_gates(arrays):
    r, z, n = np.split(arrays["gradient/gru.weight"], 3)
    arrays["gradient/gru.weight"] = np.concatenate([z, r, n])
    return "gradient/gru.weight"


def mapped_to_another_bias(arrays):
    arrays["updated/conv.bias"] = np.resize(arrays["updated/gru.bias"], 4)
    return "updated/conv.bias"


def lost_in_the_gradient_of_a_bias(arrays):
    arrays["gradient/conv.bias"] = 0.01 * np.ones(4, np.float32)
    return "gradient/conv.bias"


def backward_fault_in_the_last_layer(arrays):
    """Everything below it is wrong as well; the cause is named."""
    for name in arrays:
        if name.startswith("gradient/") and name != "gradient/gru.bias":
            arrays[name] = arrays[name] + 1
    return "gradient/gru.weight"


def missing(arrays):
    del arrays["activation/gru"]
    return "activation/gru is missing"


def another_shape(arrays):
    arrays["gradient/gru.weight"] = arrays["gradient/gru.weight"].T
    return r"gradient/gru.weight has shape \(10, 9\), expected \(9, 10\)"


def not_finite(arrays):
    arrays["updated/conv.weight"][0, 0] = np.nan
    return "updated/conv.weight: 9 of 144 numbers are not finite"


def a_slow_drift(arrays):
    arrays["losses"][2] *= 1.01
    return "losses: that of step 3"


def a_first_loss(arrays):
    arrays["losses"][0] *= 1 + 1e-5
    return "first loss: 2.30002"


def infinite_loss(arrays):
    arrays["losses"][1] = np.inf
    return "losses: that of step 2 is not a finite number"


FAULTS = [
    transposed,
    shifted_padding,
    swapped_gates,
    mapped_to_another_bias,
    lost_in_the_gradient_of_a_bias,
    backward_fault_in_the_last_layer,
    missing,
    another_shape,
    not_finite,
    a_slow_drift,
    a_first_loss,
    infinite_loss,
]


def with_reference(run, arrays):
    run.parity(run.cell("good", precision="fp64"), arrays)


def judged(run, job):
    judge.judge_run(run.folder)
    return json.loads((run.folder / "judged" / f"{job}.json").read_text())


def test_float32_rounding_is_verified(results):
    run, base = results(), reference()
    with_reference(run, base)
    found = judged(run, run.parity(run.cell("good"), rounded(base)))
    assert (found["state"], found["reason"]) == ("verified", "")
    assert 0 < found["losses"] < 1e-6
    assert set(found["worst"]) == {"activations", "gradients", "updated"}
    assert all(0 < entry["error"] < entry["bound"] for entry in found["worst"].values())
    assert found["reference_curve"] == [2.3, 2.1, 1.9]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_outside_and_the_tensor_is_named(results, fault):
    run, base = results(), reference()
    with_reference(run, base)
    arrays = rounded(base)
    name = fault(arrays)
    found = judged(run, run.parity(run.cell("bad"), arrays))
    assert found["state"] == "outside"
    assert re.match(name, found["reason"]), found["reason"]


def judged_alone(results, fault=lambda arrays, start: None):
    """What the judge finds where it has also computed each piece from the job's own numbers."""
    run, base = results(), reference()
    start = {k[8:]: v - 2e-3 * normal(*v.shape) for k, v in base.items() if k[:8] == "updated/"}
    run.inputs(**{f"parity/{name}": value for name, value in start.items()})
    with_reference(run, base)
    arrays, cell = rounded(base), run.cell("framework")
    fault(arrays, start)
    run.alone(cell, {k: v for k, v in base.items() if k != "losses"})
    return judged(run, run.parity(cell, arrays))


def test_each_piece_is_judged_alone_too(results):
    found = judged_alone(results)
    assert (found["state"], found["reason"]) == ("verified", "")
    assert {"alone", "alone gradients", "alone updated"} < set(found["worst"])
    assert all(0 < entry["error"] < entry["bound"] for entry in found["worst"].values())


def a_layer_that_is_slightly_off(arrays, start):
    arrays["activation/gru"] *= 1 + 5e-6  # inside the bound of the whole network
    return "activation/gru alone"


def a_backward_pass_that_is_slightly_off(arrays, start):
    arrays["gradient/gru.weight"] *= 1 + 5e-5
    return "gradient/gru.weight alone"


def a_weight_decay_nobody_asked_for(arrays, start):
    change = arrays["updated/conv.weight"] - start["conv.weight"]
    arrays["updated/conv.weight"] = start["conv.weight"] + 1.003 * change
    return "updated/conv.weight alone"


@pytest.mark.parametrize(
    "fault",
    [
        a_layer_that_is_slightly_off,
        a_backward_pass_that_is_slightly_off,
        a_weight_decay_nobody_asked_for,
    ],
    ids=lambda fault: fault.__name__,
)
def test_what_the_whole_network_hides_is_found_in_the_piece_alone(results, fault):
    named = []
    found = judged_alone(results, lambda *args: named.append(fault(*args)))
    assert found["state"] == "outside" and found["reason"].startswith(named[0])
    assert len(found["findings"]) == 1


def test_a_wider_precision_has_wider_bounds_that_still_catch_a_transposed_tensor(results):
    run, base = results(), reference()
    with_reference(run, base)
    coarse = {k: v * (1 + 1e-3 * RNG.normal(size=v.shape)) for k, v in base.items()}
    assert judged(run, run.parity(run.cell("a", precision="bf16"), coarse))["state"] == "verified"
    transposed(coarse)
    assert judged(run, run.parity(run.cell("b", precision="bf16"), coarse))["state"] == "outside"


def test_a_file_that_was_cut_off_is_a_finding(results):
    run, base = results(), reference()
    with_reference(run, base)
    job = run.parity(run.cell("bad"), rounded(base))
    path = run.arrays(job) / "parity.npz"
    path.write_bytes(path.read_bytes()[:1000])
    found = judged(run, job)
    assert found["state"] == "outside" and "parity.npz cannot be read" in found["reason"]


def test_the_reference_of_an_earlier_run_judges_if_it_was_fed_the_same(results):
    earlier, base = results("10-quick"), reference()
    earlier.inputs(**{"parity.x": np.zeros(3)})
    with_reference(earlier, base)
    run = results("12-quick")
    found = judged(run, run.parity(run.cell("good"), rounded(base)))
    assert found["state"] == "verified" and found["against"].startswith("10-quick/parity-")


def test_without_any_reference_nothing_is_claimed(results):
    run = results()
    found = judged(run, run.parity(run.cell("good"), rounded(reference())))
    assert (found["state"], found["against"]) == ("unverified", None)


def test_the_stored_trajectory_judges_the_losses(results):
    run, base = results("10-quick"), reference()
    run.inputs(**{"parity.x": np.zeros(3)})
    with_reference(run, base)
    (path,) = references.keep(run.folder)
    stored = json.loads(path.read_text())
    assert stored["losses"] == [2.3, 2.1, 1.9] and stored["made_by"]["numpy"] == "2"
    for arrays in run.arrays("x").parent.glob("parity*/parity.npz"):
        arrays.unlink()
    later = results("12-quick")
    good = rounded(base)
    found = judged(later, later.parity(later.cell("good"), good))
    assert found["state"] == "verified" and found["reason"].startswith("losses only")
    a_slow_drift(good)
    assert judged(later, later.parity(later.cell("bad"), good))["state"] == "outside"
    later.inputs(**{"parity.x": np.ones(3)})  # another parity set: the trajectory says nothing
    found = judged(later, later.parity(later.cell("new"), good))
    assert found["state"] == "unverified"


def test_losses_past_the_float64_job_are_those_stored(results):
    early, base = results("10-quick"), reference()
    early.inputs(**{"parity.x": np.zeros(3)})
    manifest = project.home() / "inputs/tiny/d1.json"
    tiny = workload.load("tiny")
    assert references.steps(tiny, "quick", manifest) == 3  # nothing is stored yet
    with_reference(early, base)
    references.keep(early.folder)
    assert references.steps(tiny, "quick", manifest) == 1

    run, good = results("12-quick"), rounded(base)
    with_reference(run, {**base, "losses": base["losses"][:1]})
    found = judged(run, run.parity(run.cell("good"), good))
    assert found["state"] == "verified" and found["against"].startswith("12-quick/parity-")
    assert found["reference_curve"] == [2.3, 2.1, 1.9]
    a_slow_drift(good)
    assert judged(run, run.parity(run.cell("bad"), good))["state"] == "outside"

    run.inputs(**{"parity.x": np.ones(3)})  # another parity set: the trajectory says nothing
    assert references.steps(tiny, "quick", manifest) == 3


def test_stored_losses_that_begin_otherwise_are_not_gone_on_with(results):
    early, base = results("10-quick"), reference()
    early.inputs(**{"parity.x": np.zeros(3)})
    with_reference(early, base)
    references.keep(early.folder)
    run = results("12-quick")
    with_reference(run, {**base, "losses": base["losses"][:1] * (1 + 1e-7)})
    found = judged(run, run.parity(run.cell("good"), rounded(base)))
    assert found["reference_curve"] == [2.3 * (1 + 1e-7)]


def test_a_run_without_a_float64_job_cannot_become_the_reference(results):
    run = results()
    run.write()
    with pytest.raises(ResultError, match="no float64 parity job"):
        references.keep(run.folder)


def test_judging_again_changes_nothing_and_what_was_judged_outlives_its_arrays(results):
    run, base = results(), reference()
    with_reference(run, base)
    job = run.parity(run.cell("good"), rounded(base))
    before = judged(run, job)
    assert judge.judge_run(run.folder) == []
    (run.arrays(job) / "parity.npz").unlink()
    assert judge.judge_run(run.folder) == []
    assert store.Run(run.folder).judged(job) == before


def test_accuracy_is_of_all_samples_and_of_whole_batches_as_in_2018(results):
    run = results()
    y = np.zeros(100, np.int64)
    run.inputs(**{"test.y": y})
    predictions = np.zeros(100, np.float32)
    predictions[64:] = 1  # wrong where only the last, partial batch is
    found = judged(run, run.training(run.cell("good"), predictions))
    assert (found["accuracy"], found["accuracy_2018"]) == (0.64, 1.0)
    scores = np.eye(10)[predictions.astype(int)]
    found = judged(run, run.training(run.cell("scores"), scores))
    assert found["accuracy"] == 0.64, "scores count as their largest class"


def test_predictions_that_do_not_fit_are_a_finding(results):
    run = results()
    run.inputs(**{"test.y": np.zeros(100, np.int64)})
    found = judged(run, run.training(run.cell("short"), np.zeros(96)))
    assert found["accuracy"] is None and found["findings"] == [
        "predictions: 96 of 100 test samples"
    ]
    found = judged(run, run.training(run.cell("nan"), np.full(100, np.nan)))
    assert found["findings"] == ["predictions: some are not finite numbers"]
    job = run.training(run.cell("altered"), np.zeros(100))
    np.save(run.arrays(job) / "predictions.npy", np.ones(100))
    assert "its digest differs" in judged(run, job)["findings"][0]


def test_auc_is_the_mean_over_classes_that_have_both_outcomes(results, tmp_path):
    path = tmp_path / "benchmarks/tiny/workload.toml"
    text = path.read_text().replace('target = "class"', 'target = "multi_hot"')
    path.write_text(text)
    run = results()
    y = np.array([[0, 0, 1], [0, 0, 0], [0, 1, 1], [0, 1, 0]], np.uint8)
    scores = np.array([[0.1, 0.1, 0.9], [0.2, 0.2, 0.1], [0.3, 0.8, 0.2], [0.4, 0.9, 0.3]])
    run.inputs(**{"test.y": y})
    found = judged(run, run.training(run.cell("good"), scores))
    assert (found["auc"], found["auc_classes"]) == (pytest.approx((1.0 + 0.75) / 2), 2)


def test_features_are_compared_with_the_reference_and_with_the_named_framework(results):
    run, base = results(), {**reference(), "features": normal(5, 16)}
    with_reference(run, base)
    run.parity(run.cell("good"), base)
    turned = {**base, "features": base["features"].copy()}
    turned["features"][3] = -2 * turned["features"][3]
    found = judged(run, run.parity(run.cell("bad"), turned))["features"]
    assert found["images"] == 5 and found["pairwise"]["against"] == "good/eager"
    for compared in (found, found["pairwise"]):
        assert compared["error"] == pytest.approx(3.0)
        assert compared["cosine"] == pytest.approx(-1.0)
