"""From runs to the rows of the tables: one a cell, ratios to a named reference of the same run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from . import roofline, schema, stats, store
from .measured import Cell
from .row import SCHEMA, Interval, Row, conditions
from .store import Run

JUDGED_DATA = ("official", "unofficial")  # an accuracy band says nothing of a stand-in
FEED_TWINS = {"files": "synthetic"}  # what differs by reading and decoding alone


def rows(source: Path | Iterable[Run], reference: str | None = None) -> list[Row]:
    """One row for every cell, also for those that could not be measured, with the reason.

    Of several runs of a cell under equal conditions the newest one that came to an outcome counts;
    a subject measured earlier and not since (another version, another lock) keeps its row.

    Args:
        source: ``results/<machine>``, or runs.
        reference: "framework/variant" that ratios refer to; None: the one each run was given. It
            is never the fastest, which would make two tables incomparable.

    Raises:
        ResultError: A file of the results cannot be read as what it claims to be.
    """
    runs = store.runs(source) if isinstance(source, Path) else list(source)
    runs.sort(key=lambda run: (run.plan["started"], run.name), reverse=True)
    candidates: dict[tuple, list[Row]] = defaultdict(list)
    for run in runs:
        for row in run_rows(run, reference):
            candidates[(*conditions(row), row.framework, row.variant)].append(row)
    return [row for found in candidates.values() for row in _newest(found)]


def run_rows(run: Run, reference: str | None = None) -> list[Row]:
    """The rows of one run; the reference's own float64 cells have none."""
    ceiling = roofline.read(run.folder.parent)
    timed = [entry for entry in run.plan["cells"] if entry["precision"] != "fp64"]
    cells = [Cell(run, entry, ceiling) for entry in timed]
    return [_row(cell, cells, reference or _reference(run)) for cell in cells]


def document(found: Iterable[Row]) -> dict[str, Any]:
    """Rows as ``rows.json`` and ``rosetta table --json`` hold them, checked against the schema."""
    made = {"schema": SCHEMA, "rows": [asdict(row) for row in found]}
    made = json.loads(json.dumps(made, allow_nan=False))  # as any other program will see it
    schema.check("rows", made, "rows.json")
    return made


def _newest(found: list[Row]) -> list[Row]:
    """Of one cell's rows, the newest first: the one that counts, and earlier subjects."""
    timed = [row for row in found if row.state != "interrupted" and _says_more(row)]
    settled = timed or [row for row in found if row.state != "interrupted"]
    kept = (settled or found)[:1]
    seen = {(row.version, row.lock) for row in kept}
    for row in settled:
        if row.state == "measured" and (row.version, row.lock) not in seen:
            kept.append(row)
            seen.add((row.version, row.lock))
    return kept


def _says_more(row: Row) -> bool:
    """A run of parity jobs alone does not replace one with a time or an accuracy."""
    return row.state != "measured" or row.n > 0 or bool(row.trained_steps or row.features)


def _reference(run: Run) -> str:
    return run.plan["options"].get("reference", "pytorch/eager")


def _row(cell: Cell, cells: list[Cell], reference: str) -> Row:
    entry, run, job = cell.entry, cell.run, cell.job()
    state, reason = cell.outcome()
    framework = run.plan["frameworks"].get(cell.framework, {})
    inputs = run.plan["inputs"].get(entry["workload"], {})
    synthetic = entry["feed"] == "synthetic"  # drawn on purpose: there are no real ones
    identity: dict[str, Any] = {
        name: entry[name]
        for name in ("framework", "workload", "feed", "variant", "precision", "device", "devices")
    }
    identity |= {
        "title": framework.get("title") or cell.framework,
        "variant_class": entry["category"],
        "state": state,
        "reason": reason,
        "profile": run.plan["profile"],
        "machine": run.machine,
        "run": run.name,
        "data": "synthetic" if synthetic else inputs.get("data", {}).get("label", ""),
        "weights": inputs.get("weights", ""),
        "batch": job.get("batch") or 0,
        "threads": job.get("threads") or run.plan["options"].get("threads") or 0,
        "inputs": inputs.get("digest", ""),
        "version": framework.get("version") or "",
        "lock": framework.get("lock_digest") or "",
        "reference": reference,
        "samples": cell.files("events", ".jsonl"),
        "notebooks": cell.files("notebooks", ".ipynb"),
    }
    if entry["state"] != "planned":
        return Row(**identity)
    timed, checked = cell.kernels()
    parity = cell.parity()
    if timed and checked and timed != checked and cell.spec.parity.batch == job["batch"]:
        reason = f"parity ran the kernels {checked}, the clock {timed}"
        parity = replace(parity, state="unverified", reason=reason)
    return Row(
        **identity,
        **_speed(cell),
        **_compared(cell, cells, reference, parity.state),
        **_io_lag(cell, cells),
        **_learnt(cell, identity),
        parity=parity,
        kernels=timed,
        kernels_checked=checked,
        features=cell.features(),
        layers=cell.layers(),
    )


def _speed(cell: Cell) -> dict[str, Any]:
    steps, job = list(cell.steps.values()), cell.job()
    time = stats.interval(steps) if steps else None
    an_epoch = cell.epoch_steps() if cell.spec and cell.spec.phase == "train" else None
    first, compiling, host = cell.first_steps(), cell.compiling(), cell.memory("peak_host_bytes")
    flops = cell.step_flops()
    return {
        "n": len(steps),
        "step_seconds": time,
        "samples_per_second": time and job["batch"] * job["devices"] / time.median,
        "roofline": time and flops and cell.share(flops / time.median),
        "epoch_seconds": time and an_epoch and time.median * an_epoch,
        "first_step_cold": first[0],
        "first_step_warm": first[1],
        "compile_cold": compiling[0],
        "compile_warm": compiling[1],
        "latency_seconds": cell.of_phase("latency"),
        "validate_seconds": cell.of_phase("validate"),
        "peak_host_bytes_cold": host[0],
        "peak_host_bytes": host[1],
        "peak_device_bytes": cell.memory("peak_device_bytes")[1],
    }


def _compared(cell: Cell, cells: list[Cell], reference: str, parity: str) -> dict[str, Any]:
    """Ratio and verdict; parity before speed, so numbers outside their bound have no ratio."""
    if not cell.steps:
        return {}
    if f"{cell.framework}/{cell.variant}" == reference:
        return {"verdict": "reference"}
    base = next(
        (
            other
            for other in cells
            if f"{other.framework}/{other.variant}" == reference and _same(cell, other, "feed")
        ),
        None,
    )
    if base is None or not base.steps:
        return {"verdict": f"no ratio: {reference} was not measured in this run"}
    if parity == "outside":
        return {"verdict": "no ratio: its numbers are outside the bound"}
    if base.parity().state == "outside":
        return {"verdict": "no ratio: the reference's numbers are outside the bound"}
    ratios = stats.paired(cell.steps, base.steps)
    if not ratios:
        return {"verdict": f"no ratio: no round in common with {reference}"}
    said = stats.verdict(ratios, cell.run.plan["profile"])
    mark = " (unverified)" if parity == "unverified" else ""
    return {"ratio": stats.interval(ratios), "verdict": said + mark}


def _io_lag(cell: Cell, cells: list[Cell]) -> dict[str, Any]:
    """What files cost beyond synthetic data, everything else equal, paired by round."""
    twin_feed = FEED_TWINS.get(cell.entry["feed"])
    who = ("framework", "variant")
    twins = (c for c in cells if c.entry["feed"] == twin_feed and _same(cell, c, *who))
    twin = next(twins, None)
    both = sorted(cell.steps.keys() & twin.steps.keys()) if twin else []
    if not both:
        return {}
    lags = [cell.steps[k] - twin.steps[k] for k in both]
    ratio: Interval = stats.interval(stats.paired(cell.steps, twin.steps))
    return {"io_lag_seconds": median(lags), "io_lag": ratio}


def _same(cell: Cell, other: Cell, *more: str) -> bool:
    keys = ("workload", "precision", "device", "devices", *more)
    return all(cell.entry[key] == other.entry[key] for key in keys)


def _learnt(cell: Cell, identity: dict[str, Any]) -> dict[str, Any]:
    learnt = cell.learnt()
    steps, curve = cell.curve()
    scores = {k: learnt.get(k) for k in ("accuracy", "accuracy_2018", "auc", "auc_classes")}
    band = _band(cell, identity, scores["accuracy"], curve[0] if curve else None)
    return {**scores, "trained_steps": steps, "curve": curve, "band": band}


def _band(
    cell: Cell, identity: dict[str, Any], accuracy: float | None, first_loss: float | None
) -> str:
    """Where a training stands in its workload's ``[accept]`` table."""
    accept = cell.spec.accept if cell.spec else {}
    first = accept.get("loss_first")
    if first and first_loss is not None and identity["weights"] == "random":
        away = abs(first_loss - first["near"])
        if away > first["within"]:
            expected = f"{first['near']} +- {first['within']}"
            return f"outside: the first loss is {first_loss:.3f} nats, expected {expected}"
    band = accept.get("accuracy")
    if not band or accuracy is None:
        return ""
    if identity["profile"] != "full":
        return f"not judged: profile {identity['profile']}"
    if identity["data"] not in JUDGED_DATA:
        return f"not judged: {identity['data']} data"
    return "inside" if band["at_least"] <= accuracy <= band["at_most"] else "outside"
