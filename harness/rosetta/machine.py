"""Which machine this is: a fingerprint for results, and a name for their folder."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil

from .probe.environment import environment


def fingerprint() -> dict[str, Any]:
    """CPU, cores this process may use, memory in bytes, GPUs with driver, operating system."""
    facts = environment()
    return {
        "cpu": facts["cpu"],
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": facts["gpus"],
        "system": platform.platform(terse=True),
    }


def cores() -> int:
    """Cores this process may run on: affinity, and a container's limit, taken into account."""
    allowed = environment()["affinity"]
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            allowed = min(allowed, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no such limit here
    return allowed


def last_level_cache() -> int:
    """Bytes of the largest cache of a core; 0 where the system does not say."""
    units = {"K": 2**10, "M": 2**20}
    found = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text("ascii").strip()
        found.append(int(text[:-1]) * units[text[-1]] if text[-1:] in units else 0)
    return max(found)


def device() -> str:
    """ "cuda" where the driver shows a GPU, else "cpu"."""
    return "cuda" if environment()["gpus"] else "cpu"


def name(facts: dict[str, Any]) -> str:
    """The folder of this machine's results: ROSETTA_MACHINE, or its chips in a few letters."""
    if chosen := os.environ.get("ROSETTA_MACHINE"):
        return slug(chosen)
    gpus = [gpu.split(",")[0] for gpu in facts["gpus"]]
    gpu = f"-{len(gpus)}x-{gpus[0]}" if gpus else ""
    return slug(f"{facts['cpu']}-{facts['cores']}c{gpu}")


def slug(text: str) -> str:
    """Letters, digits and single dashes, in lower case."""
    text = re.sub(r"\((R|TM)\)|\b(CPU|Processor|with)\b|@ *[\d.]+ *GHz", " ", text, flags=re.I)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
