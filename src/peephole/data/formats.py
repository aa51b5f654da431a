"""Parse the formats of data files: TSV, CSV, JSONL, Parquet and parallel lines.

Each function yields records, numbered by their line (Parquet: row) from 1, and each parser turns one into a pair of
texts with the outer whitespace that the file has.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from peephole.config import DataConfig
from peephole.data.files import BUFFER_SIZE, import_pyarrow
from peephole.data.header import looks_like_header, names_columns
from peephole.errors import DataError, describe_parse_error, nearest, shorten

ROWS_AT_A_TIME = 4096  # of a Parquet file

SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape them, UTF-8 cannot encode them

Texts = tuple[str, str]


class BadLine(Exception):
    """A line is not a pair: holds the reason for the report, the message, and the file if it is one of two."""

    def __init__(self, reason: str, message: str, file: str | None = None) -> None:
        self.reason, self.message, self.file = reason, message, file


class Columns:
    """Takes the two texts out of the fields of each line of a file; its first line may name the columns.

    Args:
        config: the names of the columns.
        where: the file and the first line, as a note names them.
        note: called with a note about the first line.
        must_name: the first line must name both columns.
    """

    def __init__(self, config: DataConfig, where: str, note: Callable[[str], None], *, must_name: bool = False) -> None:
        self._names, self._where, self._note, self._must_name = (config.source, config.target), where, note, must_name
        self._first = True
        self._indices: tuple[int, int] | None = None  # of the columns that the first line names
        self._num_columns = 2

    def texts(self, fields: list[str], whole: str) -> Texts | None:
        """Return the texts of both sides; None for a first line that names the columns.

        Args:
            fields: those of one line.
            whole: the line, for the message.

        Raises:
            BadLine: there are not as many fields as columns, or a side is empty.
            DataError: the first line must name both columns and does not, or names one of them twice.
        """
        partly_named = False
        first, self._first = self._first, False
        if first:
            named = [field.strip() for field in fields]
            if names_columns(named, self._names):
                for name, setting in zip(self._names, ("data.source", "data.target"), strict=True):
                    if named.count(name) > 1:
                        raise DataError(
                            f"{self._where}: expected one column {name!r} ({setting}), found {named.count(name)}"
                        )
                self._indices = (named.index(self._names[0]), named.index(self._names[1]))
                self._num_columns = len(named)
                self._note(f"{self._where}: header; the columns {self._names[0]!r} and {self._names[1]!r} are read")
                return None
            missing = [index for index, name in enumerate(self._names) if name not in named]
            if self._must_name:
                raise DataError(f"{self._where}: {self._missing(missing[0], named)}")
            partly_named = len(missing) == 1
            if partly_named and len(named) > 2:
                self._note(f"warning: {self._where}: {self._missing(missing[0], named)}")
        if len(fields) != self._num_columns:
            hint = "; name two of them by data.source and data.target" if first and len(fields) > 2 else ""
            found = f"found {len(fields)}: {quote(whole)}{hint}"
            raise BadLine("wrong columns", f"expected {self._num_columns} columns, {found}")
        source, target = fields if self._indices is None else (fields[i] for i in self._indices)
        texts = checked_pair(source, target)
        pair = source.strip(), target.strip()
        if first and (partly_named or looks_like_header(*pair)):
            self._note(
                f"warning: {self._where}: {quote(whole)} looks like a header, but is read as a pair; to leave it out, "
                f"name the columns: --set data.source={shlex.quote(pair[0])} --set data.target={shlex.quote(pair[1])}"
            )
        return texts

    def _missing(self, index: int, named: list[str]) -> str:
        """Return what to say about a first line in which the name of the source (0) or of the target (1) is missing."""
        name, setting = self._names[index], ("data.source", "data.target")[index]
        found = shorten(", ".join(map(repr, named)))
        return f"expected a column {name!r} ({setting}), found {found}{nearest(name, named)}"


def parse_target(line: bytes) -> Texts:
    """Return the text of a line as the source and as the target.

    A language model reads no sources, but what holds for them then holds for texts: equal ones are held out together,
    and long ones are left out.
    """
    text = decode(line).strip()
    if not text:
        raise BadLine("blank line", "blank line")
    if "\t" in text:
        raise BadLine("wrong columns", f"expected 1 column, found {text.count(chr(9)) + 1}: {quote(text)}")
    return text, text


def tsv_parser(columns: Columns) -> Callable[[bytes], Texts | None]:
    """Return a function that parses a line of a TSV file."""

    def parse(line: bytes) -> Texts | None:
        text = decode(line).rstrip("\r\n")
        fields = text.split("\t")
        if len(fields) == 1 and not text.strip():
            raise BadLine("blank line", "blank line")
        return columns.texts(fields, text)

    return parse


def csv_records(lines: Iterator[bytes]) -> Iterator[tuple[int, tuple[list[str] | BadLine, bytes]]]:
    """Yield the records of a CSV file: the number of the first line of each, its fields and its bytes.

    A record that is not CSV is one line: a quotation mark that is never closed takes no other lines with it.
    """
    unread: deque[bytes] = deque()  # lines to be read again
    taken: list[bytes] = []  # lines of the present record

    def texts() -> Iterator[str]:
        while (line := unread.popleft() if unread else next(lines, None)) is not None:
            taken.append(line)
            yield line.decode(errors="surrogateescape")

    reader = csv.reader(texts(), strict=True)
    number = 1
    while True:
        found: list[str] | BadLine
        try:
            found = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found = BadLine("invalid CSV", f"invalid CSV: {error}: {quote(taken[0].decode(errors='replace').strip())}")
            unread.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(texts(), strict=True)
        yield number, (found, b"".join(taken))
        number += len(taken)
        taken.clear()


def csv_parser(columns: Columns) -> Callable[[tuple[list[str] | BadLine, bytes]], Texts | None]:
    """Return a function that parses a record of a CSV file."""

    def parse(record: tuple[list[str] | BadLine, bytes]) -> Texts | None:
        fields, raw = record
        if isinstance(fields, BadLine):
            raise fields
        text = decode(raw)
        if not text.strip():
            raise BadLine("blank line", "blank line")
        return columns.texts(fields, text.rstrip("\r\n"))

    return parse


def json_parser(config: DataConfig) -> Callable[[bytes], Texts]:
    """Return a function that parses a line of a JSONL file."""
    columns = (config.source, config.target)
    fields: list[tuple[str, Any]] = []  # of the object that was read last, which is the outermost

    def keep_fields(found: list[tuple[str, Any]]) -> dict[str, Any]:
        fields[:] = found
        return dict(found)

    decoder = json.JSONDecoder(object_pairs_hook=keep_fields)

    def parse(line: bytes) -> Texts:
        text = decode(line)
        if not text.strip():
            raise BadLine("blank line", "blank line")
        try:
            record = decoder.decode(text)
        except json.JSONDecodeError as error:
            where = f"at character {error.pos + 1}" if error.pos < len(text.rstrip()) else "at its end"
            raise BadLine("invalid JSON", f"invalid JSON {where}: {error.msg}: {quote(text.strip())}") from None
        except (ValueError, RecursionError) as error:
            reason = describe_parse_error(error)
            raise BadLine("invalid JSON", f"invalid JSON: {reason}: {quote(text.strip())}") from None
        if not isinstance(record, dict):
            raise BadLine("wrong columns", f"expected an object with columns, found {quote(text.strip())}")
        texts = [_json_column(record, column) for column in columns]
        if len(record) != len(fields):
            for column in columns:
                count = sum(name == column for name, _ in fields)
                if count > 1:
                    raise BadLine("wrong columns", f"expected one column {column!r}, found {count}")
        return checked_pair(*texts)

    return parse


def _json_column(record: dict[str, Any], column: str) -> str:
    if column not in record:
        found = ", ".join(map(repr, record)) or "none"
        raise BadLine("wrong columns", f"expected column {column!r}, found {found}{nearest(column, record)}")
    value = record[column]
    if not isinstance(value, str):
        raise BadLine("wrong columns", f"column {column!r}: expected text, found {shorten(json.dumps(value), 40)}")
    if SURROGATE.search(value):
        raise BadLine("invalid UTF-8", f"column {column!r}: half of a surrogate pair in {quote(value)}")
    return value


def parquet_rows(name: str, config: DataConfig) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yield both columns of each row of a Parquet file as bytes, None where the value is null.

    The file is not mapped into memory: a mapped file that is cut off meanwhile would end the process. Nor is it
    buffered ahead, which takes as much memory as it has bytes.
    """
    pa = import_pyarrow(name)
    columns = [config.source, config.target]
    try:
        with pa.parquet.ParquetFile(name, pre_buffer=False, buffer_size=BUFFER_SIZE) as file:
            schema = file.schema_arrow
            for column in columns:
                if column not in schema.names:
                    found = ", ".join(map(repr, schema.names))
                    hint = nearest(column, schema.names)
                    raise DataError(f"{name}: expected column {column!r}, found {found}{hint}")
                if schema.names.count(column) > 1:
                    raise DataError(f"{name}: expected one column {column!r}, found {schema.names.count(column)}")
                kind = schema.field(column).type
                kind = kind.value_type if pa.types.is_dictionary(kind) else kind
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
                    raise DataError(f"{name}: column {column!r}: expected text, found {kind}")
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=columns):
                # Read as bytes, so that an error can name the row with invalid UTF-8
                texts = [batch.column(column).cast(pa.large_binary()).to_pylist() for column in columns]
                yield from zip(*texts, strict=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{name}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def parse_columns(row: tuple[bytes | None, bytes | None]) -> Texts:
    """Parse both columns of a row of a Parquet file."""
    source, target = row
    return checked_pair(decode(source or b""), decode(target or b""))


def parallel_lines(names: Sequence[str], files: Sequence[Iterator[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the lines of two files together.

    Raises:
        DataError: one has more lines than the other.
    """
    first, second = files
    number = 0
    for line in first:
        other = next(second, None)
        if other is None:
            raise DataError(f"{names[1]}: ends after line {number}, {names[0]} goes on")
        number += 1
        yield line, other
    if next(second, None) is not None:
        raise DataError(f"{names[0]}: ends after line {number}, {names[1]} goes on")


def parallel_parser(names: Sequence[str]) -> Callable[[tuple[bytes, bytes]], Texts]:
    """Return a function that parses the lines of two parallel files."""

    def parse(lines: tuple[bytes, bytes]) -> Texts:
        texts = []
        for name, line in zip(names, lines, strict=True):
            try:
                texts.append(decode(line).rstrip("\r\n"))
            except BadLine as bad:
                raise BadLine(bad.reason, bad.message, name) from None
        return checked_pair(*texts)

    return parse


def checked_pair(source: str, target: str) -> Texts:
    """Return both texts.

    Raises:
        BadLine: one is empty, or whitespace.
    """
    texts = source, target
    source, target = source.strip(), target.strip()
    if source and target:
        return texts
    if not source and not target:
        raise BadLine("blank line", "blank line")
    side, other = ("source", target) if not source else ("target", source)
    raise BadLine("empty side", f"empty {side} beside {quote(other)}")


def decode(raw: bytes) -> str:
    """Return bytes as text.

    Raises:
        BadLine: they are not UTF-8; the message names the byte.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadLine("invalid UTF-8", f"invalid UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}") from None


def quote(text: str, most: int = 40) -> str:
    """Return a text as a message quotes it, shortened."""
    return repr(text if len(text) <= most else text[: most - 1] + "…")
