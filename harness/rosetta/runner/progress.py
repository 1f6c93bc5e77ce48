"""What runs, how far the run is, how long it still takes. Drawn between jobs, never beside one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..progress import console


class Piece(Protocol):
    """Part of the work: a job, or one script's turn."""

    @property
    def id(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def estimate(self) -> float: ...  # seconds


class JobProgress:
    """A bar over the jobs of a run, and a line for each that ended.

    The rest is estimated from the plan's estimates, corrected by how the jobs so far compared with
    theirs. The bar is refreshed when a job begins or ends: a redraw in the middle would be work
    beside a measurement.
    """

    def __init__(self, jobs: Sequence[Piece], done: set[str]) -> None:
        self._left = {job.id: job.estimate for job in jobs if job.id not in done}
        self._spent = self._expected = 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rest]}"),
        )
        self._total = len(jobs)
        terminal = console.is_terminal  # a log gets a line for each job instead of a bar
        self._progress = Progress(
            *columns, console=console, auto_refresh=False, disable=not terminal
        )
        self._task = self._progress.add_task(
            "starting", total=len(jobs), completed=len(done), rest=""
        )

    def __enter__(self) -> JobProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, job: Piece) -> None:
        """Shows the job that now runs and how long all that are left will take."""
        self._start = time.monotonic()
        pace = self._spent / self._expected if self._expected else 1.0
        rest = timedelta(seconds=round(sum(self._left.values()) * pace))
        self._progress.update(
            self._task, description=job.label, rest=f"about {rest} left", refresh=True
        )
        if not console.is_terminal:
            number = self._total - len(self._left) + 1
            console.print(f"{number}/{self._total} {job.label}, about {rest} left")

    def end(self, job: Piece, state: str, reason: str) -> None:
        """Counts the job; one that failed is said at once, with its reason."""
        seconds = time.monotonic() - self._start
        self._spent += seconds
        self._expected += self._left.pop(job.id)
        if state == "failed":
            self._progress.console.print(f"[red]failed[/] {job.id}: {reason}", markup=True)
        self._progress.update(self._task, advance=1, refresh=True)
