"""The CPU's legs: the same numbers whichever of their libraries are installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from legs import CPU, REFERENCE

ROOT = Path(__file__).parents[2]
STEPS = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # as if it were not installed
import numpy as np, trivet
from trivet import Tensor, ops, optim, registry, zoo
registry.PREFERENCE["cpu"] = json.loads(sys.argv[2])
rng = np.random.default_rng(0)
trivet.seed(0)
net = zoo.cnn_cifar10()
rule = optim.SGD(net.parameters(), 0.01, momentum=0.9)
x, y = Tensor(rng.random((8, 3, 32, 32), np.float32)), Tensor(rng.integers(0, 10, 8))
losses = []
for _ in range(3):
    rule.zero_grad()
    loss = ops.cross_entropy(net(x), y)
    loss.backward()
    rule.step()
    losses.append(loss.item())
print(json.dumps([losses, trivet.explain()]))
"""


def steps(*hidden, legs=CPU, **environment):
    """Losses of three training steps, and the description of the machine."""
    output = subprocess.run(
        [sys.executable, "-c", STEPS, json.dumps(hidden), json.dumps(legs)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine"), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_a_leg_without_one_of_its_libraries_says_so_and_computes_the_same():
    expected, _ = steps(legs=REFERENCE)
    for hidden, said in ((), "trivet.native: there"), (("numba",), "Expected Numba"):
        losses, text = steps(*hidden)
        assert losses == pytest.approx(expected, rel=1e-4)
        assert said in text
    losses, _ = steps(legs=["trivet.native", "trivet.reference"])  # no oneDNN on this platform
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_one_thread_and_narrow_vectors_compute_the_same(tmp_path):
    expected, _ = steps()
    narrow = dict(OMP_NUM_THREADS="1", TRIVET_LANES="4", TRIVET_CACHE=str(tmp_path))
    losses, text = steps(**narrow)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert "threads: 1\n" in text and "vectors: 4 float32" in text


@pytest.mark.parametrize(
    "limit, threads", [({"OMP_THREAD_LIMIT": "2"}, 2), ({"OMP_MAX_ACTIVE_LEVELS": "0"}, 1)]
)
def test_no_more_threads_are_planned_for_than_the_runtime_starts(limit, threads):
    _, text = steps(legs=REFERENCE, OMP_NUM_THREADS="3", **limit)
    assert f"threads: {threads}\n" in text


ALONE = """
from trivet.lib import openmp
openmp.NAMES = ("libthereisnone.so",)
import numpy as np
from trivet import Tensor, ops, registry

registry.PREFERENCE["cpu"] = ["trivet.native"]
x = Tensor(np.arange(40_000, dtype="float32"), requires_grad=True)
ops.relu(x - 39_998.0).sum().backward()
print(openmp.threads(), x.grad.numpy().nonzero()[0].tolist())
"""


def test_without_an_openmp_runtime_our_kernels_run_on_one_thread():
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1 [39999]\n", done.stderr


@pytest.mark.parametrize(
    "name, value",
    [("OMP_NUM_THREADS", "many"), ("OMP_DYNAMIC", "true"), ("TRIVET_LANES", "7")],
    ids=["threads", "dynamic", "lanes"],
)
def test_settings_that_make_no_sense_are_refused_with_the_fix(name, value):
    with pytest.raises(subprocess.CalledProcessError) as error:
        steps(**{name: value})
    assert f"{name} " in error.value.stderr and f"got '{value}'" in error.value.stderr
    assert "Fix: " in error.value.stderr


SLEEP = """
import os
from trivet.lib import openmp
openmp.threads()
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    "chosen, spins",
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_without_work_soon_sleep_unless_the_user_says_otherwise(chosen, spins):
    """So that a process which wants the same processor gets it; the runtime says what it read."""
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", SLEEP],
        env={**kept, **chosen, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert done.stdout == f"{chosen.get('GOMP_SPINCOUNT')}\n"
