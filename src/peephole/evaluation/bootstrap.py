"""Bootstrap resampling of sources, and random swaps between two systems.

Both work on the statistics of `peephole.evaluation.metrics`: one row for each source, summed before scoring. So the
score of every resample is an exact corpus score, of BLEU too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from peephole.evaluation.metrics import FloatArray

RESAMPLES = 1000  # 2.5 ± 0.5 % (standard deviation) are outside each end of a 95 % interval
CONFIDENCE = 0.95  # level of `interval`
_BLOCK_ENTRIES = 1 << 21  # draws held in memory: some 50 MB


def resample(tables: Sequence[FloatArray], *, resamples: int = RESAMPLES, seed: int) -> list[FloatArray]:
    """Return the summed statistics of resamples of the sources, drawn with replacement.

    Args:
        tables: statistics (sources, columns) of one or more metrics or systems; the draws are the same for all.
        resamples: number of sums to return; each adds as many rows as there are sources.
        seed: of NumPy's default generator. The draws are those of sacrebleu for its SACREBLEU_SEED.

    Returns:
        For each table its sums, (resamples, columns).

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 6; Koehn 2004, Statistical
        Significance Tests for Machine Translation Evaluation.
    """
    statistics = np.concatenate(tables, axis=1)
    num_sources = len(statistics)
    generator = np.random.default_rng(seed)
    sums = []
    for rows in _row_counts(resamples, num_sources):
        drawn = generator.integers(num_sources, size=(rows, num_sources))
        drawn += np.arange(rows)[:, None] * num_sources  # so that one bincount counts all rows
        counts = np.bincount(drawn.ravel(), minlength=rows * num_sources).reshape(rows, num_sources)
        sums.append(counts.astype(np.float64) @ statistics)
    return _split_columns(np.concatenate(sums), tables)


def interval(scores: FloatArray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the scores of resamples.

    >>> interval(np.arange(41.0))
    (1.0, 39.0)
    """
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def swap(
    tables_a: Sequence[FloatArray], tables_b: Sequence[FloatArray], *, swaps: int, seed: int
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return the summed statistics of two systems whose outputs are swapped for about half of the sources.

    Args:
        tables_a: statistics (sources, columns) of system A in one or more metrics; the swaps are the same for all.
        tables_b: the same of system B.
        swaps: number of sums; each draws for every source whether it is swapped.
        seed: of NumPy's default generator.

    Returns:
        For each table of A, and for each of B, its sums, (swaps, columns).
    """
    statistics_a, statistics_b = np.concatenate(tables_a, axis=1), np.concatenate(tables_b, axis=1)
    change = statistics_b - statistics_a
    change = change[change.any(axis=1)]  # swapping equal rows has no effect
    generator = np.random.default_rng(seed)
    moved = np.concatenate(
        [
            generator.integers(2, size=(rows, len(change)), dtype=np.int8).astype(np.float64) @ change
            for rows in _row_counts(swaps, len(change))
        ]
    )
    return (
        _split_columns(statistics_a.sum(axis=0) + moved, tables_a),
        _split_columns(statistics_b.sum(axis=0) - moved, tables_b),
    )


def _split_columns(sums: FloatArray, tables: Sequence[FloatArray]) -> list[FloatArray]:
    """Split the columns of sums into those of each table."""
    return np.split(sums, np.cumsum([table.shape[1] for table in tables])[:-1], axis=1)


def _row_counts(total: int, width: int) -> Iterator[int]:
    """Yield numbers of rows that add up to the total, each small enough for memory."""
    most = max(1, _BLOCK_ENTRIES // max(width, 1))
    while total > 0:
        yield min(most, total)
        total -= most
