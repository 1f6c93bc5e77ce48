"""The shape of the project: folders, sizes, what may not be importable, what is committed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAIN = ["benchmarks", "notebooks", "data", "results", "docker"]
FOLDERS = [*PLAIN, "harness", "engine", "tests", "docs"]
FILES = ["README.md", "Makefile", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", ".ci/run"]
LINES, FUNCTION_LINES = 400, 60
LONG_FILES: dict[str, str] = {}  # path -> why it is one piece
LONG_FUNCTIONS = {
    "harness/rosetta/commands/run.py:command": "one line for each option",
    "tests/suite/report/sample_rows.py:measured": "one plausible row, every field in its place",
}


def committed(*patterns):
    """Files that git knows, or, in an exported tree, all that are there."""
    try:
        out = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
        return [ROOT / line for line in out if line and (ROOT / line).is_file()]
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")


def test_the_top_level_is_what_the_readme_says():
    for name in FOLDERS:
        assert (ROOT / name).is_dir(), name
    for name in FILES:
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_folder_is_no_package(name):
    assert not list((ROOT / name).rglob("__init__.py"))


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_folder_cannot_be_imported_from_elsewhere(name, tmp_path):
    """A root on sys.path would make ``import data`` work by accident, and shadow libraries."""
    code = f"from importlib.util import find_spec as f; s = f({name!r}); print(s)"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert out.returncode == 0 and str(ROOT) not in out.stdout


def test_files_and_functions_stay_short():
    for path in committed("*.py"):
        name, text = str(path.relative_to(ROOT)), path.read_text("utf-8")
        assert name in LONG_FILES or len(text.splitlines()) <= LINES, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                long = node.end_lineno - node.lineno + 1 > FUNCTION_LINES
                assert f"{name}:{node.name}" in LONG_FUNCTIONS or not long, f"{name}:{node.name}"


def test_no_committed_text_names_a_registry_or_a_path_of_one_machine():
    # in pieces, so that this file does not contain what it looks for
    hosts = ["pypi" + ".org", "files.python" + "hosted.org", "download.py" + "torch.org"]
    paths = ["/" + "work/", "/ro" + "ot/", "/opt/" + "wheels"]
    found = re.compile("|".join(map(re.escape, hosts + paths)))
    for path in committed():
        if path.suffix in {".npz", ".png", ".gz"} or "results" in path.parts:
            continue
        match = found.search(path.read_text("utf-8"))
        assert not match, f"{path.relative_to(ROOT)} names {match and match.group()}"
