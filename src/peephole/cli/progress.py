"""Progress on stderr; nothing if stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from peephole.errors import printable


@contextmanager
def progress_bars(first: str) -> Iterator[Bars]:
    """Show progress bars until the end of the block.

    Args:
        first: what is done before the first bar.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bars(progress, first)


class Bars:
    """Progress bars that `peephole.evaluate` and `peephole.quantize` advance."""

    def __init__(self, progress: Progress, first: str) -> None:
        self._progress = progress
        self._first: TaskID | None = progress.add_task(escape(printable(first)), total=None)
        self._task: TaskID | None = None

    def __call__(self, part: str, newly_done: int, total: int) -> None:
        """Advance the bar of a part; the first call of each part has `newly_done` = 0."""
        if self._first is not None:
            self._progress.remove_task(self._first)
            self._first = None
        if not newly_done or self._task is None:
            self._task = self._progress.add_task(escape(printable(part)), total=total)
        self._progress.advance(self._task, newly_done)


@contextmanager
def line_counter() -> Iterator[Callable[[int], None]]:
    """Show a number of lines until the end of the block; yield the function that adds lines to it.

    Nothing is shown if stdout is a terminal, too: there the output itself shows the progress.
    """
    console = Console(stderr=True)
    shown = console.is_terminal and not Console().is_terminal
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} lines"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=False) as progress:
        task = progress.add_task("", total=None)

        def add(lines: int) -> None:
            progress.advance(task, lines)

        yield add
