"""Where things are. Nothing else in the suite spells a folder of the project."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
RESULTS = ROOT / "results"
HARNESS = ROOT / "harness"


def home() -> Path:
    """Everything made at run time that is not a result: ``.rosetta/``, or ``ROSETTA_HOME``."""
    return Path(os.environ.get("ROSETTA_HOME") or ROOT / ".rosetta").resolve()


def names(folder: Path, marker: str) -> list[str]:
    """The sub-folders of ``folder`` that hold a file ``marker``, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{marker}"))
