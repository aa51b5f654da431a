"""Report a training: progress on stderr, log.jsonl, and TensorBoard's events where that package is installed."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from peephole.errors import RunError, printable
from peephole.storage.replace_file import replace_file
from peephole.training.board import open_board
from peephole.training.loop import Step

LOG_EVERY = 50  # updates between two lines of log.jsonl
LINE_EVERY = 30.0  # seconds between two progress lines if stderr is not a terminal


class _Console(Console):
    """A console on stderr that says when the reader of its pipe is gone, and prints nothing from then on."""

    def __init__(self, on_closed: Callable[[], None], *, quiet: bool) -> None:
        super().__init__(stderr=True, quiet=quiet)
        self._on_closed = on_closed

    def on_broken_pipe(self) -> None:
        """Discard this and all later output of the process on stderr, in place of ending the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        self._on_closed()


class Report:
    """Log and show each step and evaluation; a context manager that closes the files it opened.

    Args:
        folder: the run's folder, for log.jsonl and TensorBoard's events. None: nothing is written or shown (in the
            processes of a distributed training other than the first).
        step: the step from which the training continues; log lines of later steps, left by a killed process, are
            deleted. None: it begins, and all lines are deleted.
        dev_metric: the metric to show.
        best: the dev value of the weights kept so far.
        on_closed: called when the reader of stderr is gone, such as `head` in a pipe.
        keep: which weights are kept: the best on dev, or the last.
        quiet: write the files only.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int | None,
        dev_metric: str,
        best: float | None,
        *,
        on_closed: Callable[[], None] = lambda: None,
        keep: str = "best",
        quiet: bool = False,
    ) -> None:
        self.folder = folder
        self.dev_metric, self.keep = dev_metric, keep
        self.best = best
        self.kept_step = -1 if step is None else step  # the last step whose log lines are kept
        self.last_step = step or 0
        self.losses: list[tuple[float, int]] = []  # (sum, symbols) since the last log line
        self.rate = 0.0  # target symbols a second, smoothed
        self.last_seconds: float | None = None
        self.console = _Console(on_closed, quiet=quiet or folder is None)
        self.line_due = time.monotonic() + LINE_EVERY

    def __enter__(self) -> Report:
        # Output of other code is printed above the bar; the trainings of other threads leave sys.stdout as it is
        redirect = threading.current_thread() is threading.main_thread()
        self.progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=self.console,
            transient=True,
            redirect_stdout=redirect,
            redirect_stderr=redirect,
        )
        self.task: TaskID = self.progress.add_task("", total=1.0)
        if self.folder is not None:
            with self._log_errors():
                cut_log(self.folder / "log.jsonl", self.kept_step)
                self.log: TextIO = _open_to_append(self.folder / "log.jsonl")
                self.board = open_board(self.folder / "tensorboard", self.kept_step + 1)
            if self.console.is_terminal and not self.console.quiet:
                self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress.live.is_started:  # stopping a bar that has not started prints an empty line
            self.progress.stop()
        if self.folder is not None:
            for file in (self.log, self.board):
                with suppress(OSError):  # the disk is full
                    if file is not None:
                        file.close()

    def step(self, step: Step) -> None:
        """Report one update."""
        if self.folder is None:
            return
        self.last_step = step.step
        self.losses.append((step.loss * step.num_symbols, step.num_symbols))
        if self.last_seconds is not None and step.seconds > self.last_seconds:
            now = step.num_symbols / (step.seconds - self.last_seconds)
            self.rate = now if not self.rate else 0.98 * self.rate + 0.02 * now
        self.last_seconds = step.seconds
        if step.step % LOG_EVERY == 0 or step.progress >= 1:
            self._write_log(step)
        self._show(step)

    def evaluation(self, values: dict[str, float], is_best: bool) -> None:
        """Report the dev metrics of an evaluation."""
        if is_best:
            self.best = values[self.dev_metric]
        if self.folder is None:
            return
        self._write({"step": self.last_step, "dev": values, "best": is_best}, "dev", values)
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())
        self.print_line(f"step {self.last_step}: dev {shown}{'  (best)' if is_best and self.keep == 'best' else ''}")

    def flush(self) -> None:
        """Write the points that TensorBoard's writer still holds; a resumed run does not add them again."""
        if self.folder is not None and self.board is not None:
            with self._log_errors():
                self.board.flush()

    def print_line(self, line: str) -> None:
        """Print a line above the progress bar, with escapes for characters that a terminal would interpret."""
        self.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    def _write_log(self, step: Step) -> None:
        total, symbols = (sum(column) for column in zip(*self.losses, strict=True))
        self.losses = []
        entry = {
            "step": step.step,
            "epoch": step.epoch,
            "progress": round(step.progress, 5),
            "loss": total / symbols,
            "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm,
            "symbols_per_second": round(self.rate, 1),
            "seconds": round(step.seconds, 2),
        }
        curves = ("loss", "learning_rate", "gradient_norm", "symbols_per_second")
        self._write(entry, "train", {name: entry[name] for name in curves})

    def _write(self, entry: dict[str, Any], section: str, curves: dict[str, float]) -> None:
        """Append a line to log.jsonl, and points to TensorBoard's curves."""
        with self._log_errors():
            self.log.write(json.dumps(entry) + "\n")
            self.log.flush()
            if self.board is not None:
                for name, value in curves.items():
                    self.board.add_scalar(f"{section}/{name}", value, entry["step"])

    @contextmanager
    def _log_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.folder}: the log cannot be written: {error.strerror or error}") from error

    def _show(self, step: Step) -> None:
        left = step.seconds / step.progress * (1 - step.progress) if step.progress > 0 else 0.0
        best = "" if self.best is None else f"  {self.keep} dev {self.dev_metric.replace('_', ' ')} {self.best:.2f}"
        text = (
            f"{100 * step.progress:3.0f} %  step {step.step}  epoch {step.epoch + 1}  loss {step.loss:.3f}  "
            f"{self.rate:,.0f} symbols/s{best}  {_clock_text(left)} left"
        )
        if self.console.is_terminal:
            self.progress.update(self.task, completed=step.progress, description=text)
        elif time.monotonic() >= self.line_due:
            self.line_due = time.monotonic() + LINE_EVERY
            self.print_line(text)


def cut_log(path: Path, step: int) -> None:
    """Delete the lines of log.jsonl after a step: a kill lost their updates."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # a line truncated by a kill
            continue
    with replace_file(path) as file:
        file.write("".join(kept).encode())


def _open_to_append(path: Path) -> TextIO:
    """Open a file to append to it, but not what a link of its name points to."""
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a", encoding="utf-8")


def _clock_text(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
