"""Kernelspecs: in the project's private Jupyter folder, and for the user on request."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

from .. import project
from ..spec.framework import Framework
from .record import Environment

# ipykernel's own start, with the overlay behind everything that the environment itself has.
_WITH_OVERLAY = (
    "import site; site.addsitedir({overlay!r}); "
    "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)


# The same for a script: its own path and arguments follow.
_SCRIPT_WITH_OVERLAY = (
    "import runpy, site, sys; site.addsitedir({overlay!r}); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def jupyter_path() -> Path:
    """A JUPYTER_PATH that holds the kernels of the suite and nothing else."""
    return project.home() / "jupyter"


def spec(framework: Framework, environment: Environment) -> dict[str, object]:
    """The content of kernel.json."""
    if environment.overlay:
        start = ["-c", _WITH_OVERLAY.format(overlay=environment.overlay)]
    else:
        start = ["-m", "ipykernel_launcher"]
    return {
        "argv": [environment.python, *start, "-f", "{connection_file}"],
        "display_name": f"{framework.title} ({environment.device})",
        "language": "python",
        "env": variables(framework, environment),
        "metadata": {"debugger": False},
    }


def script(environment: Environment, path: Path) -> list[str]:
    """The command line that runs a script in an environment; its arguments are to follow."""
    if not environment.overlay:
        return [environment.python, str(path)]
    code = _SCRIPT_WITH_OVERLAY.format(overlay=environment.overlay)
    return [environment.python, "-c", code, str(path)]


def variables(framework: Framework, environment: Environment) -> dict[str, str]:
    """What a framework's kernel and scripts find in their environment, above all the probe."""
    path = os.pathsep.join([str(project.HARNESS), *environment.paths])
    found = {**framework.environment, "PYTHONPATH": path}
    if environment.adopted:  # a foreign environment stays as it is, down to its __pycache__
        found["PYTHONPYCACHEPREFIX"] = str(project.home() / "env" / "pycache")
    return found


def write(framework: Framework, environment: Environment) -> None:
    """Writes the private kernelspec."""
    folder = jupyter_path() / "kernels" / environment.kernel
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(spec(framework, environment), indent=1) + "\n"
    partial = folder / "kernel.partial"
    partial.write_text(text, "utf-8")
    partial.replace(folder / "kernel.json")


def remove(kernel: str) -> None:
    """Removes the private kernelspec; none is fine."""
    shutil.rmtree(jupyter_path() / "kernels" / kernel, ignore_errors=True)


def install_for_user(framework: Framework, environment: Environment) -> Path:
    """Registers the kernel in the user's Jupyter folder; gives its place there."""
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(spec(framework, environment), indent=1)
        Path(folder, "kernel.json").write_text(text, "utf-8")
        name = user_name(environment.kernel)
        return Path(KernelSpecManager().install_kernel_spec(folder, name, user=True))


def remove_for_user(kernel: str) -> Path | None:
    """Removes it again; None if it was not there."""
    manager = KernelSpecManager(ensure_native_kernel=False)
    manager.kernel_dirs = [manager.user_kernel_dir]
    name = user_name(kernel)
    return Path(manager.remove_kernel_spec(name)) if name in manager.find_kernel_specs() else None


def user_name(kernel: str) -> str:
    """Its name among the user's kernels, where it must not stand in for one of theirs."""
    return f"rosetta-{kernel}"
