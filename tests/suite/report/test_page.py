"""The page of a machine, as it stands on a forge: every link, image and anchor leads somewhere."""

import json
import re

import pytest
from markdown_it import MarkdownIt
from rosetta.report import page

from . import sample_rows

PARSER = MarkdownIt("commonmark").enable("table")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    rows = sample_rows.all_rows()
    machine = sample_rows.write_run(tmp_path_factory.mktemp("project") / "results", rows)
    (machine / "plots").mkdir()
    (machine / "plots/of-a-workload-that-is-gone-step.svg").touch()
    return page.write(machine, rows), rows


def tokens(path, kind):
    for token in PARSER.parse(path.read_text("utf-8")):
        yield from (child for child in [token, *(token.children or [])] if child.type == kind)


def test_every_link_and_image_leads_to_a_file(written):
    path, _ = written
    links = {token.attrs["href"] for token in tokens(path, "link_open")}
    images = [token.attrs["src"] for token in tokens(path, "image")]
    assert len(images) > 20 and len(links) > 100
    for target in [*images, *(link for link in links if not link.startswith("#"))]:
        assert (path.parent / target).exists(), target


def test_every_anchor_is_a_heading(written):
    path, _ = written
    text = path.read_text("utf-8")
    headings = {page._anchor(h) for h in re.findall(r"^#+ (.*)$", text, re.M)}
    anchors = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(anchors) == 5 + 2 and set(anchors) <= headings


def test_every_measured_row_leads_to_its_samples_and_notebooks(written):
    path, rows = written
    text = path.read_text("utf-8")
    for row in rows:
        for file in (*row.samples, *row.notebooks):
            assert f"({row.run}/{file.partition(f'/{row.run}/')[2]})" in text


def test_tables_render_inside_folds_too(written):
    path, _ = written
    text = path.read_text("utf-8")
    started = len(re.findall(r"^\| :?--", text, re.M))
    assert sum(1 for _ in tokens(path, "table_open")) == started > 30
    assert not any(token.content.startswith("|") for token in tokens(path, "inline"))


def test_stand_in_data_are_named_in_heading_header_and_columns(written):
    path, _ = written
    text = path.read_text("utf-8")
    assert (
        "## VGG-style CNN on CIFAR-10, training: arrays, fp32, 1 cpu, quick, STAND-IN DATA" in text
    )
    assert "\nSTAND-IN DATA; fed from arrays" in text
    assert f"{sample_rows.MACHINE}, 1 CPU, batch 64, quick, STAND-IN DATA |" in text


def test_machine_runs_and_the_way_to_repeat_them(written):
    text = written[0].read_text("utf-8")
    assert "AMD EPYC 9R14, 2 cores usable; memory: 16.0 GiB; GPUs: none" in text
    assert "0123456789ab, changed files" in text
    assert 'make bench PROFILE=quick FRAMEWORKS="jax_flax keras_tf mxnet_gluon pytorch"' in text
    assert "THREADS=2 ROUNDS=3 DATA=stand-in" in text


def test_rows_json_holds_the_rows(written):
    path, rows = written
    document = json.loads((path.parent / "rows.json").read_text("utf-8"))
    assert document["schema"] == 1 and len(document["rows"]) == len(rows)
    step = document["rows"][0]["step_seconds"]
    assert list(step) == ["median", "low", "high"] and step["median"] == pytest.approx(0.085)


def test_plots_that_no_row_stands_behind_are_removed(written):
    assert not list((written[0].parent / "plots").glob("of-a-workload-that-is-gone*"))


def test_a_page_of_smoke_rows_shows_nothing_of_2018(tmp_path):
    rows = sample_rows.cnn(profile="smoke")[:1]
    text = page.write(sample_rows.write_run(tmp_path / "results", rows), rows).read_text("utf-8")
    assert "Nothing here was measured long enough" in text and "K80" not in text
