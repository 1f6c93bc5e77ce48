"""docs/add-an-op.md is followed word by word: its op passes the examination that every op gets."""

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest
import test_ops
from legs import REFERENCE
from trivet import ops, registry

PAGE = Path(__file__).parents[2] / "docs" / "add-an-op.md"


@pytest.fixture
def added(monkeypatch):
    """The module of the op, made from the page's two blocks of code, for one test."""
    monkeypatch.setattr(registry, "_KERNELS", dict(registry._KERNELS))
    monkeypatch.setattr(registry, "_CHOICES", {})
    known = dict(ops.OPS)
    module = ModuleType("trivet.ops.page")
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), module.__dict__)
    yield module
    ops.OPS.clear()
    ops.OPS.update(known)


def test_the_op_of_the_page_passes_the_sweep(added, monkeypatch):
    function, samples = ops.OPS["row_norm"]
    examined = 0
    for sample in samples(test_ops.np.random.default_rng(0)):
        if sample.error:
            test_ops.test_errors_say_what_came_and_how_to_fix_it(function, sample)
            continue
        test_ops.test_gradient_matches_central_differences(function, sample)
        test_ops.test_second_derivative_matches_central_differences(function, sample)
        test_ops.test_operands_are_left_alone(function, sample)
        test_ops.test_views_give_the_same_as_plain_tensors(function, sample)
        test_ops.test_gradients_see_tensors_only_through_saved(function, sample)
        for dtype in test_ops.ROUNDING:
            test_ops.test_narrower_floats_agree_with_float64(
                function, sample, dtype, REFERENCE, monkeypatch
            )
        examined += 1
    assert examined == 2


def test_its_example_says_what_comes_out(added):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    (found,) = finder.find(added.row_norm, "row_norm", globs=added.__dict__)
    assert runner.run(found) == doctest.TestResults(0, 1)
