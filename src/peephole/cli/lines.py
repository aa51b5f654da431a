"""Lines of text in, in parts of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from peephole.errors import DataError


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 stream without their ends.

    Raises:
        DataError: a line is not UTF-8; names the line and the byte.
    """
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            found = line[error.start]
            raise DataError(
                f"{name}, line {number}: wanted UTF-8, got byte 0x{found:02x} at position {error.start + 1}"
            ) from None
        yield text.removeprefix("\ufeff").rstrip("\r\n") if number == 1 else text.rstrip("\r\n")


def in_parts(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """Yield the lines in lists of `size`, the last one shorter.

    >>> list(in_parts(iter("abc"), 2))
    [['a', 'b'], ['c']]
    """
    part: list[str] = []
    for line in lines:
        part.append(line)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
