"""The plot of ``measure_growth.py``, in the style of the suite's; also by hand from its file:

python engine/growth_plot.py results/<machine>/growth/growth.json
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

import measuring

# The suite's: a framework has its colour on every plot; what is no default is hollow.
STYLES = {
    "trivet eager": {"color": "#CC79A7", "marker": "o", "linestyle": "-"},
    "trivet captured": {"color": "#CC79A7", "marker": "s", "linestyle": "--"},
    "PyTorch eager": {"color": "#D55E00", "marker": "o", "linestyle": "-"},
    "PyTorch channels_last": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
HOLLOW = {"trivet captured", "PyTorch channels_last"}
RC = {
    "svg.hashsalt": "trivet",  # the same plot gets the same ids
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 110,
}
WIDTH, HEIGHT, LINE = 9.0, 4.0, 0.14  # inches: of a figure, of a line of its caption


def plot(found: dict, folder: Path) -> list[Path]:
    """Writes growth-<n>t.svg and .png for each number of threads."""
    import matplotlib

    paths = []
    with matplotlib.rc_context(RC):
        for threads, entry in found["threads"].items():
            figure = _figure(found, int(threads), entry["summary"])
            for form, metadata in (
                ("svg", {"Date": None, "Creator": None}),
                ("png", {"Software": None}),
            ):
                paths.append(folder / f"growth-{threads}t.{form}")
                figure.savefig(paths[-1], metadata=metadata, facecolor="white")
    return paths


def _figure(found, threads, summary):
    from matplotlib.figure import Figure

    text = textwrap.fill(_caption(found, threads), 150, break_on_hyphens=False)
    below = 0.1 + LINE * (text.count("\n") + 1)
    whole = Figure(figsize=(WIDTH, HEIGHT + below), layout="constrained")
    body, foot = whole.subfigures(2, 1, height_ratios=(HEIGHT, below))
    title = f"How a training step grows, {measuring.counted(threads)}"
    body.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    foot.text(0.01, 0.98, text, va="top", fontsize=7.5, color="#444444")
    panels = body.subplots(1, len(summary))
    titles = {
        "cnn": ("CNN on CIFAR-10", "batch"),
        "block": (f"Convolutional block, batch {found['block_batch']}", "image size [pixels]"),
    }
    for axes, (what, of_what) in zip(panels, summary.items()):
        _panel(axes, of_what, *titles[what])
    panels[0].set_ylabel("time per sample [ms]")
    handles, labels = panels[0].get_legend_handles_labels()
    body.legend(handles, labels, loc="outside lower left", ncols=len(labels))
    return whole


def _panel(axes, of_what, title, label):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sizes = [int(size) for size in of_what]
    for name, style in STYLES.items():
        spreads = [entry["per_sample"][name] for entry in of_what.values()]
        middle, least, most = (
            [s[key] * 1e3 for s in spreads] for key in ("median", "least", "most")
        )
        face = "white" if name in HOLLOW else style["color"]
        axes.plot(sizes, middle, label=name, markerfacecolor=face, markersize=5, **style)
        axes.vlines(sizes, least, most, color=style["color"], linewidth=3, alpha=0.5, zorder=1)
    axes.set(xscale="log", yscale="log", xlabel=label)
    axes.set_title(title, loc="left")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _caption(found, threads):
    versions = found["versions"]
    torch, trivet = (versions[f"{name} eager"] for name in ("PyTorch", "trivet"))
    quick = " A quick run, which shows only that the script works." if found["quick"] else ""
    return (
        f"Medians of {found['rounds']} rounds, bars from the least to the most; hollow: tuned. "
        f"Both axes are logarithmic. The block: 3x3 convolution 64-64, batch normalisation, ReLU; "
        f"forward, gradients of input and parameters. {found['processor']}, {found['cores']} "
        f"cores, {threads} used; fp32; trivet {trivet['trivet']}, PyTorch {torch['torch']}.{quick}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="growth.json")
    options = parser.parse_args()
    for path in plot(json.loads(options.file.read_text("utf-8")), options.file.parent):
        print(path)


if __name__ == "__main__":
    main()
