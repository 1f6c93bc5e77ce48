"""Lanes of a processor with AVX-512: timed once, then read."""

import json

import pytest

llvm = pytest.importorskip("llvmlite.binding", reason="own kernels need llvmlite")

from trivet.simd import width  # noqa: E402

CPU, FEATURES = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIVET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/lanes.json"


def test_what_was_measured_is_kept_and_read(file):
    lanes = width.lanes_of_a_wide_register(CPU, FEATURES)
    assert lanes in (8, 16) and json.loads(file.read_text()) == {CPU: lanes}
    other = 24 - lanes
    file.write_text(json.dumps({CPU: other, "another": 16}))
    assert width.lanes_of_a_wide_register(CPU, FEATURES) == other


@pytest.mark.parametrize("text", ["", "{", '{"HERE": 5}'])
def test_a_file_that_cannot_be_right_is_measured_anew(file, text):
    file.parent.mkdir()
    file.write_text(text.replace("HERE", CPU))
    lanes = width.lanes_of_a_wide_register(CPU, FEATURES)
    assert json.loads(file.read_text()) == {CPU: lanes} and lanes in (8, 16)


def test_the_loops_of_every_width_run(file):
    rates = width.flop_rates((4, 8, 16), CPU, FEATURES)
    assert set(rates) == {4, 8, 16} and min(rates.values()) > 0
