"""The engine's pages are true: their code runs and prints what stands below it."""

import contextlib
import io
import re
from pathlib import Path

import measure_memory
import numpy as np
import pytest
from trivet import Tensor, nn, ops, registry
from trivet.graph.arena import lifetimes
from trivet.graph.passes import Code
from trivet.launch import Trace, sending_to

ROOT = Path(__file__).parents[2]
# a block of Python, and the block of output if one follows at once
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?```\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page", ["docs/engine.md", "docs/kernels.md", "README.md", "engine/README.md"]
)
def test_a_page_prints_what_it_says(page, monkeypatch):
    monkeypatch.setitem(registry.PREFERENCE, "cpu", ["trivet.reference"])
    monkeypatch.setattr(registry, "_KERNELS", dict(registry._KERNELS))  # a page may add some
    nn.init.seed(0)
    text, names = (ROOT / page).read_text("utf-8"), {"__name__": "page"}
    blocks = list(BLOCK.finditer(text))
    assert blocks and len(blocks) == text.count("```python")
    for block in blocks:
        code, expected = block.groups()
        above = "\n" * text.count("\n", 0, block.start(1))  # errors name the page's own line
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(above + code, page, "exec"), names)
        assert printed.getvalue() == (expected or ""), f"{page}: below\n{code}"


@pytest.mark.parametrize("page", ["docs/engine.md", "docs/kernels.md", "engine/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(target).is_file(), target


def test_every_file_of_the_engine_stands_on_a_floor_of_the_page():
    text = (ROOT / "docs" / "engine.md").read_text("utf-8")
    for path in (ROOT / "engine" / "trivet").iterdir():
        if path.name.startswith("_") or path.suffix == ".typed":
            continue
        assert f"`{path.name}{'/' * path.is_dir()}`" in text, path.name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["freed", "everything"])
def test_the_memory_figure_is_what_the_script_measures(way):
    text = (ROOT / "docs" / "engine.md").read_text("utf-8")
    column = list(measure_memory.WAYS).index(way)
    cells = text.partition("| CNN, batch 64 | values | ")[2].split(" | ")
    stated = cells[column].partition(" ")[0]
    measured = measure_memory.in_a_fresh_process("cnn", way)["values"] / measure_memory.MB
    assert measured == pytest.approx(float(stated), rel=0.03)


def test_eager_holds_no_value_after_its_last_launch():
    """Its peak is the least possible: what lies between its first and its last launch, summed."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10)),
    )
    x, y = Tensor(np.ones((8, 3, 8, 8)), "float32"), Tensor(np.arange(8))

    def step():
        for p in net.parameters():
            p.grad = None
        loss = ops.cross_entropy(net(x), y)
        loss.backward()
        return loss

    eager, trace = measure_memory.Counting(keep=False), Trace()
    for sink in (eager, trace):
        with sending_to(sink):
            loss = step()
    code = Code(trace.notes, trace.specs, trace.views)
    held = {trace.slot(t.buffer) for t in (loss, *(p.grad for p in net.parameters()))}
    lives = lifetimes(code, held | trace.outside.keys(), trace.outside)
    alive = [
        sum(trace.specs[slot].nbytes for slot, (first, last) in lives.items() if first <= k <= last)
        for k in range(len(trace.notes))
    ]
    assert eager.peak == max(alive)
