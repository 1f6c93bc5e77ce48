"""Loss over steps: of the parity jobs beside the float64 reference, and of training."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ..row import Row
from ..spec import workload as workloads
from . import format as fmt
from .conditions import Conditions
from .style import figure, legend_below, marks

SMOOTH = 25  # a training curve's bold line is the mean over this part of it


def _floats(curve: tuple[float | None, ...]) -> np.ndarray:
    return np.array([np.nan if loss is None else loss for loss in curve], float)


def parity(key: Conditions, rows: list[Row]) -> Figure | None:
    """The losses of the parity jobs, and how far they are from the reference's."""
    known = [row for row in rows if row.parity and row.parity.curve]
    if not known:
        return None
    height = 3.6 + 0.11 * len(known)
    caption = "Dropout off, the same tensors and batches for all; n = 1 run each."
    fig, (losses, errors) = figure("parity", key, caption, height, 2)
    reference = next((r.parity.reference_curve for r in known if r.parity.reference_curve), ())
    if reference:
        steps = np.arange(1, len(reference) + 1)
        style = {"color": "black", "linewidth": 3, "alpha": 0.35, "label": "float64 reference"}
        losses.plot(steps, reference, **style)
    for row, mark in zip(known, marks(known)):
        curve = _floats(row.parity.curve)
        style = {"color": mark.colour, "linestyle": mark.line, "label": mark.label}
        steps = np.arange(1, len(curve) + 1)
        losses.plot(steps, curve, **style)
        base = _floats(row.parity.reference_curve)[: len(curve)]
        if len(base):
            size = min(len(base), len(curve))
            relative = np.abs(curve[:size] / base[:size] - 1)
            relative[relative == 0] = np.finfo(float).eps  # equal: at the foot of a log scale
            errors.plot(steps[:size], relative, marker=mark.marker, markersize=3, **style)
    _bound(errors, key)
    losses.set(xlabel="step", ylabel="loss [nats]")
    losses.set_ylim(*_limits(losses))
    errors.set(xlabel="step", ylabel="relative difference to the reference", yscale="log")
    for ax in (losses, errors):
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend_below(losses)
    return fig


def _limits(ax) -> tuple[float, float]:
    """The finite losses, so that one that ran off does not flatten all others."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
    values = values[np.isfinite(values)]
    low, high = np.min(values, initial=np.inf), np.percentile(values, 99) if len(values) else 1.0
    low = low if np.isfinite(low) else 0.0
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _bound(ax, key: Conditions) -> None:
    if key.workload not in workloads.names() or key.precision != "fp32":
        return  # the bounds in the workload's file are those of float32
    bound = workloads.load(key.workload).parity.bound_losses
    if bound:
        ax.axhline(bound, color="black", linestyle="--", linewidth=1)
        ax.annotate(
            f"bound {fmt.error(bound)}", (1, bound), (0, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=7.5,
        )  # fmt: skip


def training(key: Conditions, rows: list[Row]) -> Figure | None:
    """Training losses: every recorded one pale, their running mean bold."""
    known = [row for row in rows if row.curve]
    if not known:
        return None
    caption = "Pale: the recorded losses; bold: their running mean; n = 1 run each."
    fig, ax = figure("training loss", key, caption, 3.9 + 0.11 * len(known))
    for row, mark in zip(known, marks(known)):
        curve = _floats(row.curve)
        style = {"color": mark.colour, "linestyle": mark.line, "label": mark.label}
        steps = np.linspace(1, row.trained_steps or len(curve), len(curve))
        ax.plot(steps, curve, color=mark.colour, linewidth=0.5, alpha=0.2)
        width = max(1, len(curve) // SMOOTH)
        kernel = np.ones(width) / width
        mean, middle = (np.convolve(v, kernel, "valid") for v in (curve, steps))
        ax.plot(middle, mean, **style)
    ax.set(xlabel="training step", ylabel="loss [nats]")
    ax.set_ylim(*_limits(ax))
    legend_below(ax)
    return fig
