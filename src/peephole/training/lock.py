"""The lock of a run: at most one process, and one thread of it, trains or replaces a run.

It is the operating system's lock (flock) on a hidden file beside the run's folder, so it ends with the process that
holds it, however that process ends, and it stays while the folder itself is replaced. The file holds the process id and
the machine's name, for the message to others. The package filelock would need the same code around it: it neither tells
who holds a lock nor removes its file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from peephole.errors import RunError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that cannot lock, as some of clusters
SECONDS_TO_NAME_HOLDER = 0.5  # a holder writes its id right after it took the lock

_held: set[int] = set()  # descriptors of the locks of this process


def lock_files(out: str | Path, folder: Path) -> list[Path]:
    """Return the lock files of a run: one for its folder, and one for its model if that is another run's by a link.

    Every spelling of the same run gives the same files, in the same order, so that of two processes one gets all.

    Args:
        out: the model file, which may be a link.
        folder: the run's folder, which may be a link.
    """
    model = Path(os.path.realpath(out))
    runs = {Path(os.path.realpath(folder)), model.with_name(model.name.removesuffix(".safetensors") + ".run")}
    return sorted(run.with_name(f".{run.name}.lock") for run in runs)


@contextlib.contextmanager
def hold(paths: Iterable[Path], run: str | Path) -> Iterator[None]:
    """Hold the locks of a run, or fail at once.

    On a file system without locks it does nothing.

    Args:
        paths: the lock files; see `lock_files`.
        run: the name of the run, for messages.

    Raises:
        RunError: another process or thread holds a lock, or its file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for path in paths:
            try:
                descriptor = _acquire(path, run)
            except OSError as error:
                if error.errno in NO_LOCKS:
                    continue
                if error.errno == errno.ELOOP:
                    raise RunError(f"{path}: wanted a run's lock or nothing there, got a link") from None
                raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
            stack.callback(_release, path, descriptor, os.getpid())
        yield


def _acquire(path: Path, run: str | Path) -> int:
    """Lock a file, creating it if it is missing; return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise RunError(f"{path}: wanted a run's lock or nothing there, got something else")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} {platform.node()}".encode(), 0)
                _held.add(descriptor)
                return descriptor
        except BlockingIOError:
            raise RunError(f"{run}: {_holder(descriptor)} is training this run") from None
        finally:
            if descriptor not in _held:
                os.close(descriptor)


def _release(path: Path, descriptor: int, process: int) -> None:
    """Remove the file and unlock it; whoever has opened it meanwhile finds that it is gone and opens a new one."""
    if os.getpid() != process:  # a fork of the process that holds the lock
        return
    with contextlib.suppress(OSError):
        if _is_file(path, descriptor):
            path.unlink()
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # also in forked processes that still have the descriptor
    _held.discard(descriptor)
    os.close(descriptor)


def _is_file(path: Path, descriptor: int) -> bool:
    """Return whether an open file still has this name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Describe the process that holds a lock, in words."""
    deadline = time.monotonic() + SECONDS_TO_NAME_HOLDER
    while not (words := os.pread(descriptor, 300, 0).decode(errors="replace").split()):
        if time.monotonic() > deadline:
            return "another process"
        time.sleep(0.01)
    process, machine = words[0], words[-1]
    if machine != platform.node():
        return f"another process (pid {process} on {machine})"
    return "another thread" if process == str(os.getpid()) else f"another process (pid {process})"


def _close_in_fork() -> None:
    """Close the locks of the parent in a forked process; otherwise it would hold them after the parent's death."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_fork)
