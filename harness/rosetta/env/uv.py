"""uv, told where pip finds its packages. Needs uv and the standard library.

`python -m rosetta.env.uv FOLDER LOCK` installs a lock file into an environment.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from uv import find_uv_bin

from .. import project
from ..errors import EnvironmentFailed
from .exclusive import Say

KEPT_LINES = 6  # of an installer's message, in a reason
_TELLING = re.compile(r"Resolved|Downloading|Building|Prepared|Installed|warning|error|hint")


def command(*arguments: str) -> list[str]:
    """The command line of uv."""
    return [find_uv_bin(), *arguments]


@cache
def pip_settings() -> dict[str, str]:
    """What pip is configured with, from its files and ``PIP_*``; nothing where there is no pip."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True
    ).stdout
    pairs = (line.partition("=") for line in listing.splitlines() if "=" in line)
    found = {key: str(ast.literal_eval(value)) for key, _, value in pairs}
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later one wins, as in pip
        for key, value in found.items():
            if key.startswith(section + "."):
                settings[key.removeprefix(section + ".").lstrip(".")] = value
    return settings


def environment() -> dict[str, str]:
    """uv's environment variables; what the user set for uv itself stays."""
    pip = pip_settings()
    extra = pip.get("extra-index-url", "").split()
    derived = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        # The locks' hashes, not the order of indexes, say which file is the right one.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }
    return {**{key: value for key, value in derived.items() if value}, **os.environ}


def install(folder: Path, lock: Path, say: Say, keep_open: int | None = None) -> None:
    """Installs everything in ``lock`` into the environment ``folder``; every file has its hash.

    Raises:
        EnvironmentFailed: uv failed.
    """
    options = ["--require-hashes", "--no-deps", "--python", str(folder / "bin" / "python")]
    options += torch_options(lock)
    run(["pip", "install", *options, "--requirement", str(lock)], say, keep_open)


def torch_options(lock: Path) -> list[str]:
    """Where torch's CPU wheel is, if ``lock`` wants one that pip's find-links do not have."""
    wheel = re.search(r"^torch==(\S+\+cpu)", lock.read_text("utf-8"), re.MULTILINE)
    if not wheel:
        return []
    links = environment().get("UV_FIND_LINKS", "")
    remote = [link for link in links.split(",") if re.match(r"https?:", link)]
    local = [Path(link.removeprefix("file://")) for link in links.split(",") if link]
    if remote or any(any(folder.glob(f"torch-{wheel[1]}-*.whl")) for folder in local):
        return []
    return ["--torch-backend", "cpu"]


def run(arguments: list[str], say: Say, keep_open: int | None = None) -> None:
    """Runs uv; hands its lines to ``say``.

    Args:
        arguments: After ``uv``.
        say: Receives what tells how far it is.
        keep_open: A descriptor that uv inherits (see ``exclusive``).

    Raises:
        EnvironmentFailed: uv failed; the message is the end of what it said.
    """
    process = subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[] if keep_open is None else [keep_open],
    )
    assert process.stderr
    lines = []
    try:
        with process.stderr as stream:
            for line in stream:
                lines.append(line)
                if _TELLING.match(line):
                    say(line.strip())
    except BaseException:
        process.kill()
        raise
    finally:
        status = process.wait()
    if status:
        raise EnvironmentFailed(last_lines("".join(lines)) or f"uv ended with status {status}")


def last_lines(message: str) -> str:
    """The telling lines of uv's message, in one line, without addresses and private paths.

    The reason stands in committed results, and an index's address may hold a password.
    """
    lines = [re.sub(r"^\W+", "", line).strip() for line in message.splitlines()]
    errors = [i for i, line in enumerate(lines) if line.startswith("error")]
    lines = [line for line in lines[errors[0] if errors else 0 :] if line]
    text = " | ".join(lines[:KEPT_LINES])
    text = re.sub(r"\b(https?|file)://[^\s`'\")]+", "<address>", text)
    for path, name in ((project.home(), ".rosetta"), (project.ROOT, "."), (Path.home(), "~")):
        text = text.replace(str(path), name)
    return text


if __name__ == "__main__":
    try:
        install(Path(sys.argv[1]), Path(sys.argv[2]), lambda line: print(f"rosetta: {line}"))
    except EnvironmentFailed as error:
        sys.exit(f"rosetta: {error}")
