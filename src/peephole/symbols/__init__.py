"""Symbol tables of source and target, and learning them from texts."""

from peephole.symbols.copying import Copies, copied_tokens, encode_pair, find_copies, with_copied
from peephole.symbols.frames import FRAME_KINDS, FrameSymbols
from peephole.symbols.growth import Growth, grow_symbols
from peephole.symbols.tables import (
    BOS,
    EOS,
    KINDS,
    NORMALIZATIONS,
    PAD,
    SPECIALS,
    UNK,
    UNPREDICTABLE,
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
    "FRAME_KINDS",
    "KINDS",
    "NORMALIZATIONS",
    "PAD",
    "SPECIALS",
    "UNK",
    "UNPREDICTABLE",
    "CharacterSymbols",
    "Copies",
    "FrameSymbols",
    "Growth",
    "ListedSymbols",
    "SubwordSymbols",
    "Symbols",
    "WhitespaceSymbols",
    "copied_tokens",
    "encode_pair",
    "find_copies",
    "grow_symbols",
    "learn_symbols",
    "normalize_text",
    "split_clusters",
    "symbols_from_json",
    "with_copied",
]
