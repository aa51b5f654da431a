"""Print notes on stderr about unknown symbols and truncated, changed or empty sources, counted over a whole input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from peephole.cli.lines import print_note
from peephole.errors import plural, quote
from peephole.model.reading import SLOW_SEARCH, Notice, Notices


class NoticePrinter:
    """Prints the first notice of each kind with its line, and the total of each kind at the end.

    Args:
        name: the input's name.
        prefix: beginning of each line.
    """

    def __init__(self, name: str, prefix: str = "") -> None:
        self.name = name
        self.prefix = prefix
        self.unknown = self.truncated = self.empty = 0
        self.changes: Counter[str] = Counter()
        self.slow_search: str | None = None

    def take(self, notice: Notice, line: int) -> None:
        """Count a notice about a text on a line of the input."""
        where = f"{self.prefix}{self.name}, line {line}"
        truncated, empty = notice.num_read < notice.length, notice.side == "source" and not notice.length
        if notice.unknown and not self.unknown:
            print_note(f"{where}: {quote(notice.unknown[0])} was not seen in training; such symbols are read as <unk>")
        if truncated and not self.truncated:
            if notice.unit == "frames":
                long, setting = f"more than {notice.num_read} frames", "frames.max_frames"
            else:
                long, setting = f"{notice.length} symbols", "data.max_length"
            print_note(f"{where}: {long}; only the first {notice.num_read} are read ({setting})")
        if empty and not self.empty:
            print_note(f"{where}: is empty; the target of an empty source is empty")
        for change in notice.changes:
            if change not in self.changes:
                print_note(f"{where}: {change}")
        self.unknown += len(notice.unknown)
        self.truncated += truncated
        self.empty += empty
        self.changes.update(notice.changes)

    def take_all(self, notices: Notices, lines: Sequence[int]) -> None:
        """Count the notices of a call; `lines[index]` is the line of its text `index`."""
        if notices.slow_search and not self.slow_search:
            print_note(f"{notices.slow_search}: {SLOW_SEARCH}")
            self.slow_search = notices.slow_search
        for notice in sorted(notices.texts, key=lambda notice: (notice.source_index, notice.side)):
            self.take(notice, lines[notice.source_index])

    def print_totals(self) -> None:
        """Print the number of cases of each kind."""
        for count, noun, text in (
            (self.unknown, "unknown symbol", "read as <unk>"),
            (self.truncated, "line", "too long and read in part"),
            (self.empty, "line", "empty"),
        ):
            if count:
                were = "was" if count == 1 else "were"
                print_note(f"{self.prefix}{plural(count, noun)} in all {were} {text}")
        for change, count in self.changes.items():
            print_note(f"{self.prefix}{plural(count, 'source')} in all: {change}")
