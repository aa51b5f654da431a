"""What a symbol is, on the source and on the target side, and learning which there are from texts."""

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
