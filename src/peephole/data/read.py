"""Read pairs from files, one at a time: TSV, JSONL, Parquet, two parallel files; plain, .gz or .zst.

A line that is not a pair raises an error that names file and line, or is skipped and counted. Files may be
larger than memory; a single line may not.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from peephole.config import DataConfig
from peephole.errors import DataError, nearest

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
TSV_SUFFIXES = (".tsv", ".txt")
JSON_SUFFIXES = (".jsonl", ".ndjson")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BUFFER_SIZE = 1 << 20  # bytes
ROWS_AT_A_TIME = 4096  # of a Parquet file

_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape them, UTF-8 cannot encode them


class Pair(NamedTuple):
    """One example: both sides without outer whitespace, and the number of its line (Parquet: row), from 1."""

    source: str
    target: str
    line: int


class Report:
    """Count skipped, repaired and left-out lines by reason, with the position of the first of each.

    >>> report = Report("train.tsv")
    >>> report.skip("empty side", 17)
    >>> report.skip("empty side", 23)
    >>> report.lines()
    ['2 pairs skipped: empty side (first: train.tsv, line 17)']
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def skip(self, reason: str, line: int, file: str | None = None) -> None:
        """Count a line that could not be read as a pair."""
        self._count("skipped", reason, line, file)

    def leave_out(self, reason: str, line: int) -> None:
        """Count a pair that was read but is not used."""
        self._count("left out", reason, line, None)

    def repair(self, reason: str, line: int, file: str | None = None) -> None:
        """Count a line that was changed so that it could be read."""
        self._count("repaired", reason, line, file)

    def lines(self) -> list[str]:
        """Return one line of text for each action and reason."""
        return [
            f"{count} pair{'s' * (count > 1)} {action}: {reason} (first: {where})"
            for (action, reason), (count, where) in self._found.items()
        ]

    def _count(self, action: str, reason: str, line: int, file: str | None) -> None:
        count, where = self._found.get((action, reason), (0, f"{file or self.name}, line {line}"))
        self._found[action, reason] = (count + 1, where)


def read_pairs(path: str | Path, config: DataConfig, report: Report) -> Iterator[Pair]:
    """Read the pairs of a file, or of two parallel files given as `a.en,b.it`.

    Args:
        path: the suffix selects the format: .tsv or .txt (two columns), .jsonl or .ndjson, .parquet; all but
            Parquet also with .gz or .zst after it. Parallel files may have any suffix: a line is a text.
        config: column names, and whether bad lines raise an error or are skipped.
        report: counts skipped and repaired lines.

    Raises:
        DataError: immediately, if there is no such file or its suffix is unknown; while reading, for a bad line
            (unless they are skipped), damaged compression, parallel files of unequal length, or a file
            without pairs.
    """
    name = str(path)
    files = [str(file) for file in data_files(path)]
    if len(files) == 2:
        return _parse_lines(name, _parallel_lines(files, report), _parallel_parser(files), config, report)
    suffix = Path(name.lower()).suffix
    if suffix == ".parquet":
        return _parse_lines(name, _parquet_rows(name, config), _parse_columns, config, report)
    if suffix in COMPRESSIONS:
        suffix = Path(name.lower()).with_suffix("").suffix
    if suffix in TSV_SUFFIXES:
        return _parse_lines(name, _read_lines(name, report), _parse_tsv, config, report)
    if suffix in JSON_SUFFIXES:
        return _parse_lines(name, _read_lines(name, report), _json_parser(config), config, report)
    raise DataError(
        f"{name}: unknown suffix {suffix!r}; wanted .tsv, .txt, .jsonl or .ndjson (also with .gz or .zst), "
        ".parquet, or two parallel files as a.en,b.it"
    )


class _BadLine(Exception):
    """A line is not a pair: holds the reason for the report, the message, and the file if it is one of two."""

    def __init__(self, reason: str, message: str, file: str | None = None) -> None:
        self.reason, self.message, self.file = reason, message, file


def _parse_lines(
    name: str,
    lines: Iterable[Any],
    parse: Callable[[Any], tuple[str, str]],
    config: DataConfig,
    report: Report,
) -> Iterator[Pair]:
    found = False
    for number, line in enumerate(lines, start=1):
        try:
            source, target = parse(line)
        except _BadLine as bad:
            if config.bad_lines == "error" and bad.reason != "blank line":
                raise DataError(f"{bad.file or name}, line {number}: {bad.message}") from None
            report.skip(bad.reason, number, bad.file)
        else:
            found = True
            yield Pair(source, target, number)
    if not found:
        raise DataError("; ".join([f"{name}: no pairs in it", *report.lines()]))


def data_files(path: str | Path) -> list[Path]:
    """Return the files of a path: the path itself, or two parallel files given as `a.en,b.it`.

    Raises:
        DataError: one is missing, or is not a file.
    """
    parts = str(path).split(",")
    files = [Path(part) for part in parts] if len(parts) == 2 and not Path(path).exists() else [Path(path)]
    for file in files:
        _check_file(file)
    return files


def _check_file(path: Path) -> None:
    name = str(path)
    if path.is_dir():
        raise DataError(f"{name}: is a directory, wanted a file")
    if path.is_symlink() and not path.exists():
        raise DataError(f"{name}: no such file; it is a link to {str(path.readlink())!r}")
    if not path.exists():
        beside = [str(path.with_name(p.name)) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{name}: no such file{nearest(name, beside)}")
    if not path.is_file():
        raise DataError(f"{name}: not a regular file (data are read more than once)")


def _read_lines(name: str, report: Report) -> Iterator[bytes]:
    """Yield the lines of a file as bytes, without the byte order mark; only \\n ends a line."""
    number = 0
    try:
        with _open(name) as file:
            for line in file:
                number += 1
                if number == 1 and line.startswith(BYTE_ORDER_MARK):
                    report.repair("byte order mark taken off", number, name)
                    line = line[len(BYTE_ORDER_MARK) :]
                yield line
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(f"{name}, after line {number}: cannot be read: {reason}") from error


def _open(name: str) -> BinaryIO:
    compression = COMPRESSIONS.get(Path(name.lower()).suffix)
    if compression is None:
        return open(name, "rb", buffering=BUFFER_SIZE)
    import pyarrow as pa  # type: ignore[import-untyped]  # imported here, since plain files are read without it

    stream = pa.CompressedInputStream(pa.OSFile(name), compression)
    return cast(BinaryIO, io.BufferedReader(stream, BUFFER_SIZE))


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _BadLine("invalid UTF-8", f"invalid UTF-8: byte {error.start + 1} is 0x{raw[error.start]:02x}") from None


def _quote(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")


def _checked_pair(source: str, target: str) -> tuple[str, str]:
    source, target = source.strip(), target.strip()
    if source and target:
        return source, target
    if not source and not target:
        raise _BadLine("blank line", "blank line")
    side, other = ("source", target) if not source else ("target", source)
    raise _BadLine("empty side", f"empty {side} beside {_quote(other)}")


def _parse_tsv(line: bytes) -> tuple[str, str]:
    text = _decode(line)
    columns = text.split("\t")
    if len(columns) == 2:
        return _checked_pair(*columns)
    text = text.rstrip("\r\n")
    if not text.strip():
        raise _BadLine("blank line", "blank line")
    raise _BadLine("wrong columns", f"expected 2 columns, found {len(columns)}: {_quote(text)}")


def _json_parser(config: DataConfig) -> Callable[[bytes], tuple[str, str]]:
    columns = (config.source, config.target)

    def parse(line: bytes) -> tuple[str, str]:
        text = _decode(line)
        if not text.strip():
            raise _BadLine("blank line", "blank line")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _BadLine("invalid JSON", f"invalid JSON: {error}: {_quote(text.strip())}") from None
        if not isinstance(record, dict):
            raise _BadLine("wrong columns", f"expected an object with columns, found {_quote(text.strip())}")
        return _checked_pair(*(_json_column(record, column) for column in columns))

    return parse


def _json_column(record: dict[str, Any], column: str) -> str:
    if column not in record:
        found = ", ".join(map(repr, record)) or "none"
        raise _BadLine("wrong columns", f"expected column {column!r}, found {found}{nearest(column, record)}")
    value = record[column]
    if not isinstance(value, str):
        raise _BadLine("wrong columns", f"column {column!r}: expected text, found {_quote(json.dumps(value))}")
    if _SURROGATE.search(value):
        raise _BadLine("invalid UTF-8", f"column {column!r}: half of a surrogate pair in {_quote(value)}")
    return value


def _parquet_rows(name: str, config: DataConfig) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yield both columns of each row as bytes, None where the value is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    columns = [config.source, config.target]
    try:
        with pq.ParquetFile(name, memory_map=True) as file:
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
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise DataError(f"{name}: column {column!r}: expected text, found {kind}")
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=columns):
                # Read as bytes, so that an error can name the row with invalid UTF-8
                texts = [batch.column(column).cast(pa.large_binary()).to_pylist() for column in columns]
                yield from zip(*texts, strict=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{name}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _parse_columns(row: tuple[bytes | None, bytes | None]) -> tuple[str, str]:
    source, target = row
    return _checked_pair(_decode(source or b""), _decode(target or b""))


def _parallel_lines(names: list[str], report: Report) -> Iterator[tuple[bytes, bytes]]:
    first, second = (_read_lines(name, report) for name in names)
    number = 0
    for line in first:
        other = next(second, None)
        if other is None:
            raise DataError(f"{names[1]}: ends after line {number}, {names[0]} goes on")
        number += 1
        yield line, other
    if next(second, None) is not None:
        raise DataError(f"{names[0]}: ends after line {number}, {names[1]} goes on")


def _parallel_parser(names: list[str]) -> Callable[[tuple[bytes, bytes]], tuple[str, str]]:
    def parse(lines: tuple[bytes, bytes]) -> tuple[str, str]:
        texts = []
        for name, line in zip(names, lines, strict=True):
            try:
                texts.append(_decode(line))
            except _BadLine as bad:
                raise _BadLine(bad.reason, bad.message, name) from None
        return _checked_pair(*texts)

    return parse
