"""What the machine offers: lanes of a vector, and registers to hold them."""

from __future__ import annotations

import os

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from ..errors import OptionError

FEATURES = get_host_cpu_features()
CPU = get_host_cpu_name()


def _lanes() -> int:
    """Lanes of a float32 vector: ``TRIVET_LANES``, else what one register of this machine holds."""
    wanted = os.environ.get("TRIVET_LANES", "")
    if wanted and wanted not in ("4", "8", "16"):
        raise OptionError(f"Expected TRIVET_LANES 4, 8 or 16; got {wanted!r}.", "leave it out.")
    if wanted:
        return int(wanted)
    # Zen 4 does a 512-bit operation in two halves: eight lanes waste less of odd channel counts
    halves = CPU == "znver4"
    return 4 if not FEATURES.get("avx2") else 16 if FEATURES.get("avx512f") and not halves else 8


LANES = _lanes()
BYTES = 4 * LANES  # of a float32 vector
REGISTERS = 16 if FEATURES.get("sse2") and not FEATURES.get("avx512f") else 32  # NEON has 32 too
LINE = 16  # float32 of a cache line: threads write no line in common
