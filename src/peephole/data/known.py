"""Prepare data for a model that already has symbols: its tables grow by the symbols that are new in the data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from peephole.config import SymbolsConfig
from peephole.storage.header import read_header
from peephole.symbols import ListedSymbols, Symbols, grow_symbols

SHOWN = 5  # symbols in a line of the report


class KnownSymbols(NamedTuple):
    """The symbol tables of the model with which a run goes on, or of its teacher."""

    source: Symbols
    target: Symbols
    grow: bool = True
    """Whether symbols that are new in the data are added; a teacher gives them no probability."""

    def table(self, name: str, side: str, texts: Iterable[str], config: SymbolsConfig) -> tuple[Symbols, str]:
        """Return the table of a side, grown where it may grow, and a line about it; arguments as of `grow_table`."""
        own: Symbols = getattr(self, side)
        if self.grow:
            return grow_table(name, own, texts, config)
        return own, f"{name}: {own.kind}, the teacher's {len(own)} with the specials"

    def digest(self) -> str:
        """Return a SHA-256 of both tables, and of whether they grow."""
        content = [self.source.to_json(), self.target.to_json(), *([] if self.grow else [False])]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def grow_table(name: str, table: Symbols, texts: Iterable[str], config: SymbolsConfig) -> tuple[Symbols, str]:
    """Return a grown table, of one side or of both, and a line that counts and shows the new symbols.

    Args:
        name: begins the line.
        table: the table of the model.
        texts: the training texts that are read with the table, read once.
        config: its vocabulary_size and min_count are used.
    """
    growth = grow_symbols(table, texts, vocabulary_size=config.vocabulary_size, min_count=config.min_count)
    parts = [f"{name}: {table.kind}, the model's {len(table)}"]
    if growth.added:
        parts.append(f"and {len(growth.added)} new: {_shown(growth.added)}")
    line = " ".join(parts) + f"; {len(growth.symbols)} with the specials"
    if growth.unknown:
        limits = f"min_count={config.min_count}, vocabulary_size={config.vocabulary_size}"
        reason = limits if isinstance(table, ListedSymbols) else "subwords do not grow"
        times = sum(count for _, count in growth.unknown)
        line += (
            f"; {len(growth.unknown)} unknown, {times} times in all, are read as <unk> ({reason}): "
            f"{_shown(growth.unknown)}"
        )
    return growth.symbols, line


def symbols_of_model(path: str) -> tuple[Symbols, str]:
    """Return the target's symbol table of a model file, and a line that says so.

    Raises:
        ModelFileError: it is not a model file.
    """
    table = read_header(path).target_symbols
    return table, f"target symbols: the {len(table)} of {path}"


def _shown(counts: list[tuple[str, int]]) -> str:
    """Return the first symbols with their counts.

    >>> _shown([("é", 3), ("ß", 1)])
    "'é' (3), 'ß' (1)"
    """
    more = ", …" if len(counts) > SHOWN else ""
    return ", ".join(f"{symbol!r} ({count})" for symbol, count in counts[:SHOWN]) + more
