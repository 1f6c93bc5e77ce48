"""Layer by layer: forward, backward as a difference, and one column group per framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..row import Row
from . import format as fmt
from .conditions import labels
from .tables import Table

GROUPS = 2  # column groups side by side: more do not fit a page
DIFFERENCES = (
    "Input gradient and weight gradient are differences: the time of forward and that gradient "
    "together, minus forward alone; one that is not above zero is noise. Total: forward and all "
    "gradients in one go, measured as such, so the parts need not add up. GFLOP/s and % of GEMM, "
    "the machine's best rate of a matrix product: of forward."
)


@dataclass(frozen=True)
class Piece:
    """One layer in one framework; seconds, None where the work was not timed."""

    layer: str
    kind: str
    forward: float | None
    input_gradient: float | None
    weight_gradient: float | None
    total: float | None
    flops: float | None  # per second, of forward
    share: float | None = None  # flops of the machine's best GEMM

    @property
    def backward(self) -> float | None:
        """All gradients: total minus forward."""
        return _minus(self.total, self.forward)

    @property
    def whole(self) -> float:
        """What the layer costs in training, or forward where no gradient was timed."""
        return self.total or self.forward or 0.0


def _minus(together: float | None, forward: float | None) -> float | None:
    return None if together is None or forward is None else together - forward


def pieces(row: Row) -> dict[str, Piece]:
    """The layers of one row by name, in the order of the network."""
    times: dict[str, dict[str, float]] = {}
    kinds, flops, shares = {}, {}, {}
    for entry in row.layers:
        times.setdefault(entry.layer, {})[entry.work] = entry.seconds
        kinds[entry.layer] = entry.kind
        flops[entry.layer] = entry.flops or flops.get(entry.layer)
        shares[entry.layer] = entry.share or shares.get(entry.layer)
    return {
        name: Piece(
            name,
            kinds[name],
            work.get("forward"),
            _minus(work.get("input_gradient"), work.get("forward")),
            _minus(work.get("weight_gradient"), work.get("forward")),
            work.get("total"),
            flops[name],
            shares[name],
        )
        for name, work in times.items()
    }


def tables(rows: list[Row]) -> list[Table]:
    """A table of all frameworks' totals, then the parts, ``GROUPS`` frameworks at a time."""
    known = [row for row in rows if row.layers]
    measured = dict(zip(labels(known), map(pieces, known)))
    if not measured:
        return []
    names = list(dict.fromkeys(name for layers in measured.values() for name in layers))
    chunks = [list(measured)[i : i + GROUPS] for i in range(0, len(measured), GROUPS)]
    made = [_totals(names, measured)] if len(chunks) > 1 else []
    return made + [_parts(names, {who: measured[who] for who in chunk}) for chunk in chunks]


Measured = dict[str, dict[str, Piece]]


def _kind(name: str, measured: Measured) -> str:
    return next(layers[name].kind for layers in measured.values() if name in layers)


def _column(names: list[str], layers: dict[str, Piece], cell: Callable[[Piece], str]) -> list[str]:
    return [cell(layers[name]) if name in layers else fmt.MISSING for name in names]


def _table(title: str, names: list[str], measured: Measured, columns: dict, note: str) -> Table:
    head = {"layer": names, "kind": [_kind(name, measured) for name in names]}
    kept = {k: v for k, v in columns.items() if any(x != fmt.MISSING for x in v)}
    filled = {**head, **kept}
    return Table(title, tuple(filled), tuple(zip(*filled.values())), note, frozenset({0, 1}))


def _totals(names: list[str], measured: Measured) -> Table:
    unit = fmt.unit(piece.whole for layers in measured.values() for piece in layers.values())
    columns = {
        f"{who} [{unit.name}]": _column(names, layers, lambda p: fmt.time(p.whole, unit))
        for who, layers in measured.items()
    }
    note = "Forward and all gradients of each layer alone."
    return _table("Layers: total", names, measured, columns, note)


def _parts(names: list[str], measured: Measured) -> Table:
    unit = fmt.unit(piece.whole for layers in measured.values() for piece in layers.values())
    cells: dict[str, Callable[[Piece], str]] = {
        "forward": lambda p: fmt.time(p.forward, unit),
        "input gradient": lambda p: fmt.time(p.input_gradient, unit),
        "weight gradient": lambda p: fmt.time(p.weight_gradient, unit),
        "total": lambda p: fmt.time(p.total, unit),
        "GFLOP/s": lambda p: fmt.digits(p.flops / 1e9 if p.flops else None),
        "% of GEMM": lambda p: fmt.share(p.share),
    }
    columns = {
        f"{who}: {what}": _column(names, layers, cell)
        for who, layers in measured.items()
        for what, cell in cells.items()
    }
    title = f"Layers: {' and '.join(measured)} [{unit.name}]"
    return _table(title, names, measured, columns, DIFFERENCES)
