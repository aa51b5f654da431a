"""Show what a step without lines of its own is doing, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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


@contextmanager
def counting(text: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a text and how much of some work is done on stderr, until the end of the block; elsewhere the text alone.

    Returns:
        What is called with the number of parts that are done since the last call.
    """
    console = Console(stderr=True)
    if not quiet and not console.is_terminal:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=False) as progress:
        task = progress.add_task(printable(text), total=total)
        yield lambda count: progress.advance(task, count)
