"""TensorBoard's event files, written by the package `tensorboard` itself."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any


class Board:
    """A file of curves for TensorBoard.

    Args:
        folder: the folder of the events; a new file is begun in it.
        first_step: TensorBoard drops the points of this step and later ones that older files of the folder hold.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._event: Any
        self._summary: Any
        self._event, self._summary = (import_module(f"tensorboard.compat.proto.{n}_pb2") for n in ("event", "summary"))
        writer: Any = import_module("tensorboard.summary.writer.event_file_writer")
        self._writer = writer.EventFileWriter(str(folder))
        start = self._event.SessionLog(status=self._event.SessionLog.START)
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=first_step, session_log=start))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        point = self._summary.Summary.Value(tag=name, simple_value=value)
        summary = self._summary.Summary(value=[point])
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Write the points that are still in memory."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()


def open_board(folder: Path, first_step: int) -> Board | None:
    """Return a new file of curves; None without the package `tensorboard`. Arguments as in `Board`."""
    try:
        return Board(folder, first_step)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboard":
            raise
        return None
