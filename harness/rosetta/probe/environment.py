"""What the process stands on: interpreter, CPU, GPU, BLAS, threads, memory. Never raises."""

import os
import platform
import re
import subprocess
import sys

import numpy as np

THREADS = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
    "XLA_FLAGS",
    "CUDA_VISIBLE_DEVICES",
)


def environment():
    """Facts of this process and machine, for the header of a record."""
    return {
        "python": platform.python_version(),
        "executable": os.path.basename(sys.executable),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "affinity": _affinity(),
        "load_average": _load(),
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "numpy": np.__version__,
        "blas": _blas(),
        "gpus": _gpus(),
    }


def peak_host_bytes():
    """The most memory this process ever held (VmHWM), or None where the system does not say."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", _read("/proc/self/status"), re.M)
    if match:
        return int(match.group(1)) * 1024
    try:
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:
        return None


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _cpu():
    match = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.M)
    return match.group(1) if match else platform.processor()


def _affinity():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count()


def _load():
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _blas():
    """The BLAS that NumPy calls: it reports it in a different way in each of its ages."""
    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return "%s %s" % (found["name"], found["version"])
    except TypeError:  # NumPy < 1.26 prints
        config = getattr(np, "__config__", None)
        info = getattr(config, "blas_opt_info", None) or getattr(config, "openblas64__info", {})
        return ", ".join(info.get("libraries", [])) or None
    except KeyError:
        return None


def _gpus():
    query = "name,driver_version,memory.total"
    command = ["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader"]
    try:
        out = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in out.decode("utf-8", "replace").splitlines() if line.strip()]
