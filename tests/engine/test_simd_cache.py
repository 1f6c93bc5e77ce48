"""How kernels are made and kept: compiled once, found again, at whatever width."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from trivet import simd
from trivet.errors import OptionError
from trivet.simd import Kernel, Launch, parameter, target, write

ENGINE = Path(simd.__file__).parents[2]
CODE = """
import json, numpy as np
from trivet.simd import KERNELS, Launch, LANES
from trivet.simd.maps import Map
import other
y = np.zeros(40, "float32")
Launch((Map("own", other.function).flat(""), (40, y.ctypes.data)))()
(kernel,) = (k for k in KERNELS if k.name.startswith("own"))
print(json.dumps([kernel.compiled, y[:3].tolist(), LANES]))
"""


def in_a_process(folder, **environment):
    environment = {
        **os.environ, "TRIVET_CACHE": str(folder / "cache"), **environment,
        "PYTHONPATH": os.pathsep.join([str(ENGINE), str(folder)]),
    }  # fmt: skip
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_a_kernel_is_compiled_once_until_its_source_or_the_width_changes(tmp_path):
    source = tmp_path / "other.py"
    source.write_text("def function(emit):\n    return emit.constant(2.0)\n", "utf-8")
    assert in_a_process(tmp_path, TRIVET_LANES="8") == [True, [2.0] * 3, 8]
    assert in_a_process(tmp_path, TRIVET_LANES="8") == [False, [2.0] * 3, 8]
    source.write_text("def function(emit):\n    return emit.constant(3.0)\n", "utf-8")
    assert in_a_process(tmp_path, TRIVET_LANES="8") == [True, [3.0] * 3, 8]
    assert in_a_process(tmp_path, TRIVET_LANES="4") == [True, [3.0] * 3, 4]


def test_a_width_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("TRIVET_LANES", "5")
    with pytest.raises(OptionError, match=r"Expected TRIVET_LANES 4, 8 or 16; got '5'"):
        target._lanes()


def test_a_kernel_typed_at_a_prompt_is_compiled_without_the_cache():
    names = {"parameter": parameter, "write": write}
    exec("def typed(table):\n    write(parameter(table, 0), 1.5)\n", names)
    typed, y = Kernel(names["typed"]), np.zeros(1, "float32")
    Launch((typed, (y.ctypes.data,)), on=1)()
    assert y[0] == 1.5 and typed.compiled and not typed.cached


def test_threads_that_compile_at_once_leave_numbas_settings_as_they_were():
    names = {"parameter": parameter, "write": write}
    exec("def typed(table):\n    write(parameter(table, 0), 2.5)\n", names)
    made, before = [Kernel(names["typed"]) for _ in range(4)], config.CACHE_DIR
    with ThreadPoolExecutor(8) as pool:
        addresses = list(pool.map(lambda kernel: kernel.address, made * 4))
    assert addresses == [kernel.address for kernel in made] * 4
    assert before == config.CACHE_DIR
