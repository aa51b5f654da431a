"""Progress bars on stderr, one for each part of the work; none if stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Show progress bars until the end of the block."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bars(progress)


class Bars:
    """Progress bars that `peephole.evaluate` and `peephole.quantize` advance."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def __call__(self, part: str, newly_done: int, total: int) -> None:
        """Advance the bar of a part; the first call of each part has `newly_done` = 0."""
        if not newly_done or self._task is None:
            self._task = self._progress.add_task(escape(part), total=total)
        self._progress.advance(self._task, newly_done)
