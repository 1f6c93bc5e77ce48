"""What one run says of one cell: how it went, and every number that its records hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from statistics import median
from typing import Any, TypeVar

from . import stats
from .errors import SpecError
from .roofline import Roofline
from .row import LayerTime, Parity
from .spec import workload as workloads
from .spec.workload import Workload
from .store import Record, Run

T = TypeVar("T", int, float)
CURVE = 500  # points of a training curve that a row keeps
CALIBRATING = 2  # laps of a layer: what is done once, and the one that tells how many steps fit


class Cell:
    """One cell of one run.

    Args:
        run: A run. entry: One of the ``cells`` of its plan.
        roofline: What the machine can do; None: not known.
    """

    def __init__(self, run: Run, entry: dict[str, Any], roofline: Roofline | None = None) -> None:
        self.run, self.entry, self.id = run, entry, entry["id"]
        self.roofline = roofline or Roofline()
        self.framework, self.variant = entry["framework"], entry["variant"]
        self.spec = _spec(entry["workload"])
        self.timing = {j["round"]: r for j, r in self._records("timing")}
        self.steps = self._steps()
        self.training = next((job["id"] for job, _ in self._records("training")), None)

    def outcome(self) -> tuple[str, str]:
        """(state, reason) of a row.

        A cell is measured if any of its timing jobs is (any of its jobs where no timing was
        planned); the reason then says what else failed.
        """
        if self.entry["state"] != "planned":
            return self.entry["state"], self.entry.get("reason", "")
        every = [job for job in self.run.plan["jobs"] if job["cell"] == self.id]
        main = [job for job in every if job["kind"] == "timing"] or every
        troubles = [(job, self._trouble(job["id"])) for job in every]
        failed = [f"{_name(job)}: {text}" for job, text in troubles if text]
        if any(self.run.measured(job["id"]) for job in main):
            return "measured", "; ".join(failed)
        if failed:
            return "failed", failed[0]
        states = [self.run.state(job["id"]).state for job in main]
        if "cut" in states or "started" in states:
            return "interrupted", "cut off"
        return "interrupted", "the run ended before it" if main else "this run had no job for it"

    def job(self) -> dict[str, Any]:
        """What a notebook was given: of this cell, or, for batch and threads, of one like it."""
        jobs = self.run.plan["jobs"]
        own = (j for j in jobs if j["cell"] == self.id)
        alike = (j for j in jobs if j["job"]["workload"] == self.entry["workload"])
        found = next(own, None) or next(alike, None)
        return found["job"] if found else {}

    def parity(self) -> Parity:
        """What the judge says; the same network in another feed is judged once."""
        jobs = self.run.jobs(self.id, "parity") or [
            job
            for other in self.run.plan["cells"]
            if _alike(other, self.entry)
            for job in self.run.jobs(other["id"], "parity")
        ]
        for job in jobs:
            if document := self.run.judged(job["id"]):
                return Parity(
                    document["state"],
                    document.get("first_loss"),
                    document.get("losses"),
                    tuple(document["curve"]),
                    document.get("worst", {}),
                    document["reason"],
                    tuple(document["reference_curve"]),
                )
            if trouble := self._trouble(job["id"]):
                return Parity("unverified", reason=f"the parity job failed: {trouble}")
        return Parity("unverified", reason="not judged" if jobs else "no parity job")

    def kernels(self) -> tuple[str, str]:
        """Names of the kernels chosen by measurement: (that were timed, that parity ran)."""
        checked = (record for _, record in self._records("parity"))
        return _kernels(self.timing.values()), _kernels(checked)

    def learnt(self) -> dict[str, Any]:
        """What the judge found in the predictions and features of the training job."""
        return (self.training and self.run.judged(self.training)) or {}

    def features(self) -> dict[str, Any] | None:
        """Agreement of features: those of photos, else those of the parity job."""
        if found := self.learnt().get("features"):
            return found
        judged = [self.run.judged(job["id"]) for job in self.run.jobs(self.id, "parity")]
        return next((document["features"] for document in judged if document), None)

    def curve(self) -> tuple[int | None, tuple[float | None, ...]]:
        """(steps trained, losses thinned to ``CURVE``), put together from resumed attempts."""
        if self.training is None:
            return None, ()
        attempts = self.run.attempts(self.training)
        last = attempts[-1]
        epochs = last.header["job"].get("schedule", {}).get("epochs") or 0
        left = epochs - last.resumed_epoch
        an_epoch = len(last.losses) // left if left > 0 else 0
        losses: list[float | None] = []
        for attempt in attempts:
            losses[attempt.resumed_epoch * an_epoch :] = attempt.losses
        return len(losses) or None, tuple(losses[:: ceil(len(losses) / CURVE) or 1])

    def first_steps(self) -> tuple[float | None, float | None]:
        """Seconds of the very first step: (cold, warm)."""
        return self._cold_and_warm(lambda record: next(iter(self._laps(record)), None))

    def compiling(self) -> tuple[float | None, float | None]:
        """Seconds spent compiling, where the framework tells: (cold, warm)."""
        return self._cold_and_warm(lambda record: record.compile_seconds)

    def of_phase(self, phase: str) -> float | None:
        """Seconds per step of another phase of the timing jobs: the median over rounds."""
        found = [stats.step_seconds(record.phase(phase)) for record in self.timing.values()]
        known = [seconds for seconds in found if seconds is not None]
        return median(known) if known else None

    def memory(self, what: str) -> tuple[int | None, int | None]:
        """The most bytes that a timing job held, (cold, warm): compiling and tuning need some.

        Args:
            what: ``peak_host_bytes`` or ``peak_device_bytes``.
        """
        return self._cold_and_warm(lambda record: record.last.get("memory", {}).get(what), max)

    def epoch_steps(self) -> int | None:
        """Steps of an epoch of training; None where nothing is trained."""
        job, samples = self.job(), self.run.plan["inputs"][self.entry["workload"]]["samples"]
        return samples // (job["batch"] * job["devices"]) if samples and job else None

    def step_flops(self) -> float | None:
        """Flops of a step on one device, as the workload counts them; None where it does not."""
        if not self.spec:
            return None
        name = "training_flops" if self.spec.phase == "train" else "forward_flops"
        return (self.spec.model.get(name) or 0) * self.job().get("batch", 0) or None

    def share(self, rate: float | None) -> float | None:
        """A rate, in flop/s on one device, as a share of the machine's best GEMM."""
        entry, threads = self.entry, self.job().get("threads", 0)
        return self.roofline.share(rate, entry["precision"], entry["device"], threads)

    def layers(self) -> tuple[LayerTime, ...]:
        """Every layer alone, in the network's order."""
        found: dict[tuple[str, str], list[float]] = {}
        batch = self.job().get("batch", 1)
        for _, record in self._records("layers"):
            for lap in record.phase("layer"):
                key = lap.tags["layer"], lap.tags["work"]
                found.setdefault(key, []).append(lap.seconds / lap.steps)
        known = {layer.name: layer for layer in self.spec.layers} if self.spec else {}
        times = []
        for (layer, work), seconds in found.items():
            kept = seconds[CALIBRATING:] or seconds[-1:]
            middle, flops = median(kept), known[layer].flops if layer in known else 0
            rate = flops * batch / middle if flops and work == "forward" and middle else None
            kind = known[layer].kind if layer in known else ""
            spread = min(kept), max(kept)
            times.append(LayerTime(layer, kind, work, middle, *spread, rate, self.share(rate)))
        return tuple(times)

    def files(self, folder: str, ending: str) -> tuple[str, ...]:
        """Paths of what this cell's jobs left in a folder of the run, relative to the project."""
        base = f"results/{self.run.machine}/{self.run.name}/{folder}"
        names = [f"{job['id']}{ending}" for job in self.run.plan["jobs"] if job["cell"] == self.id]
        return tuple(f"{base}/{n}" for n in names if (self.run.folder / folder / n).is_file())

    # ---- Within ----------------------------------------------------------------------------------

    def _records(self, kind: str) -> list[tuple[dict[str, Any], Record]]:
        found = [(job, self.run.measured(job["id"])) for job in self.run.jobs(self.id, kind)]
        return [(job, record) for job, record in found if record]

    def _laps(self, record: Record) -> list[float]:
        """Seconds of the laps of the phase that tables compare."""
        return [lap.seconds for lap in record.phase(self._phase(record))]

    def _phase(self, record: Record) -> str:
        if self.spec:
            return self.spec.phase
        return "train" if record.phase("train") else "forward"

    def _steps(self) -> dict[int, float]:
        """Round -> seconds per step."""
        found = {}
        for job, record in self._records("timing"):
            warmup = job["job"].get("schedule", {}).get("warmup", 0)
            seconds = stats.step_seconds(record.phase(self._phase(record)), warmup)
            if seconds:
                found[job["round"]] = seconds
        return found

    def _cold_and_warm(
        self, get: Callable[[Record], T | None], over: Callable[[list[T]], T] = median
    ) -> tuple[T | None, T | None]:
        """Round 1 begins with empty caches, later rounds find them filled: what they are together.

        A first round that had to begin again after a kill was not cold: it says nothing.
        """
        values = {number: get(record) for number, record in self.timing.items()}
        first = next((j["id"] for j in self.run.jobs(self.id, "timing") if j["round"] == 1), "")
        cold = values.get(1) if self.run.state(first).attempt == 1 else None
        later = [v for number, v in values.items() if number > 1 and v is not None]
        return cold, over(later) if later else None

    def _trouble(self, job: str) -> str:
        """Why a job that ended has no measurement, or an empty string."""
        state = self.run.state(job)
        record = self.run.record(job) if state.state in ("failed", "measured") else None
        if state.state == "failed":
            return state.reason or (record.error if record else "") or "no reason recorded"
        if state.state == "measured" and not (record and record.complete):
            return "the notebook ended without closing its record"
        return ""


def _alike(other: dict[str, Any], entry: dict[str, Any]) -> bool:
    keys = ("workload", "framework", "variant", "precision", "device", "devices")
    return all(other[key] == entry[key] for key in keys)


def _name(job: dict[str, Any]) -> str:
    return f"round {job['round']}" if job["kind"] == "timing" else job["kind"]


def _spec(workload: str) -> Workload | None:
    """None for a workload of old results that the project no longer has."""
    try:
        return workloads.load(workload) if workload in workloads.names() else None
    except SpecError:
        return None


def _kernels(records: Iterable[Record]) -> str:
    """The name that all of them recorded; several if their choices differed."""
    names = {record.last["kernels"]["name"] for record in records if "kernels" in record.last}
    return " or ".join(sorted(names))
