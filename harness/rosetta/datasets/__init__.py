"""Real data or its stand-in: found, verified, read into arrays. Floor 2.

A dataset is a folder of ``data/``: ``dataset.toml`` says what is known; ``prepare.py`` reads
the official layouts and draws the stand-in. This package does what all of them share: finding,
downloading, digests, archives, pickles.
"""

from .archives import members
from .definition import Archive, DatasetSpec, Known, spec
from .files import check_known, describe, digest_of, md5_of, write_atomically
from .loading import Contents, Dataset, load, recipe
from .pickles import loads, read_npz
from .workers import in_processes

__all__ = [
    "Archive",
    "Contents",
    "Dataset",
    "DatasetSpec",
    "Known",
    "check_known",
    "describe",
    "digest_of",
    "in_processes",
    "load",
    "loads",
    "md5_of",
    "members",
    "read_npz",
    "recipe",
    "spec",
    "write_atomically",
]
