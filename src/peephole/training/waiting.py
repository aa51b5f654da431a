"""Show on a terminal what a step without lines of its own is doing, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from peephole.errors import printable


@contextmanager
def waiting(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a text and the time since the beginning of the block on stderr, until its end; only on a terminal."""
    console = Console(stderr=True)
    shown = console.is_terminal and not quiet
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=False) as progress:
        progress.add_task(printable(text), total=None)
        yield
