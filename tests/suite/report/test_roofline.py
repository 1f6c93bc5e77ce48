"""What the machine can do, and the shares of it, as a reader of the tables sees them."""

from dataclasses import replace

from rosetta.report import conditions, layers, roofline, tables

from . import sample_rows


def figure(name, unit, median, framework="pytorch", precision="", low=None, high=None):
    return {
        "figure": name,
        "precision": precision,
        "unit": unit,
        "median": median,
        "low": low,
        "high": high,
        "n": 3,
        "framework": framework,
        "version": "2.13.0",
        "what": "of some size",
    }


def measurement():
    best = [
        figure("gemm", "flop/s", 2.51e11, precision="fp32", low=2.49e11, high=2.52e11),
        figure("copy", "byte/s", 1.7e10, low=1.0e10, high=2.2e10),
        figure("dispatch", "s", 1.9e-6, low=1.8e-6, high=2.0e-6),
    ]
    other = figure("gemm", "flop/s", 1.2e11, "jax_flax", "fp32")
    facts = {"version": "1", "lock_digest": "", "state": "measured", "reason": ""}
    known = {"pytorch": {"title": "PyTorch", **facts}, "jax_flax": {"title": "JAX", **facts}}
    known["broken"] = {**known["jax_flax"], "title": "Broken", "state": "failed"}
    return {
        "device": "cpu", "threads": 2, "date": "2026-11-21T12:00:00Z", "rounds": 3, "seconds": 10.0,
        "frameworks": known, "best": best, "libraries": [*best, other],
    }  # fmt: skip


def test_each_figure_has_its_unit_its_interval_and_who_reached_it():
    table = roofline.table(measurement())
    assert table.title == "What the machine can do: CPU, 2 threads"
    assert table.columns == ("figure", "best (95 %)", "n", "library", "of", "PyTorch", "JAX")
    gemm, copy, dispatch = table.cells
    assert gemm[:2] == ("GEMM fp32 [GFLOP/s]", "251 (249 to 252)")
    assert gemm[3:] == ("PyTorch 2.13.0", "of some size", "251", "120")
    assert copy[:2] == ("copy, read + written [GB/s]", "17.0 (10.0 to 22.0)") and copy[-1] == "-"
    assert dispatch[:2] == ("dispatch of one op [µs]", "1.90 (1.80 to 2.00)")


def test_rounds_far_apart_are_told():
    (line,) = roofline.unrest(measurement())
    assert line == "the interval of copy, read + written spans 2.2 to 1"


def test_a_share_is_a_column_of_speed_and_of_layers_where_one_is_known():
    ((key, rows),) = conditions.groups(sample_rows.cnn())
    assert not any("% of GEMM" in t.columns for t in tables.tables(key, rows))
    assert not any("% of GEMM" in c for t in layers.tables(rows) for c in t.columns)
    timed = next(row for row in rows if row.layers)
    shared = replace(
        timed,
        roofline=0.4567,
        layers=tuple(replace(t, share=t.flops and t.flops / 1e12) for t in timed.layers),
    )
    (speed, *_) = tables.tables(key, [shared])
    assert speed.cells[0][speed.columns.index("% of GEMM")] == "45.7"
    assert "direct algorithms" in speed.note
    (parts,) = layers.tables([shared])
    rate, share = (next(i for i, c in enumerate(parts.columns) if name in c)
                   for name in ("GFLOP/s", "% of GEMM"))  # fmt: skip
    assert float(parts.cells[0][share]) * 10 == float(parts.cells[0][rate])
