"""Whether a framework really imports: what is installed and cannot be imported is not ready."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..errors import EnvironmentFailed
from ..spec.framework import Framework
from .record import clean_environment

_IMPORT = """
import importlib, site, sys
if sys.argv[1]:
    site.addsitedir(sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def check(framework: Framework, python: Path, overlay: str = "", paths: Iterable[str] = ()) -> None:
    """Imports what framework.toml names, once.

    In an environment of ours this also compiles what notebooks import, once for all of them: jobs
    write no bytecode, and compiling Keras with TensorFlow takes three times as long as importing.

    Raises:
        EnvironmentFailed: One of them does not import; the message is the exception's.
    """
    command = [str(python), *(["-B"] if overlay or paths else []), "-c", _IMPORT, overlay]
    done = subprocess.run(
        [*command, *framework.imports],
        capture_output=True,
        text=True,
        env={**clean_environment(paths), **framework.environment},
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise EnvironmentFailed(f"installed, but it does not import: {last}")
