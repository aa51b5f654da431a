"""Computes vectors of symbols with those of their trigrams, (66), in NumPy: one symbol at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .oracle import Array

BOS, EOS = 1, 2


def trigram_row(before: int, symbol: int, after: int, num_rows: int) -> int:
    """Return the row of three symbols in a table of trigrams, (66)."""
    P, a, code = 2**31 - 1, 668265263, 0
    for one in (before, symbol, after):
        code = (code + one) % P * (code + one + a) % P
    return code * num_rows // P


def with_trigrams(embeddings: Array, trigrams: Array, source: Sequence[int]) -> Array:
    """Return x_j of (66) of a source: (V, E), (N, E) -> (T, E)."""
    around = [BOS, *source, EOS]
    return np.array(
        [
            embeddings[symbol] + trigrams[trigram_row(around[j], symbol, around[j + 2], len(trigrams))]
            for j, symbol in enumerate(source)
        ]
    )
