"""One job of one framework: what it is fed, and what it must say.

The contract is two JSON documents, the job going in and the events coming out; this is its Python
client, other languages have their own. It imports NumPy (1.13 or later) and nothing else, for it
runs under kernels as old as the framework. What is compared later (accuracy, parity, statistics)
is computed later, by the suite, from what is recorded here, so that no two notebooks can define it
differently.
"""

import hashlib
import os
from collections import namedtuple
from itertools import islice
from pathlib import Path

import numpy as np

from .environment import environment, peak_host_bytes
from .job import Job
from .recorder import Recorder
from .summary import Summary

LAP_SECONDS = 0.25  # a lap is as long as makes recorder and synchronisation less than 1 % of it

Step = namedtuple("Step", "index augment")
Step.__doc__ = """One training step: sample numbers (batch,) int64, and (batch, 3) int64 or None:
top, left and flip of the crop of each sample."""

Layer = namedtuple("Layer", "name kind shape")
Layer.__doc__ = (
    "One layer to time alone: its name, its kind, the shape of its input with the batch."
)


class Run:
    """Canonical inputs in, events and arrays out.

    Sections of a notebook that a job does not ask for loop over nothing: one notebook serves a
    timing job, a training job, a parity job, a layers job, and a person who runs all of it by hand.

    Args:
        job: The dict of the Parameters cell.
        device: "cpu" or "cuda", as found by the framework.
        versions: Of the framework and what it stands on, as this process sees them.
        synchronize: Called with a list of what a lap computed, or None; blocks until the device
            has finished it.
        device_memory: Returns the most bytes ever taken on the device; absent on a CPU.

    Attributes:
        tensors: {name: float32 array}, what training starts from (ResNet-50: what it runs with).
        parity_tensors: The second set, for the Parity section.
        batch: Samples per step.
        feed: "arrays", "files", "synthetic" or "photos": what enters the network.
        folders: {name: Path} of files on disk, for frameworks' own loaders.

    Raises:
        SystemExit: The inputs were not prepared; the message is the command that does it.
    """

    def __init__(self, job, device, versions, synchronize, device_memory=None):
        self._job = Job(job, device)
        self.batch, self.feed = self._job.batch, self._job.feed
        self.folders = {k: Path(v) for k, v in self._job.manifest["folders"].items()}
        self.tensors = self._named("tensors/")
        self.parity_tensors = self._named("parity/")
        self._device_memory, self._kind = device_memory, None
        self._losses, self._checkpoint, self._first = [], None, 0
        header = dict(
            job=self._job.facts,
            device=device,
            versions=versions,
            environment=environment(),
            inputs=self._job.manifest["digest"],
            data=self._job.manifest["data"],
        )
        self._recorder = Recorder(self._job.events, header, synchronize)
        self.lap = self._recorder.lap

    def array(self, name):
        """An input by its name in the manifest ("train.x", "synthetic.x", ...), memory-mapped.

        Writing to it changes this process's copy only.
        """
        entry = self._job.manifest["arrays"][name]
        path = self._job.manifest_path.parent / entry["file"]
        return np.load(str(path), mmap_mode="c")

    def split(self, name):
        """{"x": ..., "y": ...} of "train", "valid", "test" or "parity"; what there is of it."""
        prefix = name + "."
        return {k[len(prefix) :]: self.array(k) for k in self._arrays() if k.startswith(prefix)}

    # ---- Train -----------------------------------------------------------------------------------

    def steps(self):
        """Yields every step of the job in order, for a loader that reads ahead.

        Begin to draw from it within the first lap: a resumed training starts later.
        Batches follow the recorded order of each epoch; its last, partial batch is dropped.
        Beyond the last epoch the orders begin again.
        """
        for kind in self._asked("training", "timing"):
            for number in range(self._first, self._total(kind)):
                yield self._step(number)

    def laps(self):
        """Yields lists of steps, to be run between two looks at the clock.

        The first lap is a single step, so that what a framework does once (compile, autotune,
        allocate) has its own number. Later laps hold as many steps as fill a quarter of a second:
        a framework that runs ahead of the device is timed the way people use it.
        """
        for kind in self._asked("training", "timing"):
            plan, total = self._job.schedule[kind], self._total(kind)
            epoch = self._steps_per_epoch() if plan.get("epochs") else total
            start = self._first = self._restore(epoch)
            done, spent, lap = start, 0.0, 1
            while done < total:
                ends = min(done + lap, (done // epoch + 1) * epoch)
                yield [self._step(number) for number in range(done, ends)]
                seconds = self._recorder.last
                spent += seconds if done > start else 0.0  # the first step is not counted
                lap = max(1, min(1000, int(LAP_SECONDS * (ends - done) / max(seconds, 1e-9))))
                lap = 1 if done == start else lap  # compiling says nothing of the next step
                done = ends
                self._keep(done, epoch)
                limit = plan.get("seconds")
                if limit and spent >= limit and done > plan["at_least"] + plan["warmup"]:
                    break

    def losses(self, values):
        """Records the loss of each step of a lap, in nats; call it after the clock has stopped."""
        values = [_number(v) for v in values]
        self._losses.extend(values)
        self._recorder.event("losses", values=values)

    def compiled(self, seconds, what):
        """Records time spent compiling, where the framework can tell it from running."""
        self._recorder.event("compile", seconds=float(seconds), what=what)

    def kernels(self, name):
        """Records the name of what a framework chose to run by measurement.

        Equal names stand for equal choices: what parity was checked for is what was timed.
        """
        self._recorder.event("kernels", name=str(name))

    def checkpoint(self, save, load):
        """A training job is saved after each epoch and goes on from there if it was cut off.

        Args:
            save: Writes weights and optimizer to a path. load: Reads them from it.
        """
        self._checkpoint = save, load

    def validation(self):
        """Yields slices of the validation split after the training steps; often none."""
        for kind in self._asked("training", "timing"):
            batches = self._job.schedule[kind]["validate"]
            samples = self._length("valid.y") if batches else 0
            for start in list(range(0, samples, self.batch))[:batches]:
                yield slice(start, start + self.batch)

    def single_samples(self):
        """Yields sample numbers (1,) for the latency of a single sample; often none."""
        for kind in self._asked("timing"):
            for number in range(self._job.schedule[kind]["latency"]):
                yield np.array([number % self._samples()])

    # ---- Evaluate --------------------------------------------------------------------------------

    def test_batches(self):
        """Yields slices that cover the test split, the last partial batch included."""
        samples = self._length("test.y") if self._asked("training") else 0
        return (slice(start, start + self.batch) for start in range(0, samples, self.batch))

    def predictions(self, batches):
        """Keeps what was predicted for each test sample, in order.

        Args:
            batches: List of (batch,) class ids or (batch, classes) scores.
        """
        self._keep_array("predictions", batches)

    def features(self, batches):
        """Keeps the features of each test sample: list of (batch, features) float32."""
        self._keep_array("features", batches)

    # ---- Parity ----------------------------------------------------------------------------------

    def parity_batches(self):
        """Yields (x, y) of the batches of the parity job, as a list, once, or nothing.

        The list holds one batch for each step: distinct ones, then the same again, so that the
        loss falls and a wrong optimizer shows. y is None where there is no target.
        """
        for kind in self._asked("parity"):
            split, batch = self.split("parity"), self._job.manifest["parity_batch"]
            starts = range(0, len(split["x"]), batch)
            steps = self._job.schedule[kind]["steps"] or 1
            rows = [slice(s, s + batch) for s in starts]
            yield [
                (split["x"][r], split["y"][r] if "y" in split else None)
                for r in islice(_cycle(rows), steps)
            ]

    def recorded(self):
        """Yields (x, y), theirs: the first parity batch, and what another framework recorded of
        it: {"activations": {layer: output}, "gradients": {tensor: gradient}}. Once, or nothing.

        For the framework that judges the others. Each layer is computed from the other one's own
        output of the layer before, the update from its own gradients: a difference then belongs
        to that one layer or to the optimizer, however deep the network is.
        """
        if self._asked("alone"):
            split, rows = self.split("parity"), slice(0, self._job.manifest["parity_batch"])
            with np.load(str(self._job.recorded)) as arrays:
                theirs = {
                    group + "s": {
                        name[len(group) + 1 :]: arrays[name]
                        for name in arrays.files
                        if name.startswith(group + "/")
                    }
                    for group in ("activation", "gradient")
                }
            yield (split["x"][rows], split["y"][rows] if "y" in split else None), theirs

    def parity(self, losses=(), **arrays):
        """Keeps what is compared between frameworks, all in the suite's layout.

        Args:
            losses: One for each batch; the first is before any update.
            arrays: Dicts of name to array: ``activations`` and ``gradients`` of the first batch
                (gradients holds "input" too), ``updated`` parameters and buffers after its step;
                or an array: ``features``.
        """
        flat = {}
        for group, value in arrays.items():
            name = {"activations": "activation", "gradients": "gradient"}.get(group, group)
            if isinstance(value, dict):
                flat.update({name + "/" + k: np.asarray(v) for k, v in value.items()})
            else:
                flat[name] = np.asarray(value)
        losses = [_number(v) for v in losses]
        self._losses.extend(losses)
        path = self._job.out / "parity.npz"
        with open(str(path) + ".part", "wb") as file:
            np.savez(file, losses=np.array(losses, float), **flat)
        os.replace(str(path) + ".part", str(path))
        self._recorder.event("parity", losses=losses, file=path.name, arrays=len(flat))

    @property
    def activations(self):
        """The names of the layers whose output the Parity section records."""
        return list(self._job.manifest["activations"])

    # ---- Layers ----------------------------------------------------------------------------------

    @property
    def layers(self):
        """The layers to time, [Layer]; the batch stands first in ``shape``. None unless asked."""
        for kind in self._asked("layers"):
            distinct = self._job.schedule[kind]["distinct"]
            return [
                Layer(entry["name"], entry["kind"], (self.batch,) + tuple(entry["input"]))
                for entry in self._job.manifest["layers"]
                if not (distinct and entry["like"])
            ]
        return []

    def layer(self, name, **work):
        """Times one layer alone, at the shape it has in the network.

        Args:
            work: Functions of no arguments that return what they computed: ``forward``,
                ``input_gradient`` and ``weight_gradient`` (forward and that gradient), ``total``
                (forward and all gradients). The same cut for every framework, also for those
                that cannot run a backward pass by itself; tables show the differences.
        """
        plan = self._job.schedule["layers"]
        seconds = plan["seconds"] / max(1, len(self.layers)) / len(work)
        for part, compute in work.items():
            self._lap_layer(name, part, compute, 1)  # what is done once: compiling, allocating
            self._lap_layer(name, part, compute, 1)
            each = max(self._recorder.last, 1e-7)
            laps = 5
            steps = max(1, min(1000, int(seconds / laps / each)))
            for _ in range(laps if laps * each * steps < 4 * seconds else 1):
                self._lap_layer(name, part, compute, steps)

    def _lap_layer(self, name, part, compute, steps):
        with self.lap("layer", layer=name, work=part, steps=steps) as done:
            for _ in range(steps):
                value = compute()
            done(value)

    # ---- The end ---------------------------------------------------------------------------------

    def finish(self):
        """Closes the record. Shows the losses and, beside stored results, where this run stands."""
        peak = self._device_memory() if self._device_memory else None
        self._recorder.event("memory", peak_host_bytes=peak_host_bytes(), peak_device_bytes=peak)
        self._recorder.close()
        return Summary(self._job, self._losses)

    # ---- Within ----------------------------------------------------------------------------------

    def _arrays(self):
        return self._job.manifest["arrays"]

    def _named(self, prefix):
        names = [k for k in self._arrays() if k.startswith(prefix)]
        return {name[len(prefix) :]: np.array(self.array(name)) for name in names}

    def _asked(self, *kinds):
        """The first of these kinds that the job asks for, as a list of one or none."""
        return [k for k in kinds if k in self._job.kinds and k in self._job.schedule][:1]

    def _length(self, name):
        return self._arrays()[name]["shape"][0] if name in self._arrays() else 0

    def _samples(self):
        """How many samples an epoch draws from."""
        if "order" in self._arrays():
            return self._arrays()["order"]["shape"][1]
        return self._length("synthetic.x")

    def _steps_per_epoch(self):
        return max(1, self._samples() // self.batch)

    def _total(self, kind):
        plan = self._job.schedule[kind]
        return plan["epochs"] * self._steps_per_epoch() if plan.get("epochs") else plan["steps"]

    def _step(self, number):
        per_epoch = self._steps_per_epoch()
        epoch, place = divmod(number, per_epoch)
        rows = slice(place * self.batch, (place + 1) * self.batch)
        if "order" not in self._arrays():
            return Step(np.arange(rows.start, rows.stop) % self._samples(), None)
        if not hasattr(self, "_order"):
            self._order = self.array("order")
            self._augment = self.array("augment") if "augment" in self._arrays() else None
        epoch %= len(self._order)
        augment = self._augment[epoch, rows] if self._augment is not None else None
        return Step(np.array(self._order[epoch, rows]), augment)

    def _restore(self, epoch):
        """The step to start from: 0, or the one after the last epoch that was saved."""
        mark = self._job.out / "checkpoint.epoch"
        if not (self._checkpoint and mark.is_file()):
            return 0
        epochs = int(mark.read_text())
        self._checkpoint[1](str(self._job.out / ("checkpoint-%d" % epochs)))
        self._recorder.event("resumed", epoch=epochs)
        return epochs * epoch

    def _keep(self, done, epoch):
        """Saves at the end of an epoch; the mark is written last, so it names a whole file."""
        if not (self._checkpoint and "training" in self._job.kinds) or done % epoch:
            return
        mark, epochs = self._job.out / "checkpoint.epoch", done // epoch
        self._checkpoint[0](str(self._job.out / ("checkpoint-%d" % epochs)))
        part = self._job.out / "checkpoint.part"
        part.write_text(str(epochs))
        os.replace(str(part), str(mark))

    def _keep_array(self, kind, batches):
        if not len(batches):
            return
        array = np.concatenate([np.asarray(b) for b in batches])
        path = self._job.out / (kind + ".npy")
        with open(str(path) + ".part", "wb") as file:
            np.save(file, array)
        os.replace(str(path) + ".part", str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._recorder.event(kind, file=path.name, shape=list(array.shape), sha256=digest)


def _number(value):
    """A framework's scalar as a float; None stands for NaN and infinity, which JSON lacks."""
    value = float(value)
    return value if np.isfinite(value) else None


def _cycle(items):
    while True:
        for item in items:
            yield item
