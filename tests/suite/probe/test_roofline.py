"""The clock of machine.py: what is timed, what is left out, and that it ends with its owner."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rosetta import schema
from rosetta.probe.roofline import Machine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def machine():
    return Machine({"numpy": np.__version__}, arguments=["cpu", "0.2", "--bytes", "1048576"])


@pytest.fixture
def measured(machine, capsys):
    """What the machine prints, by figure."""

    def measure():
        machine.measure()
        document = json.loads(capsys.readouterr().out)
        schema.check("machine", document, "the document")
        return document

    return measure


def product(size):
    a = np.ones((size, size), np.float32)
    return lambda: a @ a


def test_work_is_counted_in_flops_and_in_bytes_read_and_written(machine, measured):
    machine.gemm("fp32", 64, partial(product, 64))
    machine.convolution("fp32", (2, 4, 8), "as it lies", partial(product, 8))
    machine.copy(lambda: np.ones(machine.bytes, np.uint8).copy)
    machine.dispatch("abs", lambda: partial(abs, 1))
    found = {sample["figure"]: sample for sample in measured()["samples"]}
    assert found["gemm"]["work"] == 64 * 64 * (2 * 64)
    assert found["convolution"]["work"] == (2 * 4 * 8 * 8) * (2 * 4 * 3 * 3)
    assert found["convolution"]["what"] == "8x8x4-4, batch 2, as it lies"
    assert found["copy"]["work"] == 2 * 2**20 and found["copy"]["what"] == "1 MiB"
    assert found["dispatch"]["calls"] > 100, "one call of a tiny op is too short for any clock"
    assert all(len(sample["laps"]) > 1 for sample in found.values())


def test_what_a_library_lacks_is_left_out_with_its_reason_and_takes_nothing_along(
    machine, measured
):
    def lacking():
        raise NotImplementedError("no bfloat16 here")

    machine.gemm("bf16", 64, lacking)
    machine.gemm("fp32", 64, partial(product, 64))
    document = measured()
    assert [sample["precision"] for sample in document["samples"]] == ["fp32"]
    (entry,) = document["left_out"]
    assert entry["reason"] == "NotImplementedError: no bfloat16 here"


def test_a_product_that_would_take_too_long_is_not_begun(machine, measured):
    begun = []
    machine.gemm("fp32", 10, lambda: lambda: time.sleep(0.02))
    machine.gemm("fp32", 1000, lambda: lambda: begun.append(1))  # a million times the work
    document = measured()
    assert not begun and len(document["samples"]) == 1
    assert document["left_out"][0]["reason"].startswith("TooLong: one call would take 2e+04 s")


def test_every_lap_waits_for_its_last_result(capsys):
    waited = []
    machine = Machine({}, waited.append, ["cpu", "0.05"])
    machine.dispatch("three", lambda: lambda: 3)
    machine.measure()
    (sample,) = json.loads(capsys.readouterr().out)["samples"]
    assert set(waited) == {3} and len(waited) >= 1 + len(sample["laps"])


@pytest.mark.parametrize("words", [["tpu", "1"], ["cpu"], ["cpu", "soon"]])
def test_bad_arguments_end_a_script(words):
    with pytest.raises(SystemExit):
        Machine({}, arguments=words)


def test_it_ends_when_the_process_that_started_it_does():
    code = (
        "import sys, time; from rosetta.probe.roofline import Machine;Machine({}); time.sleep(60)"
    )
    theirs, ours = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", code, "cpu", "1", "--owner", str(theirs)],
        pass_fds=[theirs],
        env={**os.environ, "PYTHONPATH": str(ROOT / "harness")},
    )
    os.close(theirs)
    try:
        os.close(ours)
        assert child.wait(timeout=30) == 1
    finally:
        child.kill()
