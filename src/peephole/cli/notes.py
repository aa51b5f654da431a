"""What a model cannot read as it stands, counted over a whole input and said on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from peephole.model import Model, TruncatedSourceWarning, UnknownSymbolWarning


class Notes:
    """Counts what the model cannot read as it stands; says so at the first case and at the end.

    Args:
        name: of the input, as the user knows it.
        model: the model that reads it.
        who: stands before each line, where several models read.
    """

    def __init__(self, name: str, model: Model, who: str = "") -> None:
        self.name = name
        self.model = model
        self.who = who
        self.unknown = self.truncated = self.empty = 0

    def take(self, line: int, source: str, target: str = "") -> None:
        """Count the cases of one source, and of the target (or its beginning) that is given, if there is one."""
        unknown = self.model.unknown_symbols([source], [target])
        if unknown and not self.unknown:
            symbol = next(iter(unknown))
            self._say(f"{self.name}, line {line}: {symbol!r} was not seen in training; such symbols are read as <unk>")
        limit = self.model.config.data.max_length
        length = len(self.model.source_symbols.split(source))
        if length > limit and not self.truncated:
            self._say(f"{self.name}, line {line}: {length} symbols; only the first {limit} are read (data.max_length)")
        if not length and not self.empty:
            self._say(f"{self.name}, line {line}: is empty; the target of an empty source is empty")
        self.unknown += unknown.total()
        self.truncated += length > limit
        self.empty += not length

    def print(self) -> None:
        """Say how many cases there were."""
        if self.unknown:
            self._say(f"{self.unknown} unknown symbols in all were read as <unk>")
        if self.truncated:
            self._say(f"{self.truncated} lines in all were too long and read in part")
        if self.empty:
            self._say(f"{self.empty} lines in all were empty")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"peephole: {self.who}{text}\n")


@contextmanager
def counted_here() -> Iterator[None]:
    """Silence the model's own warnings about what `Notes` counts over the whole input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownSymbolWarning)
        warnings.simplefilter("ignore", TruncatedSourceWarning)
        yield
