"""The stdout of the command line: UTF-8, buffered, written completely or with an error that names it."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any


class OutputError(OSError):
    """Stdout cannot be written: the disk is full, a limit on the size of files is reached, …"""


class _Output(io.FileIO):
    """Stdout's descriptor, whose errors are OutputErrors; that of a closed pipe stays BrokenPipeError."""

    def write(self, content: Any) -> int:
        """Write some of the content; return the number of bytes."""
        try:
            while (written := super().write(content)) is None:  # full, and another process made the pipe non-blocking
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror, "output") from error
        return written


def set_up_stdout() -> None:
    """Replace `sys.stdout` by one that is UTF-8 in any locale, as for input; file names may hold any bytes.

    It is buffered, because without a buffer (PYTHONUNBUFFERED) Python does not notice that only a part was written; it
    is then flushed after each line, as on a terminal.
    """
    given = sys.stdout
    if not isinstance(given, io.TextIOWrapper):
        return
    raw = getattr(given.buffer, "raw", given.buffer)
    if not isinstance(raw, io.FileIO):  # a stream in memory
        given.reconfigure(encoding="utf-8", errors="surrogateescape")
        return
    given.flush()
    buffered = io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False))
    by_line = given.line_buffering or given.write_through
    sys.stdout = io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape", line_buffering=by_line)


def discard_output() -> None:
    """Discard what stdout still buffers, so that Python can exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
