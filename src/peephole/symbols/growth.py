"""Add the symbols of new texts to a table that a model already has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peephole.symbols.learning import by_frequency, count_symbols
from peephole.symbols.tables import UNK, ListedSymbols, Symbols


@dataclass(frozen=True)
class Growth:
    """A table after growing, and the symbols of the texts that it did not have.

    Attributes:
        symbols: the grown table; the symbols of the old one have the same ids.
        added: each new symbol with its count, in the order of its id.
        unknown: each symbol that was not added with its count, the most frequent first; they are read as <unk>.
    """

    symbols: Symbols
    added: list[tuple[str, int]]
    unknown: list[tuple[str, int]]


def grow_symbols(table: Symbols, texts: Iterable[str], *, vocabulary_size: int, min_count: int) -> Growth:
    """Add the new symbols of texts at the end of a table, the most frequent first.

    A subword table does not grow, because its pieces come from one training of its segmenter; code points that it does
    not have are counted as unknown. Counting takes bounded memory, as in `learn_symbols`.

    Args:
        table: the table; it is not changed.
        texts: the new texts, read once.
        vocabulary_size: the most ids of the grown table, the four specials included.
        min_count: symbols seen fewer times are not added.

    >>> from peephole.symbols.tables import CharacterSymbols
    >>> growth = grow_symbols(CharacterSymbols(["a"], "NFC"), ["abba", "c"], vocabulary_size=6, min_count=1)
    >>> growth.symbols.tokens([4, 5]), growth.added, growth.unknown
    (['a', 'b'], [('b', 2)], [('c', 1)])
    """
    missing = by_frequency(count_symbols(_unknown_symbols(table, text) for text in texts))
    if not isinstance(table, ListedSymbols):
        return Growth(table, [], missing)
    frequent = [(symbol, count) for symbol, count in missing if count >= min_count]
    added = frequent[: max(0, vocabulary_size - len(table))]
    ordinary = table.to_json()["symbols"] + [symbol for symbol, _ in added]
    return Growth(type(table)(ordinary, table.normalize), added, missing[len(added) :])


def _unknown_symbols(table: Symbols, text: str) -> list[str]:
    """Return the symbols of a text that the table does not have, as often as they occur."""
    ids, symbols = table.segment(text)
    return [symbol for i, symbol in zip(ids, symbols, strict=True) if i == UNK]
