"""One process at a time builds an environment; the others wait and say so."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]  # receives one line of progress


@contextmanager
def exclusive(path: Path, say: Say) -> Iterator[int]:
    """Holds the lock file ``path``; gives its descriptor.

    An installer started inside inherits the descriptor and, with it, the lock (``flock`` belongs to
    the open file): if we are killed and it lives on, the next call waits for it too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting: another process is setting this up")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
