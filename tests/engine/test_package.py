"""The engine is a distribution of its own: it installs and imports without the suite."""

import subprocess
import sys
from pathlib import Path

ENGINE = Path(__file__).parents[2] / "engine"


def test_it_imports_alone():
    code = f"import sys; sys.path[:0] = [{str(ENGINE)!r}]; import trivet; print(list(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rosetta" not in done.stdout
