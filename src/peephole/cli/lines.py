"""Lines of text: in parts of bounded size, without line breaks, and printed on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

from peephole.errors import DataError, printable

T = TypeVar("T")


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
    with suppress(OSError):  # a full disk behind stderr does not stop the work
        sys.stderr.write(f"peephole: {printable(text)}\n")


def one_line(text: str) -> str:
    r"""Return the text with its line breaks, which some data formats allow, replaced by spaces.

    >>> one_line("a\nb")
    'a b'
    """
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
