"""The fresh process of one job: papermill, the notebook, its kernel, and nothing else.

``python -m rosetta.runner.child SPEC FD`` executes one notebook and prints one JSON line saying how
it went. FD is the reading end of a pipe whose other end only the runner holds: when the runner
dies, however it dies, the pipe ends, and so do this process and the kernel. Nothing goes on
computing beside the next run.
"""

from __future__ import annotations

import json
import os
import sys
import threading

# A grammar of web addresses, which jsonschema loads where it is installed: half of the time that
# papermill takes to import, at every job, and no notebook has an address to check.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

import papermill  # noqa: E402
import psutil  # noqa: E402
from papermill.exceptions import PapermillExecutionError  # noqa: E402


def main() -> None:
    """Reads the specification of the job, executes it, reports."""
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    threading.Thread(target=_die_with_runner, args=(int(sys.argv[2]),), daemon=True).start()
    _pin(spec["threads"])
    try:
        papermill.execute_notebook(
            spec["notebook"],
            spec["executed"],
            parameters={"job": spec["job"]},
            kernel_name=spec["kernel"],
            cwd=spec["folder"],
            progress_bar=False,
            start_timeout=120,
        )
        outcome = {"ok": True, "reason": ""}
    except PapermillExecutionError as error:
        outcome = {"ok": False, "reason": f"{error.ename}: {error.evalue}"}
    except Exception as error:  # a kernel that died, a disk that is full, a kernelspec that is gone
        outcome = {"ok": False, "reason": f"{type(error).__name__}: {error}"}
    print("\n" + json.dumps(outcome))


def _die_with_runner(fd: int) -> None:
    os.read(fd, 1)  # blocks until the other end is closed: no polling beside a measurement
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


def _pin(threads: int) -> None:
    """The first ``threads`` cores this process may use: pools that ignore variables obey this."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


if __name__ == "__main__":
    main()
