"""Makes benchmarks/<workload>/reference.json: the losses that judge where no tensors are at hand.

They are those of the float64 parity jobs of a run, with the digest of what these were fed. The
files are committed, so nobody else needs this. After a change of the parity inputs:

    rosetta run --profile quick --kind parity --framework trivet
    python harness/make_reference.py results/<machine>/<run>
"""

from __future__ import annotations

import sys
from pathlib import Path

from rosetta import references

if __name__ == "__main__":
    for path in references.keep(Path(sys.argv[1])):
        print(path)
