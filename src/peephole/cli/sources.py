"""Read the lines of input files as sources to predict, and say which lines are none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from peephole.data import Report
from peephole.data.files import data_files, named_file, read_lines, shown_name
from peephole.errors import DataError, PeepholeError, PrefixError


class Task(NamedTuple):
    """One line of the input.

    Attributes:
        line: its number, from 1.
        source: the source, a text or the name of a file of frames; empty for a line that is none.
        prefix: the text that its targets begin with; None without prefixes.
        error: why the line is no source; None if it is one.
        frames: the content of the file; None for texts.
        changes: the conversions that reading it needed, each as one clause.
    """

    line: int
    source: str
    prefix: str | None = None
    error: str | None = None
    frames: Any = None
    changes: tuple[str, ...] = ()


class BadLineError(Exception):
    """A line is no source: the reason in two words, for the report, and what was wanted and found."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message


Parse = Callable[[str], tuple[str, str | None]]
"""Splits a line into source and prefix, or raises BadLineError."""
Read = Callable[[str], tuple[Any, tuple[str, ...]]]
"""Returns the frames of a file, and the conversions that reading it needed, each as one clause."""


def input_files(names: Iterable[str]) -> list[str]:
    """Return the names of the files to read: stdin if there are none.

    Raises:
        DataError: a file is missing, stdin is closed, or stdin is named twice.
    """
    files = list(names) or ["-"]
    streams = [name for name in files if shown_name(name) == "stdin"]
    if len(streams) > 1:
        raise DataError("stdin: wanted once among the files, as -, got twice")
    if streams and sys.stdin is None:
        raise DataError("stdin: is closed; wanted sources, one a line")
    for name in files:
        data_files(name, once=True)
    return files


def read_tasks(file: str, parse: Parse, *, skip: bool, report: Report, read: Read | None = None) -> Iterator[Task]:
    """Yield the lines of a file.

    Args:
        file: its name; - is stdin; .gz and .zst files are decompressed.
        parse: splits a line.
        skip: yield a line that is no source as a task with an error, instead of raising the error.
        report: counts skipped lines.
        read: reads a source that is the name of a file, relative to the folder of this one; None for texts.

    Raises:
        DataError: a line is no source, or the file cannot be read; names file and line.
    """
    name = shown_name(file)
    for number, raw in enumerate(read_lines(file, on_mark=lambda: None), start=1):
        try:
            task = Task(number, *parse(_decode(raw)))
            if read is not None and task.source:
                frames, changes = _read(read, named_file(task.source, file))
                task = task._replace(frames=frames, changes=changes)
            yield task
        except BadLineError as bad:
            error = f"{name}, line {number}: {bad.message}"
            if not skip:
                raise DataError(error) from None
            report.skip(bad.reason, number, name)
            yield Task(number, "", error=error)


def _read(read: Read, path: str) -> tuple[Any, tuple[str, ...]]:
    try:
        return read(path)
    except DataError as error:
        raise BadLineError("source cannot be read", str(error)) from None


def parse_source(line: str) -> tuple[str, None]:
    """Return the whole line as the source.

    >>> parse_source(" a b ")
    ('a b', None)
    """
    return line.strip(), None


def prefixed_parser(check_prefix: Callable[[str, str], None]) -> Parse:
    """Return a function that splits a line into source and prefix.

    Args:
        check_prefix: raises PrefixError if a source's prefix is too long.
    """

    def parse(line: str) -> tuple[str, str]:
        source, *rest = line.split("\t")
        if len(rest) != 1:
            got = f"{len(rest) + 1} columns" if rest else "no tab"
            raise BadLineError("wrong columns", f"wanted a source, a tab and a prefix, got {got}")
        [prefix] = rest
        try:
            check_prefix(source.strip(), prefix)
        except PrefixError as error:
            raise BadLineError("prefix too long", error.reason) from None
        return source.strip(), prefix

    return parse


def check_argument(name: str, text: str) -> None:
    """Raise a PeepholeError unless an argument of the command line was a text in UTF-8.

    >>> check_argument("TEXT", "값")
    """
    try:
        os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PeepholeError(f"{name}: {_invalid(error)}") from None


def _invalid(error: UnicodeDecodeError) -> str:
    return f"wanted UTF-8, got byte 0x{error.object[error.start]:02x} at position {error.start + 1}"


def _decode(line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLineError("invalid UTF-8", _invalid(error)) from None
    return text.removesuffix("\n").removesuffix("\r")
