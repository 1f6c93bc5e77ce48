"""Building, reusing, repairing; failures as rows. Installs one small package from the index."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from rosetta import project
from rosetta.commands import setup
from rosetta.env import environments, record, uv
from rosetta.env.environments import NotInstallable
from rosetta.env.exclusive import exclusive
from rosetta.errors import EnvironmentFailed
from rosetta.spec import framework as frameworks
from typer.testing import CliRunner

from .conftest import WRONG

app = typer.Typer()
app.command()(setup.command)

BUILD_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from rosetta import project
from rosetta.env import environments
from rosetta.spec import framework

project.NOTEBOOKS = Path(sys.argv[1])

def say(line):
    if line.startswith("Resolved"):
        print("in the middle", flush=True)
        threading.Event().wait()

environments.ensure(framework.load("tiny"), "cpu", say)
"""


@pytest.mark.slow
def test_built_once_then_reused(make, home: Path):
    framework, said = make(), []
    first = environments.ensure(framework, "cpu", said.append)
    assert first.versions == {"six": "1.17.0"} and first.differences == () and first.tested
    assert any(line.startswith("Installed 1 package") for line in said)
    assert Path(first.python).is_relative_to(home / "env" / "tiny")
    said.clear()
    made = (home / "env" / "tiny" / "pyvenv.cfg").stat().st_mtime_ns
    assert environments.ensure(framework, "cpu", said.append) == first
    assert said == []
    assert (home / "env" / "tiny" / "pyvenv.cfg").stat().st_mtime_ns == made


@pytest.mark.slow
def test_a_changed_lock_is_installed(make):
    environments.ensure(make(), "cpu", print)
    digest = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
    framework = make(lock=f"# tested\nsix==1.16.0 --hash=sha256:{digest}\n")
    assert environments.status(framework, "cpu") is None
    assert environments.ensure(framework, "cpu", print).versions == {"six": "1.16.0"}


@pytest.mark.slow
def test_killed_in_the_middle_then_repaired(make, home: Path):
    framework = make()
    command = [sys.executable, "-c", BUILD_UNTIL_KILLED, str(project.NOTEBOOKS)]
    variables = {**os.environ, "PYTHONPATH": str(project.HARNESS)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in the middle\n"
        process.send_signal(signal.SIGKILL)
    assert (home / "env" / "tiny" / "pyvenv.cfg").exists()
    assert environments.status(framework, "cpu") is None
    repaired = environments.ensure(framework, "cpu", print)
    assert record.inventory(repaired.python)[1] == {"six": "1.17.0"}


@pytest.mark.slow
def test_a_wrong_hash_fails_with_the_reason_and_the_others_go_on(make):
    good, bad = make("good"), make("bad", lock=WRONG)
    result = CliRunner().invoke(app, ["--device", "cpu"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "failed: " in result.output and "Hash mismatch" in result.output
    assert environments.status(good, "cpu") is not None
    assert environments.status(bad, "cpu") is None


@pytest.mark.slow
def test_what_does_not_import_is_not_ready(make):
    framework = make()
    toml = framework.folder / "framework.toml"
    toml.write_text(toml.read_text().replace('["six"]', '["six", "seven"]'))
    framework = frameworks.load("tiny")
    with pytest.raises(EnvironmentFailed, match=r"does not import: .*No module named 'seven'"):
        environments.ensure(framework, "cpu", print)
    assert environments.status(framework, "cpu") is None


def test_without_an_interpreter_it_is_not_installable(make):
    framework = make(python="3.98")
    with pytest.raises(NotInstallable, match=r"needs Python 3.98; none was found on PATH"):
        environments.ensure(framework, "cpu", print)
    result = CliRunner().invoke(app, ["--device", "cpu"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "not installable: needs Python 3.98" in result.output


def test_without_a_lock_it_is_not_installable(make):
    framework = make()
    for lock in framework.locks.iterdir():
        lock.unlink()
    with pytest.raises(NotInstallable, match="has no lock file for cpu on "):
        environments.ensure(framework, "cpu", print)


def test_a_device_that_is_not_offered_is_not_installable(make):
    with pytest.raises(NotInstallable, match="not offered on cuda: it is made up"):
        environments.ensure(make(), "cuda", print)


def test_a_second_process_waits_and_says_so(tmp_path: Path):
    waiting, entered = threading.Event(), threading.Event()

    def second():
        with exclusive(tmp_path / "lock", lambda line: waiting.set()):
            entered.set()

    with exclusive(tmp_path / "lock", print):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()


def test_a_reason_has_no_address_and_no_private_path():
    message = (
        "Resolved 3 packages\n"
        "error: Request failed\n"
        "  cause: Failed to fetch: `https://user:secret@index.example/simple/six/`\n"
        f"  cause: cannot write {project.home()}/env/tiny\n"
    )
    assert uv.last_lines(message) == (
        "error: Request failed | cause: Failed to fetch: `<address>` "
        "| cause: cannot write .rosetta/env/tiny"
    )


def test_uv_is_told_what_pip_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/ https://two.example/")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    uv.pip_settings.cache_clear()
    told = uv.environment()
    uv.pip_settings.cache_clear()
    assert told["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert told["UV_INDEX"] == "https://one.example/ https://two.example/"
    assert told["UV_FIND_LINKS"] == str(tmp_path)


@pytest.mark.parametrize(("wheel", "options"), [(True, []), (False, ["--torch-backend", "cpu"])])
def test_the_cpu_wheel_of_torch_comes_from_find_links_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bool, options: list[str]
):
    lock = tmp_path / "cpu-linux-x86_64-py311.txt"
    lock.write_text("torch==2.13.0+cpu \\\n    --hash=sha256:00\n")
    if wheel:
        (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    assert uv.torch_options(lock) == options


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["pytorch", "keras_tf", "jax_flax", "mxnet_gluon"])
def test_the_real_environments_are_as_locked(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ROSETTA_HOME")
    environment = environments.status(frameworks.load(name), "cpu")
    if environment is None:
        raise EnvironmentFailed(f"{name} is not set up", fix="rosetta setup")
    assert record.inventory(environment.python)[1] == environment.versions
