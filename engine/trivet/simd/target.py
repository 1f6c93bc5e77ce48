"""What the machine offers: lanes of a vector, and registers to hold them."""

from __future__ import annotations

import os

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from ..errors import OptionError
from .width import lanes_of_a_wide_register

FEATURES = get_host_cpu_features()
CPU = get_host_cpu_name()


def _lanes() -> int:
    """Lanes of a float32 vector: ``TRIVET_LANES``, else what one register of this machine holds,
    or half of it where the whole is no faster."""
    wanted = os.environ.get("TRIVET_LANES", "")
    if wanted and wanted not in ("4", "8", "16"):
        raise OptionError(f"Expected TRIVET_LANES 4, 8 or 16; got {wanted!r}.", "leave it out.")
    if wanted:
        return int(wanted)
    if FEATURES.get("avx512f"):
        return lanes_of_a_wide_register(CPU, FEATURES.flatten())
    return 8 if FEATURES.get("avx2") else 4


LANES = _lanes()
BYTES = 4 * LANES  # of a float32 vector
REGISTERS = 16 if FEATURES.get("sse2") and not FEATURES.get("avx512f") else 32  # NEON has 32 too
ESTIMATES = LANES == 16 and bool(FEATURES.get("avx512f"))  # of reciprocals, to 14 bits
LINE = 16  # float32 of a cache line: threads write no line in common
