"""Where trivet keeps what it made for this machine."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder() -> Path:
    """trivet's own cache folder: ``TRIVET_CACHE``, else one below the user's."""
    if folder := os.environ.get("TRIVET_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trivet"
