"""The plot of ``measure_growth.py``, as the suite's plots look; also by hand from its file:

python engine/growth_plot.py results/<machine>/growth/growth.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import measuring
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from rosetta.report import style

STYLES = {
    f"{title} {way}": {
        "color": style.COLOURS[framework],
        "marker": style.MARKERS[place],
        "linestyle": style.LINES[place],
        "markerfacecolor": "white" if place else style.COLOURS[framework],  # what is no default
    }
    for title, framework, ways in (
        ("trivet", "trivet", ("eager", "captured")),
        ("PyTorch", "pytorch", ("eager", "channels_last")),
    )
    for place, way in enumerate(ways)
}
HEIGHT = 4.0  # inches, without the caption


def plot(found: dict, folder: Path) -> list[Path]:
    """Writes growth-<n>t.svg and .png for each number of threads; the paths of the former."""
    with style.styled():
        return [
            style.save(_figure(found, int(threads), of["summary"]), folder, f"growth-{threads}t")
            for threads, of in found["threads"].items()
        ]


def _figure(found, threads, summary):
    title = f"How a training step grows, {measuring.counted(threads)}"
    caption = _caption(found, threads)
    whole, panels = style.captioned(title, caption, HEIGHT, len(summary))
    titles = {
        "cnn": ("CNN on CIFAR-10", "batch"),
        "block": (f"Convolutional block, batch {found['block_batch']}", "image size [pixels]"),
    }
    for axes, (what, of_what) in zip(panels, summary.items()):
        _panel(axes, of_what, *titles[what])
    panels[0].set_ylabel("time per sample [ms]")
    style.legend_below(panels[0])
    return whole


def _panel(axes, of_what, title, label):
    sizes = [int(size) for size in of_what]
    for name, look in STYLES.items():
        spreads = [entry["per_sample"][name] for entry in of_what.values()]
        middle, least, most = (
            [s[key] * 1e3 for s in spreads] for key in ("median", "least", "most")
        )
        axes.plot(sizes, middle, label=name, markersize=5, **look)
        axes.vlines(sizes, least, most, color=look["color"], linewidth=3, alpha=0.5, zorder=1)
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
