"""The folder of one run: its plan, and what became of each job. Written as it happens."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import project
from ..inputs import write_whole

FINAL = ("measured", "failed", "skipped")


class Record:
    """One folder ``results/<machine>/<run>/``; docs/contract.md describes the files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))

    @classmethod
    def create(cls, machine: str, document: dict[str, Any]) -> Record:
        """A new run; a folder that exists is never written over."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}-{document['profile']}"
        folder = project.RESULTS / machine / name
        for sub in ("events", "notebooks", "judged"):
            (folder / sub).mkdir(parents=True, exist_ok=False)
        document = {"schema": 1, "run": name, "started": _utc(now), **document}
        write_whole(folder / "run.json", json.dumps(document, indent=1).encode())
        return cls(folder)

    @classmethod
    def unfinished(cls, machine: str, plan: str) -> Record | None:
        """The newest run of this very plan that was cut off, or None."""
        found = sorted((project.RESULTS / machine).glob("*/run.json"), reverse=True)
        for path in found:
            record = cls(path.parent)
            if record.document.get("plan") == plan:
                return None if record.finished() else record
        return None

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.folder.name

    def states(self) -> dict[str, dict[str, Any]]:
        """The last line written of each job; a line torn by a kill is dropped."""
        return {entry["job"]: entry for entry in self._entries()}

    def attempts(self, job: str) -> int:
        """How often a job was begun."""
        begun = [e for e in self._entries() if e["job"] == job and e["state"] == "started"]
        return len(begun)

    def _entries(self) -> list[dict[str, Any]]:
        path = self.folder / "jobs.jsonl"
        *lines, _ = path.read_text("utf-8").split("\n") if path.is_file() else [""]
        return [json.loads(line) for line in lines]

    def finished(self) -> bool:
        """Whether every job was measured or failed."""
        states = self.states()
        return all(states.get(job["id"], {}).get("state") in FINAL for job in self.document["jobs"])

    def note(self, job: str, state: str, **fields: Any) -> None:
        """Appends the state of a job; on disk when this returns."""
        line = {"job": job, "state": state, "time": _utc(datetime.now(UTC)), **fields}
        with (self.folder / "jobs.jsonl").open("ab+") as file:
            file.seek(0)
            written = file.read()
            file.truncate(written.rfind(b"\n") + 1)  # a kill may have torn the last line
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
