"""Open model files and checkpoints for reading: anything but a regular file is refused at once."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peephole.errors import ModelFileError

OTHER_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)  # a pipe that nothing writes to would block


@contextmanager
def open_file(path: str | Path) -> Iterator[io.FileIO]:
    """Open a regular file, unbuffered; an OSError of reading it, also in the body, is raised as ModelFileError.

    Raises:
        ModelFileError: there is no such file, it is a directory, a pipe or a device, or it cannot be read.
    """
    if not str(path):
        raise ModelFileError("wanted the name of a model file, got an empty one")
    if "\0" in str(path):
        raise ModelFileError(f"{str(path)!r}: no such file")
    try:
        _check_kind(path, os.stat(path))  # opening some devices has effects
        with open(path, "rb", 0, opener=lambda name, flags: os.open(name, flags | _WITHOUT_WAITING)) as file:
            _check_kind(path, os.fstat(file.fileno()))  # it may have been replaced in between
            yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelFileError(f"{path}: no such file") from error
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror or error}") from error


def _check_kind(path: str | Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise ModelFileError(f"{path}: wanted a model file, got {OTHER_KINDS.get(kind, 'something else')}")
