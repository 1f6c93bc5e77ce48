"""What a reader of the tables relies on."""

import io
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from rosetta.report import conditions, layers, render, tables
from rosetta.row import Interval, LayerTime
from rosetta.row import conditions as must_be_equal

from . import sample_rows

PARSER = MarkdownIt("commonmark").enable("table")


def parsed(markdown):
    """The cells of the only table, as a reader sees them."""
    tokens = PARSER.parse(markdown)
    assert sum(token.type == "table_open" for token in tokens) == 1
    lines, line = [], []
    for before, token in pairwise(tokens):
        if before.type in ("th_open", "td_open"):
            line.append("".join(child.content for child in token.children))
        if token.type == "tr_close":
            lines.append(line)
            line = []
    return lines


def table_of(rows, title):
    (group,) = conditions.groups(rows)
    return next(t for t in tables.tables(*group) if t.title == title)


def column(table, name):
    (index,) = [i for i, title in enumerate(table.columns) if title.startswith(name)]
    return [cells[index] for cells in table.cells]


def test_rows_under_unequal_conditions_never_share_a_table():
    rows = [
        *sample_rows.all_rows(),
        *sample_rows.cnn("official"),
        *sample_rows.cnn(profile="smoke"),
    ]
    rows.append(replace(rows[0], machine="another"))
    rows.append(replace(rows[0], inputs="of another draw"))
    for _, members in conditions.groups(rows):
        measured = [row for row in members if row.state == "measured"]
        assert len({(row.machine, must_be_equal(row)) for row in measured}) <= 1


def test_the_header_says_all_conditions_in_words():
    ((key, _),) = conditions.groups(sample_rows.cnn())
    assert key.header() == (
        "STAND-IN DATA; fed from arrays in memory; fp32; batch 64; "
        "one CPU, 2 threads of amd-epyc-9r14-2c; profile quick"
    )
    ((key, _),) = conditions.groups(sample_rows.resnet())
    assert key.header().startswith("synthetic data, random weights; fed from synthetic tensors")


def test_a_cell_that_never_began_stands_with_its_reason_in_the_table_it_was_planned_for():
    ((_, rows),) = conditions.groups(sample_rows.gru())
    table = table_of(rows, "Speed")
    assert column(table, "state") == [
        "-",
        "not offered: no notebook of this workload",
        "interrupted: the run was stopped before its first round",
        "not installable: no wheel for Python 3.14 on macos-arm64",
    ]
    assert all("not offered" not in cell for row in table_of(rows, "Parity").cells for cell in row)


def test_the_fastest_is_first_and_a_time_has_its_interval_and_unit():
    table = table_of(sample_rows.cnn(), "Speed")
    assert column(table, "variant")[0] == "compile_channels_last (tuned)"
    assert column(table, "time per step [ms]")[0] == "53.6 (53.2 to 53.9)"
    assert column(table, "ratio to pytorch/eager")[0] == "0.630 (0.622 to 0.638)"
    assert column(table, "n")[0] == "3"


def test_too_few_rounds_leave_out_the_interval_not_the_time():
    row = replace(sample_rows.gru()[0], step_seconds=Interval(0.064, None, None))
    assert column(table_of([row], "Speed"), "time per step [ms]") == ["64.0"]


def test_a_row_outside_its_bound_is_shown_marked_and_without_a_ratio():
    rows = sample_rows.cnn()
    speed, parity = table_of(rows, "Speed"), table_of(rows, "Parity")
    at = column(speed, "variant").index("fused (tuned)")
    assert column(speed, "ratio")[at] == "-"
    assert column(speed, "verdict")[at] == "no ratio: outside the parity bound"
    assert column(parity, "state")[at] == "outside"
    assert "conv1.bias" in column(parity, "why")[at]


@pytest.mark.parametrize("missing", ["IO lag", "latency", "mean AUC", "peak memory, device"])
def test_columns_with_nothing_to_say_are_left_out(missing):
    made = tables.tables(*conditions.groups(sample_rows.cnn())[0])
    assert not any(title.startswith(missing) for table in made for title in table.columns)


def test_the_lag_of_files_stands_with_the_rows_fed_by_files():
    files, synthetic = conditions.groups(sample_rows.densenet())
    assert (files[0].feed, synthetic[0].feed) == ("files", "synthetic")
    assert column(table_of(files[1], "Speed"), "IO lag per step [ms]") == ["310", "310"]
    assert column(table_of(files[1], "Speed"), "files / synthetic")[0] == "1.08 (1.05 to 1.12)"
    assert column(table_of(files[1], "What was learnt"), "mean AUC") == ["-", "0.710 (14)"]


def test_features_are_compared_with_the_reference_and_with_the_named_framework():
    table = table_of(sample_rows.resnet(), "Agreement of features")
    at = column(table, "variant").index("eager")
    assert table.cells[at][2:] == ("the float64 reference", "4", "4.1e-07", "1 - 2.0e-13", "-", "-")
    assert column(table, "least cosine to pytorch/eager")[0] == "1 - 1.0e-12"


def test_gradients_of_a_layer_are_differences_to_forward():
    seconds = {"forward": 2e-3, "input_gradient": 5e-3, "weight_gradient": 6e-3, "total": 9e-3}
    times = tuple(
        LayerTime("conv1", "conv", work, s, s, s, 1e12 if work == "forward" else None)
        for work, s in seconds.items()
    )
    (table,) = layers.tables([replace(sample_rows.gru()[0], layers=times)])
    assert table.cells == (("conv1", "conv", "2.00", "3.00", "4.00", "9.00", "1,000"),)
    assert table.columns[3] == "PyTorch eager: input gradient"
    assert "minus forward" in table.note


def test_layers_of_many_frameworks_have_one_table_of_totals_and_a_group_each():
    (totals, *parts) = layers.tables(sample_rows.cnn())
    assert len(totals.columns) == 2 + 8 and len(parts) == 4
    assert all(len(part.columns) == 2 + 2 * 5 for part in parts)
    assert [row[0] for row in totals.cells][:3] == ["conv1", "relu1", "conv2"]


def test_two_versions_of_one_framework_keep_two_names():
    old, new = (replace(sample_rows.gru()[0], version=version) for version in ("2.12.0", "2.13.0"))
    assert conditions.labels([old, new]) == ["PyTorch 2.12.0 eager", "PyTorch 2.13.0 eager"]
    assert [t.title for t in layers.tables([old, new])] == [
        "Layers: PyTorch 2.12.0 eager and PyTorch 2.13.0 eager [µs]"
    ]


def test_markdown_tables_render_whatever_a_reason_holds():
    for key, rows in conditions.groups(sample_rows.all_rows()):
        for table in [*tables.tables(key, rows), *layers.tables(rows)]:
            lines = parsed(render.markdown(table))
            assert lines[0] == list(table.columns)
            assert lines[1:] == [[" ".join(cell.split()) for cell in row] for row in table.cells]


def test_the_terminal_shows_the_whole_of_a_reason():
    out = io.StringIO()
    render.terminal(table_of(sample_rows.cnn(), "Speed"), Console(file=out, width=200))
    text = out.getvalue()
    row = next(r for r in sample_rows.cnn() if r.state == "failed")
    assert all(word in text for word in row.reason.split())


def test_csv_has_the_numbers_as_they_are():
    frame = pd.read_csv(io.StringIO(render.csv(sample_rows.all_rows())))
    assert len(frame) == len(sample_rows.all_rows())
    eager = frame[(frame.workload == "gru_imdb") & (frame.framework == "pytorch")].iloc[0]
    assert eager.step_seconds_median == 0.064 and eager.n == 3 and eager.parity_state == "verified"
    assert eager.samples.startswith("results/") and eager.data == "official"
    assert set(frame.state) >= {
        "measured",
        "failed",
        "not offered",
        "not installable",
        "interrupted",
    }
