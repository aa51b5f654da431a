"""Read lines of text in parts of bounded size; write texts as lines; print notes on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from peephole.errors import DataError, printable

T = TypeVar("T")


def read_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 stream without the line break.

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
        yield (text.removeprefix("\ufeff") if number == 1 else text).removesuffix("\n").removesuffix("\r")


def in_parts(lines: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield the lines in lists of `size`, the last one shorter; the error of a bad line follows all lines before it.

    >>> list(in_parts(iter("abc"), 2))
    [['a', 'b'], ['c']]
    """
    part: list[T] = []
    try:
        for line in lines:
            part.append(line)
            if len(part) == size:
                yield part
                part = []
    except DataError:
        if part:
            yield part
        raise
    if part:
        yield part


def print_note(text: str) -> None:
    """Write a line to stderr, with escapes for characters that a terminal would interpret."""
    sys.stderr.write(f"peephole: {printable(text)}\n")


def one_line(text: str) -> str:
    r"""Return the text with its line breaks, which some data formats allow, replaced by spaces.

    >>> one_line("a\nb")
    'a b'
    """
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
