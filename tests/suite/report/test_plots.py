"""Plots: what is drawn, that nothing overlaps, and that equal rows give equal files."""

from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib.text import Text
from rosetta.report import conditions, plots, plots_curves, plots_dots, plots_layers, style
from rosetta.row import Parity

from . import sample_rows

GROUPS = conditions.groups(sample_rows.all_rows())


def texts(fig):
    return " ".join(text.get_text() for text in fig.findobj(Text)).replace("\n", " ")


def every_figure():
    for key, rows in GROUPS:
        for kind, function in plots.KINDS.items():
            if fig := function(key, rows):
                yield f"{key.workload}-{key.feed}-{kind}", key, fig


def undrawn(fig):
    """Labels of ticks outside the axes' limits: they exist, and are not drawn."""
    for ax in fig.subfigs[0].axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


@pytest.mark.slow
def test_no_text_covers_another():
    with style.styled():
        for name, _, fig in every_figure():
            fig.draw_without_rendering()
            hidden = list(undrawn(fig))
            shown = [text for text in fig.findobj(Text) if text.get_text().strip()]
            shown = [text for text in shown if text.get_visible() and text not in hidden]
            boxes = [(t.get_text(), t.get_window_extent().shrunk(0.98, 0.8)) for t in shown]
            for (one, a), (two, b) in combinations(boxes, 2):
                assert not a.overlaps(b), f"{name}: {one!r} and {two!r}"
            for text, box in boxes:
                inside = box.x0 >= -1 and box.x1 <= fig.bbox.x1 + 1
                assert inside and box.y0 >= -1 and box.y1 <= fig.bbox.y1 + 1, f"{name}: {text!r}"


def test_every_plot_says_under_which_conditions_and_of_how_many():
    with style.styled():
        for name, key, fig in every_figure():
            text = texts(fig)
            assert key.header() in text, name
            assert ("[STAND-IN DATA]" in text) == (key.data == "stand-in"), name
            assert "n = " in text or name.endswith(("layers", "cost")), name


def test_a_ratio_is_drawn_with_its_interval_and_the_line_at_one():
    key, rows = GROUPS[0]
    fig = plots_dots.ratio(key, rows)
    (ax,) = fig.subfigs[0].axes
    lines = [list(line.get_xdata()) for line in ax.get_lines()]
    compared = [row for row in rows if row.ratio]
    assert [1, 1] in lines
    for row in compared:
        assert [row.ratio.low, row.ratio.high] in lines
    assert len(ax.texts) == len(compared)


def test_default_and_tuned_differ_and_a_framework_keeps_its_colour():
    rows = sample_rows.cnn()
    alone = style.marks([row for row in rows if row.framework == "jax_flax"])
    found = style.marks(rows)
    by_name = dict(zip(conditions.labels(rows), found))
    assert by_name["JAX/Flax jit"].colour == alone[0].colour
    assert by_name["PyTorch eager"].face != "white" == by_name["PyTorch compile"].face
    pytorch = [mark for mark in found if mark.label.startswith("PyTorch")]
    assert len({mark.colour for mark in pytorch}) == 1
    assert len({mark.marker for mark in pytorch}) == len(pytorch) == 5
    assert len({mark.colour for mark in found}) == 4


def test_a_loss_that_ran_off_leaves_the_others_readable():
    key, rows = GROUPS[0]
    wild = replace(
        rows[0],
        parity=Parity("outside", curve=(2.3, None, None), reference_curve=(2.3, 2.2, 2.1)),
        curve=(2.3, *[None] * 99),
    )
    for function in (plots_curves.parity, plots_curves.training):
        fig = function(key, [wild, *rows[1:]])
        low, high = fig.subfigs[0].axes[0].get_ylim()
        assert 0 < low < high < 4
        fig.draw_without_rendering()


def test_of_a_long_network_the_costliest_layers_are_drawn():
    key, rows = next(group for group in GROUPS if group[0].workload == "densenet_chexnet")
    ax = plots_layers.layers(key, rows).subfigs[0].axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == 25 and "features.conv0" in names


def test_the_same_rows_give_the_same_files(tmp_path):
    rows = [replace(row, layers=row.layers[:2]) for row in sample_rows.gru()[:1]]
    first, second = plots.draw(rows, tmp_path / "a"), plots.draw(rows, tmp_path / "b")
    assert {plot.kind for plot in first} == {"step", "parity", "training", "layers", "cost"}
    for one, two in zip(first, second):
        for ending in (".svg", ".png"):
            left, right = one.path.with_suffix(ending), two.path.with_suffix(ending)
            assert left.read_bytes() == right.read_bytes(), left.name


def test_two_groups_never_share_a_file(tmp_path):
    rows = [replace(row, layers=(), curve=(), parity=None) for row in sample_rows.gru()[:1]]
    rows += [replace(rows[0], inputs="another"), replace(rows[0], machine="another")]
    drawn = plots.draw(rows, tmp_path)
    assert len({plot.path for plot in drawn}) == len(drawn) == 3 * 2
