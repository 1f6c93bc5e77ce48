"""`rosetta table` and `rosetta plot` on a results folder."""

import json

import pytest
import typer
from rosetta import project
from rosetta.commands import plot, table
from rosetta.errors import ResultError, SpecError
from rosetta.report import results
from rosetta.row import Row
from typer.testing import CliRunner

from . import sample_rows

APP = typer.Typer()
APP.command("table")(table.command)
APP.command("plot")(plot.command)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Results of a run that was planned and never started."""
    rows = sample_rows.gru()
    planned = [sample_rows.replace(row, samples=(), notebooks=()) for row in rows]
    monkeypatch.setattr(project, "RESULTS", tmp_path / "results")
    return sample_rows.write_run(tmp_path / "results", planned)


def run(*words):
    return CliRunner().invoke(APP, list(words), catch_exceptions=False)


def test_json_is_one_document_with_the_keys_of_a_row(machine):
    for words in (["--json"], ["--format", "json"]):
        document = json.loads(run("table", *words).stdout)
        assert document["schema"] == 1 and len(document["rows"]) == 4
        assert set(document["rows"][0]) == set(Row.__dataclass_fields__)


def test_terminal_and_markdown_show_every_cell_with_its_reason(machine):
    for form in ("terminal", "markdown"):
        out = run("table", "--format", form, "--workload", "gru_imdb").stdout
        assert "GRU on IMDB, training" in out and "not offered" in out and "not installable" in out


def test_by_machine_shows_the_tables_of_2018(machine):
    out = run("table", "--by", "machine", "--workload", "gru_imdb", "--format", "markdown").stdout
    assert "| CNTK | 32 | 15 | 85.7 % |" in out
    out = run("table", "--by", "machine", "--format", "csv").stdout
    assert "framework,K80 (2018),P100 (2018)" in out


def test_what_is_not_there_is_named_with_what_is(machine):
    with pytest.raises(ResultError, match=r"no results of machine 'other'; results/ has amd-epyc"):
        run("table", "--machine", "other")
    with pytest.raises(SpecError, match=r"no rows of workload 'cnn'[\s\S]*one of: gru_imdb"):
        run("table", "--workload", "cnn")
    with pytest.raises(SpecError, match=r"no rows of reference 'a/b'[\s\S]*pytorch/eager"):
        run("table", "--reference", "a/b")


def test_without_results_the_fix_is_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "RESULTS", tmp_path)
    with pytest.raises(ResultError, match=r"no run of any machine[\s\S]*Fix: rosetta run"):
        run("table")


def test_plot_writes_svg_and_png_and_prints_their_paths(machine, tmp_path, monkeypatch):
    rows = [sample_rows.replace(row, layers=()) for row in sample_rows.gru()]
    monkeypatch.setattr(results, "rows_of", lambda folder, reference: rows)
    out = run("plot", "--out", str(tmp_path / "out")).stdout.split()
    folder = tmp_path / "out" / sample_rows.MACHINE
    assert out and sorted(out) == sorted(str(path) for path in folder.glob("*.svg"))
    assert len(list(folder.glob("*.png"))) == len(out)
