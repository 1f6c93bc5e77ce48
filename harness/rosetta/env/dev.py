"""`python -m rosetta.env.dev`: the developers' environment, for tests and checks."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from .. import project
from ..errors import RosettaError
from . import environments, interpreters, orchestrating
from .exclusive import Say, exclusive


def ensure(say: Say) -> Path:
    """The interpreter of ``dev``, built first if need be.

    Raises:
        EnvironmentFailed: No lock for this Python and platform, or uv failed.
    """
    folder = project.home() / "env" / "dev"
    lock = orchestrating.own_lock("dev")
    if not orchestrating.is_built(folder, lock):
        with exclusive(folder.with_suffix(".lock"), say) as descriptor:
            if not orchestrating.is_built(folder, lock):
                say(f"making the environment for tests ({len(lock.packages)} packages)")
                began = time.monotonic()
                folder.with_suffix(".json").unlink(missing_ok=True)
                interpreter = interpreters.find(lock.python) or Path(sys.executable)
                environments.make(folder, lock, interpreter, say, descriptor)
                orchestrating.finish(folder, lock, orchestrating.DISTRIBUTIONS)
                say(f"made in {time.monotonic() - began:.0f} s")
    return orchestrating.python_in(folder)


if __name__ == "__main__":
    try:
        ensure(orchestrating.say)
    except RosettaError as error:
        sys.exit(f"rosetta: {error}")
