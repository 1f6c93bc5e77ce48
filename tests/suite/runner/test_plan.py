"""What a run would do: which cells, which jobs, in which order."""

from dataclasses import replace

import pytest
from rosetta.errors import SpecError
from rosetta.runner import plan
from rosetta.spec import framework, workload

FRAMEWORKS = [framework.load(name) for name in framework.names()]
WORKLOADS = [workload.load(name) for name in workload.names()]
READY = {f.name: "planned" for f in FRAMEWORKS}


def options(**more):
    return plan.Options(**{"profile": "quick", "device": "cpu", "threads": 2, **more})


def jobs(chosen, outcomes=READY, referee=None):
    cells = plan.cells(FRAMEWORKS, WORKLOADS, chosen, outcomes)
    return plan.jobs(cells, WORKLOADS, FRAMEWORKS, chosen, referee)


def test_rounds_are_interleaved_and_each_starts_one_cell_further_on():
    timing = [j for j in jobs(options()) if j.kind == "timing"]
    rounds = [[j.cell.id for j in timing if j.round == number] for number in (1, 2, 3)]
    assert [j.round for j in timing] == sorted(j.round for j in timing)
    for number, cells in enumerate(rounds):
        assert cells == rounds[0][number:] + rounds[0][:number]


def test_parity_comes_first_then_timing_then_training_then_layers():
    kinds = [j.kind for j in jobs(options())]
    assert sorted(kinds, key=["parity", "timing", "training", "layers"].index) == kinds


def test_one_framework_judges():
    assert [f.name for f in FRAMEWORKS if f.judge] == ["trivet"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_references_that_are_lacking_come_first_and_run_on_the_cpu(device):
    judge = next(f for f in FRAMEWORKS if f.judge)
    chosen = options(device=device)
    assert not [j for j in jobs(chosen) if j.cell.precision == "fp64"]
    made = jobs(chosen, referee=plan.Referee(judge, {w.name: 2 for w in WORKLOADS[:2]}, "trivet"))
    references = [j for j in made if j.cell.precision == "fp64"]
    assert made[:2] == references and {j.kernel for j in references} == {"trivet"}
    assert [j.cell.workload for j in references] == [w.name for w in WORKLOADS[:2]]
    assert {j.cell.device for j in references} == {"cpu"}
    assert {j.parameters["schedule"]["steps"] for j in references} == {2}
    others = [j for j in made if j.kind == "parity" and j.cell.precision == "fp32"]
    assert 2 not in {j.parameters["schedule"]["steps"] for j in others}


def test_what_is_offered_may_depend_on_the_profile():
    whole = framework.load("trivet")
    slow = framework.NotOffered("too slow", profile="quick")
    part = replace(whole, not_offered=(slow,))

    def states(profile):
        cells = plan.cells([part], WORKLOADS, options(profile=profile), READY)
        return {(c.state, c.reason) for c in cells}

    assert states("smoke") == {("planned", "")} and states("quick") == {("not offered", "too slow")}


def test_only_timing_is_repeated_from_the_synthetic_feed():
    kinds = {j.kind for j in jobs(options()) if j.cell.feed == "synthetic"}
    densenet = {
        j.kind
        for j in jobs(options())
        if (j.cell.workload, j.cell.feed) == ("densenet_chexnet", "synthetic")
    }
    assert densenet == {"timing"} and "timing" in kinds


def test_auc_is_not_trained_for_on_a_cpu_except_in_full():
    def trains(profile):
        found = jobs(options(profile=profile))
        return any(j.kind == "training" and "densenet" in j.cell.workload for j in found)

    assert not trains("quick") and trains("full")


def test_tuned_variants_are_timed_on_request_and_trained_when_named():
    default = {j.cell.variant for j in jobs(options()) if j.cell.framework == "pytorch"}
    assert default == {"eager"}
    every = jobs(options(variants=("all",)))
    assert {"compile", "channels_last", "frozen"} <= {j.cell.variant for j in every}
    assert {j.cell.category for j in every if j.kind == "training"} == {"default"}
    named = jobs(options(variants=("channels_last",)))
    assert {j.kind for j in named if j.cell.workload == "cnn_cifar10"} == set(plan.ORDER)


def test_a_cell_that_cannot_be_measured_keeps_its_reason_and_has_no_job():
    outcomes = {**READY, "jax_flax": "failed: hash mismatch", "mxnet_gluon": "not installable: old"}
    cells = plan.cells(FRAMEWORKS, WORKLOADS, options(), outcomes)
    told = {(c.framework, c.workload): (c.state, c.reason) for c in cells}
    assert told["jax_flax", "cnn_cifar10"] == ("failed", "hash mismatch")
    assert told["mxnet_gluon", "cnn_cifar10"] == ("not installable", "old")
    assert told["keras_tf", "gru_imdb"][0] == "not offered" and told["keras_tf", "gru_imdb"][1]
    assert not {"jax_flax", "mxnet_gluon"} & {j.cell.framework for j in jobs(options(), outcomes)}


def test_every_job_has_a_file_name_of_its_own_and_a_notebook():
    found = jobs(options(variants=("all",)))
    assert len({j.id for j in found}) == len(found)
    assert all(j.notebook.is_file() for j in found)


def test_what_was_asked_for_reaches_the_notebook():
    found = jobs(options(batch=3, threads=1, rounds=2, timeout=9.0))
    assert {j.parameters["batch"] for j in found} == {3}
    assert {j.parameters["threads"] for j in found} == {1}
    assert {j.round for j in found} == {1, 2} and {j.timeout for j in found} == {9.0}


def test_words_may_stand_in_one_string_as_make_gives_them():
    assert plan.choose(["a,b c"], ["a", "b", "c", "d"], "letter") == ["a", "b", "c"]
    assert plan.choose([], ["a", "b"], "letter") == ["a", "b"]
    with pytest.raises(SpecError, match=r"letter 'e' is not known\n  Fix: one of: a, b"):
        plan.choose(["e"], ["a", "b"], "letter")
