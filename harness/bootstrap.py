"""Makes sure of the orchestrating environment, and of `dev` when asked for it.

    python3 harness/bootstrap.py [dev]

Needs the standard library alone. This file parses on any Python, so that an old one is told so.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "rosetta: needs Python 3.11 or later; {} is Python {}.{}\n"
        "  Fix: make PYTHON=python3.11 ...".format(sys.executable, *sys.version_info[:2])
    )

from rosetta.env import orchestrating

if __name__ == "__main__":
    orchestrating.main(sys.argv[1:])
