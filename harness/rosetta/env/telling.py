"""What is being set up, how far, how long: one line on a terminal, lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..progress import console
from .exclusive import Say


@contextmanager
def telling(title: str) -> Iterator[Say]:
    """Gives a function that shows one line about ``title``."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    live = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not live) as progress:
        task = progress.add_task(title)

        def say(line: str) -> None:
            progress.update(task, description=escape(f"{title}: {line}"))
            if not live:
                console.print(escape(f"{title}: {line}"), soft_wrap=True)

        yield say
