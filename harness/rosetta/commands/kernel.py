"""`rosetta kernel`: a framework's kernel among the user's own, on request."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import machine
from ..env import environments, kernels
from ..env.record import kernel_name
from ..env.telling import telling
from ..spec import framework as frameworks


def command(
    name: Annotated[str, typer.Argument(metavar="FRAMEWORK", help="a folder of notebooks/")],
    device: Annotated[str, typer.Option(help="cpu or cuda; the GPU where there is one")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="take it away again")] = False,
) -> None:
    """Install a framework's kernel for your own Jupyter, or remove it. Nothing else does either."""
    device = device or machine.device()
    framework = frameworks.load(name)
    if remove:
        removed = kernels.remove_for_user(kernel_name(framework.name, device))
        print(f"removed {removed}" if removed else "there was none")
        return
    with telling(framework.title) as say:
        environment = environments.ensure(framework, device, say)
    print(f"installed {kernels.install_for_user(framework, environment)}")
