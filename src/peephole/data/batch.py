"""Pad pairs of id lists to the arrays of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.symbols import EOS, PAD

Ids = NDArray[np.int64]
Integers = NDArray[np.integer[Any]]
Rows = Sequence[NDArray[Any]]


SECOND = 2**40
"""What is added to the index of a pair where it is read a second time; no corpus has so many pairs."""


class Taught(NamedTuple):
    """What a teacher holds most probable at each step of some targets, (69)."""

    symbols: NDArray[np.int32]
    """(B, U, K)  PAD after the last step of a target."""
    shares: NDArray[np.float32]
    """(B, U, K)  the symbols' probabilities, divided by their sum; 0 after the last step."""


@dataclass(frozen=True)
class Batch:
    """B pairs, padded with PAD; all arrays are int64, but frames keep their number format.

    Attributes:
        source: (B, T), or frames (B, T, F), padded with 0; for a model that copies (B, T, 2), the ids read and copied.
        source_lengths: (B,), 1 ≤ length ≤ T.
        target: (B, U); each row ends with EOS, then PAD. Or vectors (B, U, D), then NaN.
        target_lengths: (B,), EOS included.
        examples: (B,), the index of each pair in the corpus.
        taught: of a training with a teacher, what it gives for the targets.
    """

    source: NDArray[Any]
    source_lengths: Ids
    target: NDArray[Any]
    target_lengths: Ids
    examples: Ids
    taught: Taught | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def num_symbols(self) -> int:
        """Return the number of target symbols: padding excluded, the EOS of each pair included."""
        return int(self.target_lengths.sum())

    def twice(self) -> Batch:
        """Return the pairs, then the same pairs as other examples, whose noise is another: what (68) compares.

        >>> batch = make_batch([np.array([5])], [np.array([6])], np.array([3])).twice()
        >>> batch.target.tolist(), (batch.examples - 3).tolist() == [0, SECOND]
        ([[6, 2], [6, 2]], True)
        """
        twice = self._each(lambda array: np.concatenate([array, array]))
        return replace(twice, examples=np.concatenate([self.examples, self.examples + SECOND]))

    def rows(self, rank: int, world_size: int) -> Batch:
        """Return rows rank, rank + world_size, … for one of several processes.

        T and U are those of the whole batch. If it has fewer than `world_size` pairs, the last ranks have no rows.
        """
        return self._each(lambda array: array[rank::world_size])

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Batch:
        """Return a batch with changed arrays."""
        return Batch(
            change(self.source),
            change(self.source_lengths),
            change(self.target),
            change(self.target_lengths),
            change(self.examples),
            None if self.taught is None else Taught(*map(change, self.taught)),
        )


def make_batch(sources: Rows, targets: Rows, examples: Ids) -> Batch:
    """Pad id lists, or frames as sources, to a batch and end each target with EOS, or pad vectors with NaN.

    Args:
        sources: B arrays of source ids, at least one id each: (T,), or (T, 2) for a model that copies; or of frames
            (T, F).
        targets: B arrays of target ids without EOS; or of vectors (U, D), which have no end symbol.
        examples: (B,) indices in the corpus.

    >>> sources, targets = [np.array([5]), np.array([6, 7])], [np.array([8]), np.array([9, 9])]
    >>> batch = make_batch(sources, targets, np.array([3, 1]))
    >>> batch.source.tolist(), batch.target.tolist()
    ([[5, 0], [6, 7]], [[8, 2, 0], [9, 9, 2]])
    """
    source, source_lengths = _pad(sources, 0)
    if targets[0].ndim == 2:
        target, target_lengths = _pad(targets, 0)
        target[np.arange(target.shape[1]) >= target_lengths[:, None]] = np.nan
    else:
        target, target_lengths = _pad(targets, 1)
        target[np.arange(len(target)), target_lengths - 1] = EOS
    return Batch(source, source_lengths, target, target_lengths, np.asarray(examples, dtype=np.int64))


def _pad(rows: Rows, extra: int) -> tuple[NDArray[Any], Ids]:
    """Return rows as one padded array with `extra` columns more than the longest, and their lengths plus `extra`."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    columns = np.arange(int(lengths.max()) + extra)
    first = rows[0]
    dtype = np.int64 if np.issubdtype(first.dtype, np.integer) else first.dtype
    padded = np.full((len(rows), len(columns), *first.shape[1:]), PAD, dtype=dtype)
    padded[columns < lengths[:, None]] = np.concatenate(rows)
    return padded, lengths + extra
