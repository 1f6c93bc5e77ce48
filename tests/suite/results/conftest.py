"""Results as a run leaves them: records by the real Recorder under a fake clock, arrays, a plan."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from rosetta import project
from rosetta.probe.recorder import Recorder

WORKLOAD = """
schema = 1
name = "tiny"
title = "A convolution and a GRU"
question = "Are the numbers right?"
sample = "image"
phase = "train"
dataset = "cifar10"
feeds = { arrays = ["timing", "parity", "training", "layers"], files = ["timing"] }
seed = 7
input = { dtype = "uint8", shape = [3, 8, 8], target = "class", classes = 10 }
model = { parameters = 240, forward_flops = 1, training_flops = 3 }
train = {}

[parity]
batch = 64
steps = 3
activations = ["conv", "gru"]
bound_first = 1e-6
bound_losses = 1e-3
bound_activations = 1e-5
bound_gradients = 1e-4
bound_updated = 1e-5
bound_alone = 1e-6
bound_alone_gradients = 1e-5
bound_alone_updated = 1e-3

[profiles.quick]
batch = { cpu = 64 }
timing = { steps = 100, seconds = 15 }
parity = { steps = 3, reference = 1 }

[accept]
loss_first = { near = 2.3, within = 0.5 }
accuracy = { at_least = 0.75, at_most = 0.80 }
"""
TENSORS = """name,shape,init
conv.weight,4x4x3x3,glorot_uniform
conv.bias,4,zeros
gru.weight,9x10,glorot_uniform
gru.bias,1x2,zeros
"""
LAYERS = "name,kind,input,flops,like\nconv,conv,4x8x8,1000,\n"
ENVIRONMENT = {"title": "A framework", "version": "1.0", "state": "ready", "lock_digest": "l1"}
INPUTS = {"digest": "d1", "data": {"label": "stand-in"}, "weights": "random", "samples": 640}


class Results:
    """``results/here`` with one run; cells, jobs and their records are added by a test."""

    def __init__(self, folder, name, profile="quick", label="stand-in"):
        self.folder = folder / "results/here" / name
        for sub in ("events", "notebooks", "judged"):
            (self.folder / sub).mkdir(parents=True)
        self.plan = {
            "schema": 1,
            "run": name,
            "profile": profile,
            "started": f"2026-11-21T{name[:2]}:00:00Z",
            "machine": {"name": "here"},
            "options": {"threads": 2, "reference": "good/eager"},
            "frameworks": {},
            "inputs": {"tiny": {**INPUTS, "data": {"label": label}}},
            "cells": [],
            "jobs": [],
        }
        self.attempts = {}

    @property
    def machine(self):
        return self.folder.parent

    def cell(self, framework, state="planned", reason="", **other):
        """Adds a cell; returns its id."""
        cell = {
            "workload": "tiny",
            "feed": "arrays",
            "framework": framework,
            "variant": "eager",
            "category": "default",
            "precision": "fp32",
            "device": "cpu",
            "devices": 1,
            "state": state,
            "reason": reason,
            **other,
        }
        cell["id"] = "-".join(str(cell[k]) for k in ("feed", "framework", "variant", "precision"))
        if cell["precision"] != "fp64":
            self.plan["cells"].append(cell)
        self.plan["frameworks"].setdefault(framework, dict(ENVIRONMENT, title=framework.title()))
        self._cells = {**getattr(self, "_cells", {}), cell["id"]: cell}
        return self.write() or cell["id"]

    def job(self, cell, kind, round=1, state="measured", reason="", attempt=1, **schedule):
        """Adds a job of a cell and its state; returns its id."""
        name = f"{kind}-{cell}-r{round}"
        names = ("workload", "framework", "variant", "precision", "feed", "device", "devices")
        job = {k: self._cells[cell][k] for k in names}
        job.update(profile=self.plan["profile"], kind=kind, round=round, batch=64, threads=2)
        job["schedule"] = {"steps": 3, "epochs": None, "warmup": 0, **schedule}
        self.plan["jobs"].append(
            {"id": name, "cell": cell, "kind": kind, "round": round, "job": job}
        )
        self.write()
        if state:
            line = {"job": name, "state": state, "time": "t", "reason": reason, "attempt": attempt}
            with (self.folder / "jobs.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        return name

    def write(self):
        (self.folder / "run.json").write_text(json.dumps(self.plan))

    def record(self, name, laps=(), events=(), ends=True, suffix=""):
        """Writes the events of a job: laps are (phase, seconds, steps) or with tags."""
        job = next(j["job"] for j in self.plan["jobs"] if j["id"] == name)
        header = {"job": job, "device": "cpu", "versions": {"numpy": "2"}, "inputs": "d1"}
        now = [0.0]
        recorder = Recorder(
            self.folder / "events" / f"{name}{suffix}.jsonl",
            header,
            synchronize=lambda value: None,
            clock=lambda: now[0],
        )
        for phase, seconds, steps, *tags in laps:
            with recorder.lap(phase, steps=steps, **(tags[0] if tags else {})):
                now[0] += seconds
        for kind, fields in events:
            recorder.event(kind, **fields)
        recorder.close() if ends else recorder._file.close()

    def timing(self, cell, seconds, first=1.0, **other):
        """Rounds of a cell: one job each, of a first step and ten steps of ``seconds``."""
        for round, each in enumerate(seconds, 1):
            name = self.job(cell, "timing", round, **other)
            self.record(name, [("train", first, 1), ("train", 10 * each, 10)])

    def parity(self, cell, arrays, more=()):
        """A parity job of a cell with these arrays, and more events."""
        name = self.job(cell, "parity")
        losses = [None if not np.isfinite(v) else float(v) for v in arrays.get("losses", [])]
        self.record(name, events=[("parity", {"losses": losses, "file": "parity.npz"}), *more])
        np.savez(self.arrays(name) / "parity.npz", **arrays)
        return name

    def alone(self, cell, arrays):
        """What the judge made of this cell's parity job, piece by piece."""
        name = self.job(cell, "alone")
        self.record(name, events=[("parity", {"losses": [], "file": "parity.npz"})])
        np.savez(self.arrays(name) / "parity.npz", **arrays)

    def training(self, cell, predictions=None, losses=(2.3, 2.0, 1.5), **schedule):
        """A training job of a cell with these predictions."""
        name, events = self.job(cell, "training", **schedule), [("losses", {"values": losses})]
        if predictions is not None:
            path = self.arrays(name) / "predictions.npy"
            np.save(path, predictions)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            facts = {"file": path.name, "shape": list(predictions.shape), "sha256": digest}
            events.append(("predictions", facts))
        self.record(name, [("train", 1.0, 1)], events)
        return name

    def arrays(self, name):
        folder = project.home() / "runs" / self.plan["run"] / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def inputs(self, **arrays):
        """Writes a manifest with these arrays."""
        folder, entries = project.home() / "inputs/tiny", {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            file = f"{name.replace('/', '-')}.npy"
            np.save(folder / file, array)
            digest = hashlib.sha256(array.tobytes()).hexdigest()
            entries[name] = {"file": file, "sha256": digest, "shape": list(array.shape)}
        document = {"digest": "d1", "arrays": entries}
        (folder / "d1.json").write_text(json.dumps(document))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Makes runs; the project's folders are those of the test."""
    folder = tmp_path / "benchmarks/tiny"
    folder.mkdir(parents=True)
    files = {"workload.toml": WORKLOAD, "tensors.csv": TENSORS, "layers.csv": LAYERS}
    for name, text in files.items():
        Path(folder, name).write_text(text)
    monkeypatch.setattr(project, "BENCHMARKS", tmp_path / "benchmarks")
    monkeypatch.setattr(project, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("ROSETTA_HOME", str(tmp_path / "home"))
    return lambda name="12-quick", **other: Results(tmp_path, name, **other)
