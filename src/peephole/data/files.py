"""Open data files: plain, .gz or .zst, two parallel ones, pipes; and yield their lines as bytes."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol

from peephole.errors import DataError, install_hint, plural

COMPRESSIONS = (".gz", ".zst")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BUFFER_SIZE = 1 << 20  # bytes
MOST_LINE_BYTES = 1 << 26  # an endless line, such as that of /dev/zero, must not fill the memory
STDIN = ("-", "/dev/stdin")

FrameKind = Literal["sound", "image", "numbers"]

SUFFIXES: dict[str, FrameKind] = {
    **dict.fromkeys((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au"), "sound"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"), "image"),
    **dict.fromkeys((".npy", ".csv", ".parquet"), "numbers"),
}
"""The suffix of a file's name, in small letters → what it holds."""


def data_files(path: str | Path, *, once: bool = False) -> list[Path]:
    """Return the files of a path: the path itself, or two parallel files given as `a.en,b.it`.

    Args:
        path: one or two names.
        once: the files are read only once, so that stdin and other pipes are accepted, too.

    Raises:
        DataError: one is missing, or is not a file.
    """
    parts = str(path).split(",")
    names = parts if len(parts) == 2 and not Path(path).exists() else [str(path)]
    if "" in names:
        raise DataError("wanted the name of a data file, got an empty one")
    files = [Path(name) for name in names]
    for file in files:
        _check_file(file, once)
    return files


def kind_of_file(name: str) -> FrameKind | None:
    """Return what a file of this name holds, by its suffix; None for text.

    >>> kind_of_file("a/b.WAV"), kind_of_file("hello")
    ('sound', None)
    """
    return SUFFIXES.get(Path(name).suffix.lower())


def named_file(source: str, manifest: str | Path) -> str:
    """Return the path of the file that a source of a manifest names."""
    return os.path.join(os.path.dirname(manifest), source)


def shown_name(path: str | Path) -> str:
    """Return the name of a file for messages.

    >>> shown_name("-"), shown_name("test.tsv")
    ('stdin', 'test.tsv')
    """
    return "stdin" if str(path) in STDIN else str(path)


def is_stream(path: Path) -> bool:
    """Return whether a path names an open descriptor or a pipe: its name need not say its format."""
    return str(path) in STDIN or str(path).startswith(("/dev/", "/proc/")) or not path.is_file()


def _check_file(path: Path, once: bool) -> None:
    name = str(path)
    if name in STDIN:
        if not once:
            raise DataError(f"{name}: is stdin, wanted a file (data are read more than once)")
        return
    if path.is_dir():
        raise DataError(f"{name}: is a directory, wanted a file")
    if path.is_symlink() and not path.exists():
        raise DataError(f"{name}: no such file; it is a link to {str(path.readlink())!r}")
    if not path.exists():
        raise DataError(f"{name}: no such file{_nearest_file(path)}")
    if path.is_file() or (once and path.is_fifo()):
        return
    wanted = "is a device, wanted a file or a pipe" if once else "not a regular file (data are read more than once)"
    raise DataError(f"{name}: {wanted}")


def _nearest_file(path: Path) -> str:
    """Return a hint with a file beside a missing one whose name, without its folder, is close; or an empty string."""
    import difflib  # imported here, since only an error needs it

    names = [beside.name for beside in path.parent.iterdir() if beside.is_file()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""


def read_lines(path: str | Path, on_mark: Callable[[], None]) -> Iterator[bytes]:
    """Yield the lines of a file as bytes, without the byte order mark; only \\n ends a line.

    Args:
        path: the file, or stdin.
        on_mark: called if the file begins with a byte order mark.

    Raises:
        DataError: the file cannot be read, is damaged or cut off, or has a line of more than 64 MiB.
    """
    name, number = shown_name(path), 0
    try:
        with _open(str(path)) as file:
            while line := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                if len(line) > MOST_LINE_BYTES:
                    raise DataError(f"{name}, line {number}: wanted at most {MOST_LINE_BYTES:,} bytes, got more")
                if number == 1 and line.startswith(BYTE_ORDER_MARK):
                    on_mark()
                    line = line[len(BYTE_ORDER_MARK) :]
                yield line
    except EOFError as error:  # of gzip
        where = f"after {plural(number, 'whole line')}" if number else "in the first line"
        raise DataError(f"{name}: cannot be read: cut off {where}") from error
    except (OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None)  # of the system
        if reason is None:  # of a decompressor, which may notice damage long after it
            noticed = f" (noticed after line {number})" if number else ""
            reason = f"damaged or cut off{noticed}: {str(error).splitlines()[0]}"
        raise DataError(f"{name}: cannot be read: {reason}") from error


class _Lines(Protocol):
    """What is read line by line."""

    def readline(self, size: int, /) -> bytes: ...


def _open(name: str) -> AbstractContextManager[_Lines]:
    if name in STDIN:
        if sys.stdin is None:
            raise DataError("stdin: is closed; wanted pairs")
        return nullcontext(sys.stdin.buffer)
    suffix = Path(name.lower()).suffix
    if suffix == ".gz":
        return _buffered(gzip.open(name, "rb"))
    if suffix == ".zst":
        pa = import_pyarrow(name)
        stream = pa.CompressedInputStream(pa.OSFile(name), "zstd")
        return _buffered(stream)
    return open(name, "rb", buffering=BUFFER_SIZE)


def _buffered(stream: Any) -> io.BufferedReader:
    return io.BufferedReader(_Decompressed(stream), BUFFER_SIZE)


def import_pyarrow(name: str) -> Any:
    """Return the module pyarrow, which only Parquet and .zst need.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]  # has no type information
        import pyarrow.parquet  # type: ignore[import-untyped]  # likewise
    except ModuleNotFoundError as error:
        raise DataError(f"{name}: cannot be read without pyarrow: {install_hint('pyarrow')}") from error
    return pyarrow


class _Decompressed(io.RawIOBase):
    """A decompressing stream that returns what it has before it reports that the file ends too early."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
