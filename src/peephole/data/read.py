"""Read pairs from files, one at a time: TSV, CSV, JSONL, Parquet, two parallel files; plain, .gz or .zst.

A line that is not a pair raises an error that names file and line, or is skipped and counted. Files may be
larger than memory; a single line may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from peephole.config import DataConfig
from peephole.data import formats
from peephole.data.files import COMPRESSIONS, data_files, is_stream, read_lines, shown_name
from peephole.data.formats import BadLine
from peephole.errors import DataError, plural

TSV_SUFFIXES = (".tsv", ".txt")
JSON_SUFFIXES = (".jsonl", ".ndjson")
OnTexts = Callable[[str, str, int], None]


class Pair(NamedTuple):
    """One example: both sides without outer whitespace, and the number of its line (Parquet: row), from 1."""

    source: str
    target: str
    line: int


class Report:
    """Count skipped, repaired and left-out lines by reason, with the position of the first of each.

    Args:
        name: the file's name.
        unit: what a line holds, in the singular.

    >>> report = Report("train.tsv")
    >>> report.skip("empty side", 17)
    >>> report.skip("empty side", 23)
    >>> report.lines()
    ['2 pairs skipped: empty side (first: train.tsv, line 17)']
    """

    def __init__(self, name: str, unit: str = "pair") -> None:
        self.name = name
        self.unit = unit
        self._found: dict[tuple[str, str], tuple[int, str]] = {}
        self._notes: list[str] = []

    def skip(self, reason: str, line: int, file: str | None = None) -> None:
        """Count a line that could not be read as a pair."""
        self._count("skipped", reason, line, file)

    def leave_out(self, reason: str, line: int) -> None:
        """Count a pair that was read but is not used."""
        self._count("left out", reason, line, None)

    def repair(self, reason: str, line: int, file: str | None = None) -> None:
        """Count a line that was changed so that it could be read."""
        self._count("repaired", reason, line, file)

    def note(self, text: str) -> None:
        """Add a line about the file as a whole."""
        self._notes.append(text)

    def lines(self) -> list[str]:
        """Return the notes, and the counts."""
        return self._notes + self.counts()

    def counts(self) -> list[str]:
        """Return one line of text for each action and reason."""
        return [
            f"{plural(count, self.unit)} {action}: {reason} (first: {where})"
            for (action, reason), (count, where) in self._found.items()
        ]

    def _count(self, action: str, reason: str, line: int, file: str | None) -> None:
        count, where = self._found.get((action, reason), (0, f"{file or self.name}, line {line}"))
        self._found[action, reason] = (count + 1, where)


def read_pairs(
    path: str | Path,
    config: DataConfig,
    report: Report,
    *,
    once: bool = False,
    on_texts: OnTexts | None = None,
    must_name: bool = False,
) -> Iterator[Pair]:
    """Read the pairs of a file, or of two parallel files given as `a.en,b.it`.

    Args:
        path: the suffix selects the format: .tsv or .txt (two columns), .csv, .jsonl or .ndjson, .parquet; all but
            Parquet also with .gz or .zst after it. Parallel files may have any suffix: a line is a text. The first
            line of a TSV or CSV file may name the columns.
        config: names of the columns, and whether bad lines raise an error or are skipped.
        report: counts skipped and repaired lines.
        once: the file is read only once, so that stdin (`-`) and pipes are accepted, too; without a suffix, they are
            TSV.
        on_texts: called with both texts of each pair as the file has them, with outer whitespace, and the line.
        must_name: the first line of a TSV or CSV file must name the columns.

    Raises:
        DataError: immediately, if there is no such file or its suffix is unknown; while reading, for a bad line
            (unless they are skipped), a first line without a name that it must hold, damaged compression, parallel
            files of unequal length, or a file without pairs.
    """
    name = shown_name(path)
    files = data_files(path, once=once)

    def lines(file: Path) -> Iterator[bytes]:
        return read_lines(file, lambda: report.repair("byte order mark taken off", 1, shown_name(file)))

    if len(files) == 2:
        names = [shown_name(file) for file in files]
        both = enumerate(formats.parallel_lines(names, [lines(file) for file in files]), start=1)
        return _parse(name, both, formats.parallel_parser(names), config, report, on_texts)
    suffix = _format_suffix(files[0])
    if config.targets_only:
        if suffix in (".csv", ".parquet", *JSON_SUFFIXES):
            raise DataError(f"{name}: wanted a file of targets alone, one a line, got {suffix}")
        return _parse(name, enumerate(lines(files[0]), start=1), formats.parse_target, config, report, on_texts)
    columns = formats.Columns(config, f"{name}, line 1", report.note, must_name=must_name)
    if files[0].suffix.lower() == ".parquet" and files[0].is_file():
        rows = enumerate(formats.parquet_rows(name, config), start=1)
        return _parse(name, rows, formats.parse_columns, config, report, on_texts)
    if suffix in TSV_SUFFIXES:
        return _parse(name, enumerate(lines(files[0]), start=1), formats.tsv_parser(columns), config, report, on_texts)
    if suffix == ".csv":
        return _parse(name, formats.csv_records(lines(files[0])), formats.csv_parser(columns), config, report, on_texts)
    if suffix in JSON_SUFFIXES:
        return _parse(name, enumerate(lines(files[0]), start=1), formats.json_parser(config), config, report, on_texts)
    raise DataError(
        f"{name}: unknown suffix {suffix!r}; wanted .tsv, .txt, .csv, .jsonl or .ndjson (also with .gz or .zst), "
        ".parquet, or two parallel files as a.en,b.it"
    )


def _format_suffix(file: Path) -> str:
    """Return the suffix that names the format of a file, without that of its compression."""
    path = Path(str(file).lower())
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix
    return ".tsv" if not suffix and is_stream(file) else suffix


def _parse(
    name: str,
    records: Iterable[tuple[int, Any]],
    parse: Callable[[Any], tuple[str, str] | None],
    config: DataConfig,
    report: Report,
    on_texts: OnTexts | None,
) -> Iterator[Pair]:
    found = False
    for number, record in records:
        try:
            texts = parse(record)
        except BadLine as bad:
            if config.bad_lines == "error" and bad.reason != "blank line":
                raise DataError(f"{bad.file or name}, line {number}: {bad.message}") from None
            report.skip(bad.reason, number, bad.file)
        else:
            if texts is not None:
                found = True
                source, target = texts
                if on_texts is not None:
                    on_texts(source, target, number)
                yield Pair(source.strip(), target.strip(), number)
    if not found:
        raise DataError("; ".join([f"{name}: no pairs in it", *report.lines()]))
