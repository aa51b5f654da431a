"""Read series of numbers from a table: CSV, TSV, Parquet or NumPy, a row a step."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.config import DataConfig
from peephole.data.files import COMPRESSIONS, import_pyarrow, read_lines, shown_name
from peephole.data.frames import is_number_column, parquet_numbers, parse_number, read_array
from peephole.data.read import Report
from peephole.errors import DataError, shorten

MISSING = ("", "na", "nan", "null", "none", "n/a", "?", "-")
"""Texts that stand for a missing number, in small letters."""
LARGEST = 1e300
"""Numbers are at most this large, so that their differences and sums are finite."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".npy")


@dataclass(frozen=True)
class Series:
    """The columns of a table.

    Attributes:
        values: (T, C) float64; NaN where a number is missing.
        columns: the name of each column.
        time: the name of the column of times, which is not among them; None if there is none.
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    time: str | None = None

    def filled(self) -> NDArray[np.float64]:
        """Return the values with each missing number replaced by the one before it, or by the first after it.

        >>> Series(np.array([[np.nan], [2], [np.nan]]), ("a",)).filled().tolist()
        [[2.0], [2.0], [2.0]]
        """
        known = np.isfinite(self.values)
        rows = np.maximum.accumulate(np.where(known, np.arange(len(known))[:, None], -1))
        rows = np.where(rows < 0, known.argmax(0), rows)
        return np.take_along_axis(self.values, rows, 0)


def is_table(name: str | Path) -> bool:
    """Return whether a file's name is that of a table of series.

    >>> is_table("load.csv.gz"), is_table("pairs.jsonl")
    (True, False)
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def read_series(path: str | Path, config: DataConfig, report: Report) -> Series:
    """Read a table.

    A first row that holds names is the header. A column whose cells are no numbers, or `data.time`, holds the times and
    is left out. Missing and infinite numbers are NaN; the report counts them with their lines. A blank line between
    others is a missing number of a text with one column, and no row of others, counted.

    Args:
        path: the file; - is stdin, as CSV.
        config: `time` and `bad_lines` are used; with `skip`, a row of the wrong length, or a cell that is no number,
            is missing and counted.
        report: what it counts is printed with the file's name.

    Raises:
        DataError: the file cannot be read, has no rows, or a column without a number; or a row or a cell is wrong.
    """
    name, suffix = shown_name(str(path)), Path(path).suffix.lower()
    lines: Sequence[int] | None = None
    try:
        if suffix == ".npy":
            found = series_of(name, read_array(path))
        elif suffix == ".parquet":
            found = _read_parquet(path, config, name)
        else:
            found, lines = _read_text(path, config, report)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read as a table: {str(error).splitlines()[0]}") from error
    return check_series(found, name, report, lines)


def check_series(found: Series, name: str, report: Report, lines: Sequence[int] | None = None) -> Series:
    """Return a series with NaN for infinite numbers and different names of columns, and count the missing numbers.

    Args:
        found: the series.
        name: the table's name, for messages.
        report: counts them.
        lines: the line of each row; None: rows are numbered from 1.

    Raises:
        DataError: there are no rows or no columns, or a column has no number, or one beyond `LARGEST`.
    """
    if not found.values.size:
        raise DataError(
            f"{name}: wanted a table of numbers, got {len(found.values)} rows of {len(found.columns)} columns"
        )
    values = np.where(np.isfinite(found.values), found.values, np.nan)
    for row, index in np.argwhere(np.abs(values) > LARGEST)[:1].tolist():
        raise DataError(
            f"{name}, line {row + 1 if lines is None else lines[row]}, column {found.columns[index]!r}: "
            f"wanted a number from -1e300 to 1e300, got {values[row, index]:g}"
        )
    for index, column in enumerate(found.columns):
        if np.isnan(values[:, index]).all():
            raise DataError(f"{name}, column {column!r}: wanted numbers, got none in {len(values)} rows")
    for row, _ in np.argwhere(np.isnan(values)).tolist():
        report.repair("missing; the one before it is read", row + 1 if lines is None else lines[row])
    return Series(values, _numbered(found.columns), found.time)


def _numbered(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns, with a number after each that another column before has.

    >>> _numbered(["a", "b", "a", "a (2)", "a"])
    ('a', 'b', 'a (2)', 'a (2) (2)', 'a (3)')
    """
    found: dict[str, None] = {}
    for column in columns:
        name, number = column, 1
        while name in found:
            number += 1
            name = f"{column} ({number})"
        found[name] = None
    return tuple(found)


def series_of(name: str, given: Any) -> Series:
    """Return the columns of an array (T,) or (T, C), or of a pandas table of numbers.

    Raises:
        DataError: it is something else; the message begins with `name`.
    """
    columns = getattr(given, "columns", None)
    given = np.asarray(given)
    if given.ndim not in (1, 2) or given.dtype.kind not in "fiub":
        raise DataError(f"{name}: wanted numbers of shape (T,) or (T, C), got {given.dtype} of shape {given.shape}")
    values = (given[:, None] if given.ndim == 1 else given).astype(np.float64)
    names = range(1, values.shape[1] + 1) if columns is None else columns
    return Series(values, tuple(map(str, names)))


def has_names(columns: Sequence[str]) -> bool:
    """Return whether columns have names, not only the numbers that stand in for them.

    >>> has_names(["load", "1"]), has_names(["1", "2"])
    (True, False)
    """
    return not all(column.isdecimal() for column in columns)


def _read_parquet(path: str | Path, config: DataConfig, name: str) -> Series:
    parquet = import_pyarrow(name).parquet
    [(column, count)] = Counter(parquet.read_schema(path).names).most_common(1) or [("", 0)]
    if count > 1:
        raise DataError(f"{name}: wanted one column {column!r}, got {count}")
    table = parquet.read_table(path)
    columns, time = [], config.time
    for column in table.column_names:
        is_number = is_number_column(table.schema, column)
        if column == time or (time is None and not is_number):
            time = column
        elif not is_number:
            got = table.schema.field(column).type
            raise DataError(f"{name}, column {column!r}: wanted numbers, got {got}; the times are column {time!r}")
        else:
            columns.append(column)
    _check_time(config.time, tuple(table.column_names), name)
    return Series(parquet_numbers(table, columns), tuple(columns), time)


def _read_text(path: str | Path, config: DataConfig, report: Report) -> tuple[Series, Sequence[int]]:
    """Return the columns of a text, and the line of each row."""
    name = shown_name(str(path))
    rows = _rows(path, name)
    header = next(rows, None)
    if header is None:
        raise DataError(f"{name}: is empty")
    _, cells = header
    rows = _with_blank_lines(rows, len(cells), report)
    first = None
    names = tuple(cell.strip() for cell in cells)
    if all(_number(cell) is not None for cell in cells):
        first, names = header, tuple(str(number) for number in range(1, len(cells) + 1))
    elif (first := next(rows, None)) is None:
        raise DataError(f"{name}: has a header and no rows")
    for column, count in Counter(filter(None, names)).most_common(1):
        if count > 1:
            raise DataError(f"{name}: wanted one column {column!r}, got {count}")
    _check_time(config.time, names, name)
    time = _time_column(first[1], names, config, name)
    kept = [index for index in range(len(names)) if index != time]
    values, lines = array("d"), array("q")
    while first is not None:
        line, cells = first
        values.extend(_numbers(cells, names, kept, line, name, config, report))
        lines.append(line)
        first = next(rows, None)
    table = np.frombuffer(values, np.float64).reshape(-1, len(kept)) if kept else np.empty((0, 0))
    return Series(table, tuple(names[index] for index in kept), None if time is None else names[time]), lines


def _rows(path: str | Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line from the first to the last that is not blank; none of a blank one."""
    delimiter, blank = None, list[int]()
    for line, raw in enumerate(read_lines(path, on_mark=lambda: None), start=1):
        try:
            text = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}, line {line}: invalid UTF-8: {error.reason}") from error
        if not text.strip() and (delimiter is None or delimiter not in text):
            blank += [] if delimiter is None else [line]
            continue
        yield from ((number, []) for number in blank)
        blank.clear()
        if delimiter is None:
            delimiter = max("\t;,", key=text.count)
        try:
            cells = next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise DataError(f"{name}, line {line}: invalid CSV: {error}: {shorten(repr(text), 40)}") from error
        yield line, cells


def _with_blank_lines(
    rows: Iterator[tuple[int, list[str]]], columns: int, report: Report
) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with an empty cell for each blank line of a table of one column; other blank lines are counted."""
    for line, cells in rows:
        if not cells and columns > 1:
            report.skip("blank line", line)
        else:
            yield line, cells or [""]


def _check_time(time: str | None, names: tuple[str, ...], name: str) -> None:
    if time is not None and time not in names:
        raise DataError(f"{name}: wanted a column {time!r} (data.time), got {', '.join(names)}")


def _time_column(cells: list[str], names: tuple[str, ...], config: DataConfig, name: str) -> int | None:
    """Return the index of the column of times: the one that is named, or the first whose cell is no number."""
    if config.time is not None:
        return names.index(config.time)
    return next((index for index, cell in enumerate(cells[: len(names)]) if _number(cell) is None), None)


def _numbers(
    cells: list[str],
    names: tuple[str, ...],
    kept: list[int],
    line: int,
    name: str,
    config: DataConfig,
    report: Report,
) -> list[float]:
    """Return the numbers of a row, NaN for a missing one."""
    if len(cells) != len(names):
        if config.bad_lines == "error":
            raise DataError(f"{name}, line {line}: wanted {len(names)} columns, got {len(cells)}")
        report.skip("wrong number of columns", line)
        return [np.nan] * len(kept)
    found = []
    for index in kept:
        number = _number(cells[index])
        if number is None:
            if config.bad_lines == "error":
                got = shorten(repr(cells[index]))
                raise DataError(f"{name}, line {line}, column {names[index]!r}: wanted a number, got {got}")
            report.skip("no number", line)
            number = np.nan
        found.append(number)
    return found


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN for a missing one; None for a text."""
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    return parse_number(text)
