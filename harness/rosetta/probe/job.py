"""The job: what the harness asks for, or, by hand, everything at the size of a profile."""

import json
import os
from pathlib import Path

KINDS = ("parity", "timing", "training", "layers")


class Job:
    """A job with every field filled in.

    Args:
        given: The dict in the notebook's Parameters cell: five keys by hand, all of them when the
            harness runs it.

    Attributes:
        kinds: Which sections have work to do; by hand parity, training and layers.
        schedule: {kind: what it does}, see ``rosetta.spec.workload.Schedule``.
        manifest: The canonical inputs; ``manifest_path`` is where they stand.
        recorded: Kind "alone": the arrays of the parity job that is judged layer by layer.
        facts: The fields that identify the job, as recorded in its header.

    Raises:
        SystemExit: The inputs were not prepared; the message is the command that does it.
    """

    def __init__(self, given, device):
        self.root = _project_root()
        self.manifest_path = _manifest(given, self.root)
        self.manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        by_hand = "kind" not in given
        self.kinds = ("parity", "training", "layers") if by_hand else (given["kind"],)
        planned = self.manifest["schedule"]
        self.schedule = planned if by_hand else {given["kind"]: given["schedule"]}
        self.feed = given.get("feed", self.manifest["feeds"][0])
        self.batch = given.get("batch", self.manifest["batch"][device])
        folder = given.get("out") or _fresh(self.root, given)
        self.out = Path(os.path.abspath(str(folder)))  # some frameworks save to no other path
        self.out.mkdir(parents=True, exist_ok=True)
        self.events = Path(given.get("events", self.out / "events.jsonl"))
        self.recorded = Path(given.get("recorded", ""))
        self.facts = dict(given, feed=self.feed, batch=self.batch, kinds=list(self.kinds))
        for path in ("inputs", "out", "events", "recorded"):
            self.facts.pop(path, None)


def _manifest(given, root):
    if "inputs" in given:
        return Path(given["inputs"])
    path = _home(root) / "inputs" / given["workload"] / (given["profile"] + ".json")
    if not path.is_file():
        raise SystemExit(
            "%s is missing.\n  Fix: rosetta prepare %s --profile %s"
            % (path, given["workload"], given["profile"])
        )
    return path


def _project_root():
    """The project, wherever Jupyter was started: this file stands in harness/rosetta/probe."""
    return Path(__file__).resolve().parents[3]


def _home(root):
    return Path(os.environ.get("ROSETTA_HOME") or root / ".rosetta")


def _fresh(root, given):
    """A run by hand gets a folder of its own, away from the results that tables are made of."""
    stem = "-".join((given["workload"], given["framework"], given["variant"]))
    folder = _home(root) / "by_hand"
    taken = len(list(folder.glob(stem + "-*"))) if folder.is_dir() else 0
    return folder / ("%s-%03d" % (stem, taken + 1))
