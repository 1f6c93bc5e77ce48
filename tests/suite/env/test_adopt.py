"""An adopted environment: untouched, completed by an overlay that its own packages win over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from rosetta.env import adopt, environments, interpreters, kernels, record, uv
from rosetta.errors import EnvironmentFailed
from rosetta.spec import framework as frameworks


def foreign_venv(folder: Path, *packages: str) -> Path:
    """An environment that somebody else made."""
    python = folder / "bin" / "python"
    interpreter = interpreters.find(interpreters.running())
    uv.run(["venv", "--no-project", "--python", str(interpreter), str(folder)], print)
    if packages:
        uv.run(["pip", "install", "--python", str(python), *packages], print)
    return python


def contents(folder: Path) -> dict[str, str]:
    """Every file with its digest."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_it_stays_untouched_and_its_packages_win(make, tmp_path: Path, monkeypatch):
    framework = make()
    toml = framework.folder / "framework.toml"
    toml.write_text(toml.read_text().replace('"six==1.17.0"', '"six==1.17.0", "ipykernel"'))
    framework = frameworks.load("tiny")
    python = foreign_venv(tmp_path / "theirs", "six==1.16.0", "traitlets==5.14.3")
    before = contents(tmp_path / "theirs")
    environment = adopt.adopt(framework, "cpu", python, print)
    assert environment.adopted and environment.overlay
    assert environment.versions["six"] == "1.16.0"
    assert environment.versions["traitlets"] == "5.14.3"  # ipykernel was resolved to suit it
    assert "ipykernel" in environment.versions
    assert environment.differences == (record.Difference("six", "1.17.0", "1.16.0"),)

    monkeypatch.setenv("JUPYTER_PATH", str(kernels.jupyter_path()))
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    manager, client = start_new_kernel(kernel_name=environment.kernel, startup_timeout=120)
    said: list[str] = []
    code = "import six, sys, os; print(six.__version__, sys.path[-1], os.environ['TINY_BACKEND'])"
    try:
        client.execute_interactive(
            code, timeout=60, output_hook=lambda m: said.append(m["content"].get("text", ""))
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(said).split() == ["1.16.0", environment.overlay, "numpy"]
    assert contents(tmp_path / "theirs") == before
    assert environments.ensure(framework, "cpu", print) == environment


@pytest.mark.slow
def test_one_without_the_framework_is_refused(make, tmp_path: Path):
    python = foreign_venv(tmp_path / "theirs")
    with pytest.raises(EnvironmentFailed, match=r"has no six; .*\n  Fix: install Tiny there"):
        adopt.adopt(make(), "cpu", python, print)
    assert environments.status(make(), "cpu") is None


def test_a_file_that_is_no_python_is_refused(make, tmp_path: Path):
    file = tmp_path / "python"
    file.write_text("no program")
    with pytest.raises(EnvironmentFailed, match="does not start: Permission denied"):
        adopt.adopt(make(), "cpu", file, print)
