"""Writes one JSON line per event. Standard library only, Python >= 3.6."""

import json
import time
from contextlib import contextmanager

SCHEMA = 1


class Recorder:
    """Times laps and appends them to ``path`` as they happen.

    Args:
        path: ``.jsonl`` file; created, never overwritten.
        header: Facts that identify the job (see docs/contract.md).
        synchronize: Called with a value (or None); returns when the device has nothing left to do
            for it. Without it a GPU lap would time the launch, not the work.
        clock: Seconds, monotonic. Replaced by a fake in tests.
    """

    def __init__(self, path, header, synchronize, clock=time.perf_counter):
        self._file = open(str(path), "x", encoding="utf-8")
        self._synchronize, self._clock = synchronize, clock
        self.last = None  # seconds of the lap that was closed last
        self.event("header", schema=SCHEMA, **header)

    def event(self, kind, **fields):
        """Appends one event. NaN and infinity, which JSON lacks, are the caller's to replace."""
        line = json.dumps(dict(event=kind, **fields), allow_nan=False)
        self._file.write(line + "\n")
        self._file.flush()  # a crash loses nothing already measured

    @contextmanager
    def lap(self, phase, **tags):
        """``with lap("train") as done: ...; done(value)``: the clock stops when value is there."""
        awaited = []
        self._synchronize(None)
        start = self._clock()
        try:
            yield awaited.append
            self._synchronize(awaited)
        except BaseException as e:
            self.event("error", phase=phase, type=type(e).__name__, message=str(e)[:2000])
            raise
        if awaited and all(isinstance(value, list) and not value for value in awaited):
            return  # a section that this job does not ask for: nothing was computed
        self.last = self._clock() - start
        self.event("lap", phase=phase, seconds=self.last, **tags)

    def close(self):
        """Writes the last line; a file without it is a job that was cut off."""
        self.event("end")
        self._file.close()
