"""Order pairs into batches as a pure function of (seed, epoch), so that a run can resume at any batch.

An epoch is a permutation of all pairs, cut into windows. Inside a window, pairs of similar length form
batches, so that batches hold little padding, and the batches are then shuffled. Only one window is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from peephole.data.batch import Batch, Ids, make_batch
from peephole.data.corpus import Corpus

WINDOW = 1 << 16  # pairs that are sorted by length together
SOURCE_FACTOR = 4  # limit on source positions of a batch, as a multiple of the limit on target positions

_ROUNDS = 6


def permutation(
    size: int, *, seed: int, epoch: int, start: int = 0, stop: int | None = None, stream: int = 0
) -> NDArray[np.int64]:
    """Return positions start … stop - 1 of a permutation of range(size), without computing the others.

    A Feistel network permutes the smallest range 2^(2b) that holds `size` numbers: with x = (left, right) in
    b bits each, every round maps it to (right, left ⊕ F_key(right)). Where the result is not below `size`,
    the network is applied again until it is, which permutes range(size) itself.

    Args:
        size: number of permuted numbers.
        seed: any number ≥ 0.
        epoch: any number ≥ 0.
        start: first position returned.
        stop: end of the positions returned; None for all.
        stream: distinguishes permutations of the same seed and epoch.

    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains" (cycle walking); the round
        function is the finaliser of splitmix64, Steele et al. 2014.

    >>> sorted(permutation(5, seed=1, epoch=0).tolist())
    [0, 1, 2, 3, 4]
    """
    words = np.random.SeedSequence([seed, epoch, stream]).generate_state(_ROUNDS, np.uint64)
    keys = words.astype(np.uint64)
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    found = np.arange(start, size if stop is None else min(stop, size), dtype=np.uint64)
    found = _feistel(found, half, keys)
    outside = np.flatnonzero(found >= size)
    while len(outside):
        found[outside] = _feistel(found[outside], half, keys)
        outside = outside[found[outside] >= size]
    return found.astype(np.int64)


def batches(
    corpus: Corpus, *, seed: int, epoch: int, batch_symbols: int, batch_frames: int | None = None, start: int = 0
) -> Iterator[Batch]:
    """Yield every pair of the corpus once, in batches.

    A batch of B pairs has B·U ≤ `batch_symbols` target positions, EOS included, and
    B·T ≤ `SOURCE_FACTOR`·`batch_symbols` source positions, or `batch_frames` if it is given; a longer pair is a batch
    of its own.

    The first `start` batches are skipped without reading their pairs.
    """
    number = 0
    for window, first in enumerate(range(0, len(corpus), WINDOW)):
        examples = permutation(len(corpus), seed=seed, epoch=epoch, start=first, stop=first + WINDOW)
        located = corpus.locate(examples)
        most = batch_frames or SOURCE_FACTOR * batch_symbols
        parts = _cut(located.source.lengths, located.target.lengths + 1, batch_symbols, most)  # EOS
        order = permutation(len(parts), seed=seed, epoch=epoch, stream=window + 1)
        for part in order[max(0, start - number) :].tolist():
            rows = parts[part]
            yield make_batch(*corpus.read(located.take(rows)), examples[rows])
        number += len(parts)


def batch_shapes(
    corpus: Corpus,
    *,
    seed: int,
    epoch: int,
    batch_symbols: int,
    batch_frames: int | None = None,
    windows: int | None = None,
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the source lengths and the target lengths, EOS included, of the pairs of each batch of an epoch.

    No pair is read. The batches come in another order than those of `batches`.

    Args:
        corpus: the pairs.
        seed: any number ≥ 0.
        epoch: any number ≥ 0.
        batch_symbols: as that of `batches`.
        batch_frames: likewise.
        windows: the first this many windows only; None: all.
    """
    for first in range(0, len(corpus), WINDOW)[:windows]:
        examples = permutation(len(corpus), seed=seed, epoch=epoch, start=first, stop=first + WINDOW)
        located = corpus.locate(examples)
        source, target = located.source.lengths, located.target.lengths + 1
        for part in _cut(source, target, batch_symbols, batch_frames or SOURCE_FACTOR * batch_symbols):
            yield source[part], target[part]


def _cut(
    source_lengths: NDArray[np.int64], target_lengths: NDArray[np.int64], batch_symbols: int, most_source: int
) -> list[NDArray[np.int64]]:
    """Sort a window by target length, then source length, and cut it into batches; return the rows of each."""
    by_length = np.lexsort((source_lengths, target_lengths))
    cuts, rows, longest_source = [], 0, 0
    lengths = zip(target_lengths[by_length].tolist(), source_lengths[by_length].tolist(), strict=True)
    for position, (target, source) in enumerate(lengths):
        rows, longest_source = rows + 1, max(longest_source, source)
        # This target is the longest, since they are sorted
        if rows > 1 and (rows * target > batch_symbols or rows * longest_source > most_source):
            cuts.append(position)
            rows, longest_source = 1, source
    return np.split(by_length, cuts)


def _feistel(x: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & low
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & low)
    return left << half | right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers one to one; products wrap around."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
