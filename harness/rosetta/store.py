"""What stands in ``results/<machine>/<run>/``, read and checked; nothing is computed here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import project, schema
from .errors import ResultError


@dataclass(frozen=True)
class Lap:
    """A stretch of work between two looks at the clock."""

    phase: str  # train, forward, validate, test, latency, layer
    seconds: float
    steps: int
    tags: dict[str, Any] = field(default_factory=dict)  # of a layer: layer, work


@dataclass(frozen=True)
class Record:
    """The events of one job."""

    path: Path
    header: dict[str, Any]
    laps: tuple[Lap, ...]
    losses: tuple[float | None, ...]  # nats; None was NaN or infinite
    compile_seconds: float | None  # in all; None: the framework does not report it
    resumed_epoch: int  # the epoch of the checkpoint this attempt began with; 0: the beginning
    last: dict[str, dict[str, Any]]  # kind of event -> the last of its kind
    complete: bool  # it has its last line

    def phase(self, name: str) -> list[Lap]:
        """The laps of one phase, in order."""
        return [lap for lap in self.laps if lap.phase == name]

    @property
    def error(self) -> str:
        """What a notebook raised inside a lap, or an empty string."""
        if event := self.last.get("error"):
            return f"{event['phase']}: {event['type']}: {event['message']}"
        return ""


@dataclass(frozen=True)
class State:
    """What became of a job: "started", "measured", "failed", "cut", "skipped" or "planned"."""

    state: str
    reason: str = ""
    attempt: int = 1
    seconds: float | None = None


class Run:
    """One run: its plan at once, everything else when it is asked for.

    Args:
        folder: ``results/<machine>/<run>``.

    Raises:
        ResultError: run.json is missing, is not JSON, or is not of the schema.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.plan = folder, read_plan(folder / "run.json")
        self.name, self.machine = self.plan["run"], folder.parent.name
        self._records: dict[str, Record | None] = {}
        self._states: dict[str, State] | None = None

    def jobs(self, cell: str, kind: str) -> list[dict[str, Any]]:
        """The planned jobs of a cell, by round."""
        found = [j for j in self.plan["jobs"] if j["cell"] == cell and j["kind"] == kind]
        return sorted(found, key=lambda job: job["round"])

    def state(self, job: str) -> State:
        """The last that jobs.jsonl says of a job."""
        if self._states is None:
            self._states = read_states(self.folder / "jobs.jsonl")
        return self._states.get(job, State("planned"))

    def record(self, job: str) -> Record | None:
        """The events of a job, or None where it never began to record.

        Raises:
            ResultError: As ``read_events``.
        """
        if job not in self._records:
            path = self.folder / "events" / f"{job}.jsonl"
            self._records[job] = read_events(path) if path.is_file() else None
        return self._records[job]

    def attempts(self, job: str) -> list[Record]:
        """Every record of a job in order: those that were cut off and set aside, then the last."""
        aside = sorted(
            (self.folder / "events").glob(f"{job}.attempt*.jsonl"),
            key=lambda path: int(path.stem.rpartition("attempt")[2]),
        )
        last = self.record(job)
        return [read_events(path) for path in aside if path.stat().st_size] + [last] * bool(last)

    def measured(self, job: str) -> Record | None:
        """The events of a job that was measured to its end; None of any other."""
        record = self.record(job) if self.state(job).state == "measured" else None
        return record if record and record.complete else None

    def judged(self, job: str) -> dict[str, Any] | None:
        """What the judge found in the arrays of a job, or None."""
        path = self.folder / "judged" / f"{job}.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def arrays(self, job: str) -> Path:
        """The folder of a job's arrays; it is not committed and may be gone."""
        return project.home() / "runs" / self.name / job

    def manifest(self, workload: str) -> Path | None:
        """The manifest of a workload's inputs, where this checkout has it."""
        planned = [j["job"] for j in self.plan["jobs"] if j["job"].get("workload") == workload]
        digest = self.plan["inputs"].get(workload, {}).get("digest", "")
        paths = [Path(job["inputs"]) for job in planned[:1] if "inputs" in job]
        paths.append(project.home() / "inputs" / workload / f"{digest}.json")
        return next((path for path in paths if path.is_file()), None)


def runs(machine: Path) -> list[Run]:
    """The runs of a machine, the newest first.

    Raises:
        ResultError: A run.json that cannot be read as what it claims to be.
    """
    found = [Run(path.parent) for path in machine.glob("*/run.json")]
    return sorted(found, key=lambda run: (run.plan["started"], run.name), reverse=True)


def machines() -> list[Path]:
    """The folders of ``results/`` that hold runs."""
    return sorted({path.parents[1] for path in project.RESULTS.glob("*/*/run.json")})


def read_plan(path: Path) -> dict[str, Any]:
    """run.json, checked.

    Raises:
        ResultError: It is missing, is not JSON, or is not of the schema.
    """
    try:
        plan = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path} is missing", "give a folder results/<machine>/<run>") from None
    except json.JSONDecodeError as error:
        raise ResultError(f"{path}: not JSON: {error}") from None
    schema.check("run", plan, str(path))
    return plan


def read_states(path: Path) -> dict[str, State]:
    """jobs.jsonl: the last state of every job that has one.

    Raises:
        ResultError: A line, other than a torn last one, that is not of the schema.
    """
    states = {}
    for number, line in _lines(path) if path.is_file() else ():
        schema.check("state", line, f"{path}:{number}")
        states[line["job"]] = State(
            line["state"], line.get("reason") or "", line.get("attempt", 1), line.get("seconds")
        )
    return states


def read_events(path: Path) -> Record:
    """The events of one job; a last line that a kill tore is dropped.

    Raises:
        ResultError: Any other line that is not of the schema, or no header.
    """
    events = []
    for number, event in _lines(path):
        schema.check_event(event, f"{path}:{number}")
        events.append(event)
    if not events or events[0]["event"] != "header":
        found = events[0]["event"] if events else "nothing"
        raise ResultError(
            f"{path}:1: expected the event 'header', found {found!r}",
            "delete the file and run the job again",
        )
    compiled = [e["seconds"] for e in events if e["event"] == "compile"]
    last = {e["event"]: e for e in events}
    return Record(
        path=path,
        header=events[0],
        laps=tuple(_lap(e) for e in events if e["event"] == "lap"),
        losses=tuple(v for e in events if e["event"] == "losses" for v in e["values"]),
        compile_seconds=sum(compiled) if compiled else None,
        resumed_epoch=last["resumed"]["epoch"] if "resumed" in last else 0,
        last=last,
        complete=events[-1]["event"] == "end",
    )


def _lap(event: dict[str, Any]) -> Lap:
    tags = {k: v for k, v in event.items() if k not in ("event", "phase", "seconds", "steps")}
    return Lap(event["phase"], event["seconds"], event.get("steps", 1), tags)


def _lines(path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of every whole line: what follows the last line feed was torn."""
    whole, found = path.read_text("utf-8").split("\n")[:-1], []
    for number, line in enumerate(whole, 1):
        try:
            found.append((number, json.loads(line)))
        except json.JSONDecodeError:
            raise ResultError(
                f"{path}:{number}: a line that is not JSON: {line[:60]!r}",
                "only the last line can be torn by a kill; take this file from its backup",
            ) from None
    return found
