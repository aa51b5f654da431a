"""Symbol tables of source and target, and learning them from texts."""

from peephole.symbols.tables import (
    BOS,
    EOS,
    KINDS,
    NORMALIZATIONS,
    PAD,
    SPECIALS,
    UNK,
    CharacterSymbols,
    ListedSymbols,
    SubwordSymbols,
    Symbols,
    WhitespaceSymbols,
    learn_symbols,
    normalize_text,
    split_clusters,
    symbols_from_json,
)

__all__ = [
    "BOS",
    "EOS",
    "KINDS",
    "NORMALIZATIONS",
    "PAD",
    "SPECIALS",
    "UNK",
    "CharacterSymbols",
    "ListedSymbols",
    "SubwordSymbols",
    "Symbols",
    "WhitespaceSymbols",
    "learn_symbols",
    "normalize_text",
    "split_clusters",
    "symbols_from_json",
]
