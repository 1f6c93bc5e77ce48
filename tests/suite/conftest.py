"""Checkouts in folders of their own, in which whole commands run without touching the project."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items):
    """What takes longest begins first: the workers then end at about the same time."""
    items.sort(key=lambda item: "frameworks" not in item.keywords)


def _listen():
    """A process started in the background ignores Ctrl-C, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Checkout:
    """A copy of the suite in a folder of its own, and the commands that run in it."""

    def __init__(self, folder, *parts):
        self.folder = folder
        for name in ("harness", "data", "results/historical", *parts):
            shutil.copytree(ROOT / name, folder / name)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder / "harness"),
            "ROSETTA_HOME": str(folder / "home"),
            "ROSETTA_MACHINE": "here",
            "TMPDIR": str(folder),  # the lock of a machine: a test must not wait for a benchmark
        }
        self.environment.pop("ROSETTA_DATA", None)

    def write(self, name, text):
        """A file of the checkout, its folders made."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def command(self, *words):
        return [sys.executable, "-m", "rosetta", *words]

    def rosetta(self, *words, code=0):
        """Runs a command to its end; fails the test on any other exit code."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def begin(self, *words):
        """Starts a command in a process group of its own."""
        return subprocess.Popen(
            self.command(*words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_listen,
        )

    @property
    def runs(self):
        return sorted((self.folder / "results/here").glob("*/run.json"))

    def states(self, run=None):
        """The last state of each job of a run, the newest if none is named."""
        path = (run or self.runs[-1]).parent / "jobs.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return {line["job"]: line for line in lines}

    def wait_for(self, process, condition):
        """Blocks until a file system condition holds; the process must still be running."""
        end = time.monotonic() + 300
        while not condition():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end, "it took longer than five minutes"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Makes checkouts: ``checkout("benchmarks", "notebooks")`` copies these folders too."""
    return lambda *parts: Checkout(tmp_path_factory.mktemp("checkout") / "project", *parts)
