"""Hold out a dev set by source: all pairs of one source go to the same side.

The hashes of the sources alone decide which are held out, not the order of the pairs in the file.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b

HASHES = 1 << 64
LEAST = 100
"""Pairs to hold out even where they are more than the wanted share, since few do not tell which weights are best."""
MOST_FRACTION = 0.1
"""The share of the sources that these may be."""


def source_hash(source: str) -> int:
    """Return a hash of the text, below `HASHES`, the same on every machine.

    >>> source_hash("hello") / HASHES
    0.6551350150274587
    """
    return int.from_bytes(blake2b(source.encode(), digest_size=8).digest(), "big")


class Holdout:
    """Select the sources to hold out in one pass over the pairs, storing only few of them.

    Held out are the sources whose hash lies in the lowest `fraction` of all hashes; where these have fewer than `LEAST`
    pairs, more up to that number, but only in the lowest `MOST_FRACTION`. Lowest first, as long as their pairs number
    at most `limit`; if there are none, the source with the lowest hash of all. One source is always left for training.

    >>> holdout = Holdout(fraction=0.02, limit=100)
    >>> for source in ["a", "b", "a"]:
    ...     holdout.add(source)
    >>> holdout.sources()
    frozenset({'a'})
    """

    def __init__(self, fraction: float, limit: int) -> None:
        self._limit = limit
        self._fraction = int(fraction * HASHES)
        self._bound = int(
            max(fraction, MOST_FRACTION) * HASHES
        )  # a source with this hash or a higher one is trained on
        self._pairs: dict[str, int] = {}  # number of pairs of each candidate, at most `limit` in total
        self._total = 0
        self._by_hash: list[tuple[int, str]] = []  # heap of the candidates: (-hash, source), highest first
        self._training: tuple[int, str] | None = None  # lowest hash among the training sources, and its source
        self._first: str | None = None
        self._several = False

    def add(self, source: str) -> None:
        """Add the source of one pair."""
        if self._first is None:
            self._first = source
        self._several |= source != self._first
        hash_value = source_hash(source)
        if hash_value >= self._bound:
            if self._training is None or hash_value < self._training[0]:
                self._training = (hash_value, source)
            return
        if source not in self._pairs:
            heapq.heappush(self._by_hash, (-hash_value, source))
        self._pairs[source] = self._pairs.get(source, 0) + 1
        self._total += 1
        while self._total > self._limit:
            self._drop_highest()

    def sources(self) -> frozenset[str]:
        """Return the sources to hold out; none if only one source has been seen."""
        if not self._several:
            return frozenset()
        if not self._pairs:
            assert self._training is not None  # or nothing was seen
            return frozenset([self._training[1]])
        candidates = sorted((-negative_hash, source) for negative_hash, source in self._by_hash)
        chosen: list[str] = []
        pairs = 0
        for hash_value, source in candidates:
            pairs += self._pairs[source]
            if chosen and hash_value >= self._fraction and pairs > LEAST:
                break
            chosen.append(source)
        if len(chosen) == len(candidates) and self._training is None:
            chosen.pop()
        return frozenset(chosen)

    def _drop_highest(self) -> None:
        """Move the candidate with the highest hash to the training sources."""
        negative_hash, source = heapq.heappop(self._by_hash)
        self._total -= self._pairs.pop(source)
        self._bound = -negative_hash
        self._training = (-negative_hash, source)
