"""One job: a child process with its environment, its caches, its timeout, its end."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

from .. import project
from ..inputs import write_whole
from .plan import Job
from .record import Record

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # XLA's pool on a CPU
)


def execute(record: Record, job: Job, kernel: str, inputs: Path) -> str:
    """Runs a job to its end and notes what became of it.

    What an earlier, cut-off attempt recorded is moved aside, never overwritten; its checkpoints
    are kept, so a long training goes on.

    Args:
        kernel: The kernelspec that runs the notebook.
        inputs: The manifest.

    Returns:
        "measured" or "failed".

    Raises:
        KeyboardInterrupt, OSError: The job is ended (the disk is full), noted as ``cut``, and
            runs again next time.
    """
    work = project.home() / "runs" / record.name / job.id
    work.mkdir(parents=True, exist_ok=True)
    events = record.folder / "events" / f"{job.id}.jsonl"
    attempt = record.attempts(job.id) + 1
    if events.exists():
        events.rename(events.with_name(f"{events.stem}.attempt{attempt - 1}.jsonl"))
    spec = {
        "notebook": str(job.notebook),
        "executed": str(record.folder / "notebooks" / f"{job.id}.ipynb"),
        "kernel": kernel,
        "folder": str(work),
        "threads": job.parameters["threads"],
        "job": {
            **job.parameters,
            "inputs": os.path.relpath(inputs, work),  # results name no path of a machine
            "out": ".",
            "events": os.path.relpath(events, work),
            "run": record.name,
        },
    }
    (work / "spec.json").write_text(json.dumps(spec, indent=1))
    record.note(job.id, "started", attempt=attempt)
    start = time.monotonic()
    try:
        reason = _notebook(work / "spec.json", job, _variables(record, job))
        if os.strerror(errno.ENOSPC) in reason:
            raise OSError(errno.ENOSPC, reason)
    except (KeyboardInterrupt, OSError):
        record.note(job.id, "cut", attempt=attempt, seconds=time.monotonic() - start)
        raise
    _name_no_paths(Path(spec["executed"]))
    state = "failed" if reason else "measured"
    seconds = time.monotonic() - start
    record.note(job.id, state, attempt=attempt, seconds=seconds, reason=reason)
    if state == "measured":
        for path in work.glob("checkpoint*"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    return state


def _notebook(spec: Path, job: Job, variables: dict[str, str]) -> str:
    """Executes a specification in a fresh process; the reason it failed, or ""."""
    command = [sys.executable, "-m", "rosetta.runner.child", str(spec)]
    try:
        output, code = owned(command, variables, job.timeout)
    except subprocess.TimeoutExpired:
        return f"ran longer than {job.timeout:g} s and was ended"
    return _reason(output, code)


def owned(command: list[str], variables: dict[str, str], timeout: float) -> tuple[str, int]:
    """Runs a process that does not outlive this one; gives its output and its exit code.

    Args:
        command: Gets one more word: the descriptor of a pipe that ends when this process does,
            however it does.
        variables: Its whole environment.
        timeout: Seconds.

    Raises:
        subprocess.TimeoutExpired: It was ended, with whatever it had started.
    """
    theirs, ours = os.pipe()
    child = subprocess.Popen(
        [*command, str(theirs)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        pass_fds=(theirs,),
        start_new_session=True,  # Ctrl-C is ours to handle: the child is ended, then noted
        text=True,
        errors="replace",
    )
    try:
        os.close(theirs)
        output, _ = child.communicate(timeout=timeout)
    finally:
        os.close(ours)
        _end(child)
    return output, child.returncode


def _end(child: subprocess.Popen) -> None:
    """Ends a child with its kernel and whatever the kernel started."""
    try:
        family = [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)
    child.wait()


def _reason(output: str, code: int) -> str:
    last = output.rstrip().rsplit("\n", 1)[-1]
    try:
        return json.loads(last)["reason"]
    except (ValueError, KeyError, TypeError):
        signal = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the process died with {signal}: {last[-300:]}"


def _variables(record: Record, job: Job) -> dict[str, str]:
    """Equal threads for all; caches private to run, cell and kind, so the first round is cold."""
    cache = project.home() / "runs" / record.name / "cache" / f"{job.cell.id}-{job.kind}"
    return {
        **variables(job.parameters["threads"], cache),
        "JUPYTER_PATH": str(project.home() / "jupyter"),
        # choices by measurement: one set for all kinds of job and all feeds of a network, so that
        # parity runs what is timed
        "TRIVET_PLANS": str(cache.with_name(f"{replace(job.cell, feed='any').id}-plans")),
        **job.environment,
    }


def variables(threads: int, cache: Path) -> dict[str, str]:
    """The environment of whatever is measured: its threads, and caches that it need not share."""
    return {
        **os.environ,
        **{name: str(threads) for name in THREAD_VARIABLES},
        "XDG_CACHE_HOME": str(cache),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "CUDA_CACHE_PATH": str(cache / "cuda"),
    }


def _name_no_paths(executed: Path) -> None:
    """Papermill notes where the notebook stood; only the name is of use on another machine."""
    if not executed.is_file():
        return
    notebook = json.loads(executed.read_text("utf-8"))
    facts = notebook["metadata"].get("papermill", {})
    for key in ("input_path", "output_path"):
        facts[key] = Path(facts.get(key) or "").name
    facts.pop("parameters", None)  # they stand in the injected cell
    write_whole(executed, json.dumps(notebook, indent=1).encode())
