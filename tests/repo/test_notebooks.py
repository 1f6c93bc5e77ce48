"""The Rosetta Stone stays one: every notebook has the same headings, and carries no outputs."""

import ast
import json
from pathlib import Path

import pytest
from rosetta.spec import framework, workload

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
HEADINGS = ["Parameters", "Environment", "Data", "Model", "Parity", "Train", "Evaluate", "Layers"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def notebook(request):
    return json.loads(request.param.read_text("utf-8")) | {"path": request.param}


def source(cell):
    return "".join(cell["source"])


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_headings_are_the_same_everywhere(notebook):
    text = [source(c) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    lines = [line for t in text for line in t.splitlines()]
    assert lines[0].startswith("# ")
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS


def test_it_is_stripped_and_names_its_kernel(notebook):
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code(notebook))
    assert notebook["metadata"]["kernelspec"]["name"] == notebook["path"].parent.name


def test_papermill_finds_parameters_that_name_the_notebook(notebook):
    assert [c["metadata"].get("tags") for c in code(notebook)].index(["parameters"]) == 0
    assigned = ast.parse(source(code(notebook)[0])).body
    assert [t.id for n in assigned for t in n.targets] == ["job"]
    job = ast.literal_eval(assigned[0].value)
    assert set(job) == {"workload", "framework", "variant", "precision", "profile"}
    assert (job["framework"], job["workload"]) == (
        notebook["path"].parent.name,
        notebook["path"].stem,
    )
    assert job["variant"] in framework.load(job["framework"]).variants


def test_every_section_does_its_work(notebook):
    text = "\n".join(map(source, code(notebook)))
    wanted = ["run.parity_tensors", "run.tensors", "run.parity(", "run.laps()", "run.layer("]
    for word in [*wanted, "run.activations", "run.layers", "run.finish("]:
        assert word in text, word
    trains = workload.load(notebook["path"].stem).phase == "train"
    for word in ["run.losses(", "run.predictions(", "run.checkpoint("] if trains else []:
        assert word in text, word


def test_the_framework_is_not_hidden_behind_an_adapter(notebook):
    """A notebook imports the recorder from the suite, and nothing else."""
    for cell in code(notebook):
        for node in ast.walk(ast.parse(source(cell))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert all(n == "rosetta.probe" for n in names if n.split(".")[0] == "rosetta")


SCRIPTS = sorted((ROOT / "notebooks").glob("*/machine.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_script_of_the_machine_borrows_the_clock_alone(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        ours = [name for name in names if name.split(".")[0] == "rosetta"]
        assert all(name == "rosetta.probe.roofline" for name in ours)


@pytest.mark.parametrize("name", framework.names())
def test_every_workload_has_a_notebook_or_a_reason(name):
    found = framework.load(name)
    for task in workload.names():
        there = (found.folder / f"{task}.ipynb").is_file()
        assert there != bool(found.refusal(task)), f"{name}: {task}"
