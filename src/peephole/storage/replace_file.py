"""Replace files atomically: a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from peephole.errors import RunError


@contextlib.contextmanager
def replace_file(path: str | Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing, and replace the old file at the end: a reader finds the old one or the new one, whole.

    The body writes a temporary file in the same folder, `.NAME.PROCESS.part`, which is flushed to disk and renamed. If
    the body raises, the temporary file is removed and an older file is unchanged. A link is kept, and the file that it
    points to is replaced; the temporary file is always a new one, never what a link of its name points to.

    Args:
        path: the file to write.
        keep: another name in the same folder for the older file; None deletes it.

    Raises:
        RunError: the file cannot be written (no such folder, disk full, …), or something other than a file has that
            name; see `check_replaceable`.
    """
    with replace_files([path], keep) as (file,):
        yield file


@contextlib.contextmanager
def replace_files(paths: Sequence[str | Path], keep: Path | None = None) -> Iterator[list[BinaryIO]]:
    """Open several files as `replace_file` does; all are written to disk before the first is renamed.

    Args:
        paths: the files to write.
        keep: another name for the older first file; None deletes it.
    """
    for path in paths:
        check_replaceable(path)
    targets = [_target(path) for path in paths]
    temporaries = [_temporary(target) for target in targets]
    try:
        with contextlib.ExitStack() as stack:
            files: list[BinaryIO] = [stack.enter_context(_create(temporary)) for temporary in temporaries]
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        if keep is not None:
            _rename_older(targets[0], keep)
        for temporary, target in zip(temporaries, targets, strict=True):
            os.replace(temporary, target)
    except BaseException as error:
        for temporary in temporaries:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            raise RunError(f"{', '.join(map(str, paths))}: cannot be written: {error.strerror or error}") from error
        raise


def check_replaceable(path: str | Path) -> None:
    """Raise a RunError if a path's name is too long, or if something other than a file has it.

    Without this check, renaming would replace a device by a file.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:  # no such file, or opening it fails with its own message
        kind = stat.S_IFREG
    if kind != stat.S_IFREG:
        got = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(kind, "a device")
        raise RunError(f"{path}: cannot be written: wanted a file or nothing there, got {got}")
    try:
        _temporary(_target(path)).exists()
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def remove_temporary_files(path: str | Path) -> None:
    """Remove temporary files of killed processes: those of one file, or of all files in a folder."""
    target = _target(path)
    half_written = (
        target.rglob(".*.part") if target.is_dir() else target.parent.glob(f".{glob.escape(target.name)}.*.part")
    )
    for left in half_written:
        left.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, a folder with its contents, or a link, but not what a link points to; nothing there is fine.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _create(temporary: Path) -> BinaryIO:
    """Create a file that did not exist, after removing what a dead process or a stranger left under its name."""
    if temporary.is_symlink() or temporary.is_file():
        temporary.unlink()
    return open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")


def _rename_older(target: Path, keep: Path) -> None:
    """Give a file, if there is one, a second name, which may have been another file's; its first name stays if it can.

    Not all file systems allow two names; on others the first name is missing until it is replaced.
    """
    if not target.exists():
        return
    second = _temporary(keep)
    try:
        second.unlink(missing_ok=True)
        os.link(target, second)
    except OSError:
        os.replace(target, keep)
    else:
        os.replace(second, keep)
        second.unlink(missing_ok=True)  # renaming does nothing if both names are the same file's, after a kill here


def _temporary(target: Path) -> Path:
    """Return the name of the temporary file of this process, or of this thread of it, for a file."""
    thread = "" if threading.current_thread() is threading.main_thread() else f"-{threading.get_ident()}"
    return target.with_name(f".{target.name}.{os.getpid()}{thread}.part")


def _target(path: str | Path) -> Path:
    return Path(os.path.realpath(path))
