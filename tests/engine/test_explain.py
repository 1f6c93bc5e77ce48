"""What trivet.explain tells of the machine, of a function, and of a captured step."""

import numpy as np
import pytest
import trivet
from trivet import Tensor, capture, ops
from trivet.errors import TrivetError


def test_the_machine_is_described():
    text = trivet.explain()
    assert text.startswith("threads: ") and "trivet.reference: there" in text


def test_each_launch_has_a_line_and_what_fell_to_the_reference_a_reason():
    x = Tensor(np.ones((2, 3)))
    text = trivet.explain(lambda: ops.erf(x * x))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["mul", "erf"]
    assert lines[2] == "2 launches by reference" and lines[3].startswith("plans ")
    for backend in trivet.registry.PREFERENCE["cpu"][:-1]:
        assert f"1 x mul: {backend}: " in text


def test_a_captured_step_is_explained_once_it_has_a_program():
    step = capture(lambda x: ops.relu(x))
    x = Tensor([1.0])
    with pytest.raises(TrivetError, match="called twice"):
        trivet.explain(step)
    for _ in range(2):
        step(x)
    assert trivet.explain(step).startswith("relu  float32 (1,) plain")
