"""results/<machine>/README.md: all tables and plots of one machine, each number with its source."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .. import roofline, store
from ..inputs import write_whole
from ..row import Row
from ..rows import document
from ..spec.workload import KINDS
from . import format as fmt
from . import historical, layers, plots, render, tables
from . import roofline as ceilings
from .conditions import Conditions, groups, labels
from .tables import Table

# Which plots stand under which table.
BESIDE = {
    "Speed": ("step", "ratio", "lag"),
    "Cost of starting, and memory": ("cost",),
    "Parity": ("parity",),
    "What was learnt": ("training",),
    "Agreement of features": ("features",),
}
UNSAID = ("fp32", "auto", list(KINDS))  # what `make bench` does without being asked
READING = """\
The time of a step is the median over rounds of fresh processes, each the median of its laps; the
interval is a 95 % t-interval over rounds. A ratio is paired by round with the named reference:
FASTER and SLOWER where its whole interval lies on one side, SAME where it lies close around 1,
AMBIGUOUS otherwise. Rows stand in one table only if workload, feed, precision, profile, device,
threads, batch, data and inputs are equal. STAND-IN DATA are drawn, not collected: what was learnt
from them says that training works, and nothing about the real task.
"""


def write(machine: Path, rows: list[Row]) -> Path:
    """Writes README.md, rows.json and plots/ of a machine's results.

    Args:
        machine: ``results/<machine>``.
        rows: Of this machine.

    Returns:
        The path of README.md.

    Raises:
        ResultError: A run, a row or the machine's roofline is not what its schema says.
    """
    drawn = plots.draw(rows, machine / plots.FOLDER)
    plots.prune(machine / plots.FOLDER, drawn)
    runs = store.runs(machine)
    parts = [f"# Results of {machine.name}\n", _head(rows, runs)]
    sections = groups(rows)
    titles = _titles([key for key, _ in sections])
    parts += ["## Contents\n", *(f"- [{title}](#{_anchor(title)})" for title in titles)]
    ceiling = ceilings.tables(roofline.read(machine))
    parts += [f"- [{table.title}](#{_anchor(table.title)})" for table in ceiling]
    parts += ["- [Beside 2018](#beside-2018)", "- [Runs](#runs)\n", READING]
    for title, (key, members) in zip(titles, sections):
        beside = [plot for plot in drawn if plot.key == key]
        parts.append(f"## {title}\n\n{_section(machine, key, members, beside)}")
    parts += [render.markdown(table, 2) for table in ceiling]
    parts += ["## Beside 2018\n", *_beside(rows), _reproduce(runs)]
    write_whole(machine / "rows.json", json.dumps(document(rows), allow_nan=False).encode())
    path = machine / "README.md"
    write_whole(path, ("\n".join(parts).rstrip() + "\n").encode())
    return path


def _head(rows: list[Row], runs: list[store.Run]) -> str:
    states = Counter(row.state for row in rows)
    counted = ", ".join(f"{n} {state}" for state, n in states.most_common())
    lines = [
        f"Generated from the raw samples beside this file; not edited by hand. Cells: {counted}."
    ]
    if any(row.data == "stand-in" for row in rows):
        lines.append("**Tables headed STAND-IN DATA were not measured on the real data sets.**")
    if runs:
        facts = runs[0].plan["machine"]  # of the newest
        memory = fmt.size(facts.get("memory_bytes"))
        gpus = "; ".join(map(str, facts.get("gpus") or [])) or "none"
        lines.append(
            f"CPU: {facts.get('cpu')}, {facts.get('cores')} cores usable; memory: {memory}; "
            f"GPUs: {gpus}; system: {facts.get('system')}."
        )
    return "\n\n".join(lines) + "\n"


def _title(key: Conditions) -> str:
    data = ", STAND-IN DATA" if key.stand_in else f", {key.data}" if key.data else ""
    device = f"{key.devices} {key.device}"
    return f"{key.title}: {key.feed}, {key.precision}, {device}, {key.profile}{data}"


def _titles(keys: list[Conditions]) -> list[str]:
    """Of each section; with more of the conditions where two would have one title."""
    short = [_title(key) for key in keys]
    return [
        f"{title}, {key.threads} threads, batch {key.batch}, inputs {key.inputs[:8]}"
        if short.count(title) > 1
        else title
        for title, key in zip(short, keys)
    ]


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _section(machine: Path, key: Conditions, rows: list[Row], drawn: list[plots.Plot]) -> str:
    parts = [f"{key.header()}.\n"]
    for table in tables.tables(key, rows):
        if table.title == "Speed":
            table = _with_links(machine, table, rows)
        parts.append(render.markdown(table, 3))
        wanted = BESIDE[table.title]
        parts += [_image(machine, plot) for plot in drawn if plot.kind in wanted]
    by_layer = layers.tables(rows)
    if by_layer:
        parts.append("### Layers\n")
        parts += [_image(machine, plot) for plot in drawn if plot.kind == "layers"]
        parts += [_folded(table.title, render.markdown(table)) for table in by_layer]
    if any(row.samples or row.notebooks for row in rows):
        parts.append(_folded("Raw samples and executed notebooks", _sources(machine, rows)))
    return "\n".join(parts)


def _image(machine: Path, plot: plots.Plot) -> str:
    path = plot.path.relative_to(machine).as_posix()
    return f"![{plot.key.title}: {plot.kind}]({path})\n"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{text}\n</details>\n"


def _links(machine: Path, paths: Iterable[str]) -> str:
    """Links from the machine's folder; the paths of rows are relative to the project."""
    here = f"results/{machine.name}/"
    return " ".join(f"[{_job(path)}]({path.removeprefix(here)})" for path in paths)


def _with_links(machine: Path, table: Table, rows: list[Row]) -> Table:
    """The table of speeds with each row's timed samples; of one without, its notebooks."""
    found = []
    for row in rows:
        timed = [path for path in row.samples if _job(path).startswith("timing")]
        found.append(_links(machine, timed if row.n else row.notebooks) or fmt.MISSING)
    cells = tuple((*row, links) for row, links in zip(table.cells, found))
    words = table.words | {len(table.columns)}
    return replace(table, columns=(*table.columns, "raw samples"), cells=cells, words=words)


def _sources(machine: Path, rows: list[Row]) -> str:
    """Where each row's numbers come from."""
    known = [row for row in rows if row.samples or row.notebooks]
    cells = tuple(
        (
            name,
            row.run,
            _links(machine, row.samples) or fmt.MISSING,
            _links(machine, row.notebooks) or fmt.MISSING,
        )
        for name, row in zip(labels(known), known)
    )
    columns = ("row", "run", "raw samples", "executed notebooks")
    made = Table("Where the numbers come from", columns, cells, words=frozenset(range(4)))
    return render.markdown(made)


def _job(path: str) -> str:
    """``timing r2`` of ``.../timing-<cell>-r2.jsonl``."""
    words = Path(path).stem.split("-")
    return f"{words[0]} {words[-1]}"


def _beside(rows: list[Row]) -> list[str]:
    measured = {row.workload for row in rows if row.state == "measured" and row.profile != "smoke"}
    made = historical.by_machine(rows, measured)
    if not made:
        return ["Nothing here was measured long enough to stand beside the tables of 2018.\n"]
    return [render.markdown(table, 3) for table in made]


def _reproduce(runs: list[store.Run]) -> str:
    cells = []
    for run in runs:
        plan = run.plan
        states = Counter(run.state(job["id"]).state for job in plan["jobs"])
        counted = ", ".join(f"{n} {state}" for state, n in states.most_common())
        commit = (plan.get("commit") or "unknown")[:12] + ", changed files" * bool(
            plan.get("dirty")
        )
        cells.append(
            (f"[{run.name}]({run.name}/)", plan["profile"], commit, _command(plan), counted)
        )
    columns = ("run", "profile", "commit", "command", "jobs")
    table = Table("Runs", columns, tuple(cells), words=frozenset(range(len(columns))))
    how = (
        "To repeat a run: check out its commit and type its command at the project's root; for the "
        "tables and plots alone, `make table` and `make plots`.\n"
    )
    return f"{render.markdown(table, 2)}\n{how}"


def _command(plan: dict) -> str:
    """What was asked for, as ``make`` takes it; frameworks and workloads as far as they ran."""
    options = plan["options"]
    words = [f"PROFILE={plan['profile']}"]
    frameworks = sorted({cell["framework"] for cell in plan["cells"]})
    workloads = sorted({cell["workload"] for cell in plan["cells"]})
    words += [f'FRAMEWORKS="{" ".join(frameworks)}"', f'WORKLOADS="{" ".join(workloads)}"']
    for name in ("variants", "kinds", "precision", "threads", "rounds", "batch", "data"):
        value = options.get(name)
        if value and value not in UNSAID:
            several = isinstance(value, list)
            words.append(f"{name.upper()}=" + (f'"{" ".join(value)}"' if several else f"{value}"))
    return f"`make bench {' '.join(words)}`"
