"""Test whether the difference between two systems is significant.

Both systems predict for the same sources, so the tests are paired. There is no correction for multiple comparisons: of
twenty comparisons of equal systems, one is expected to have p ≤ 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from peephole.evaluation.bootstrap import CONFIDENCE, RESAMPLES, interval, resample, swap
from peephole.evaluation.evaluate import check, measure
from peephole.evaluation.metrics import METRICS, FloatArray, Metric
from peephole.symbols import Symbols

SWAPS = 10_000
_TOLERANCE = 1e-9  # scores this close are equal: ROUGE adds fractions, whose sum depends on their order


@dataclass(frozen=True)
class Difference:
    """The difference between two systems in one metric.

    Attributes:
        value_a, value_b: scores of the two systems.
        difference: value_b - value_a.
        low, high: 95 % bootstrap interval of the difference.
        p_bootstrap: by `bootstrap_p`.
        p_swaps: by `swaps_p`.
        p_mcnemar: by `mcnemar_p`; only for metrics of exact matches, else None.
        unit: "%" or "points" (0 to 100).
        better: the direction in which the metric improves.
        label: its name in tables.
    """

    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_swaps: float
    p_mcnemar: float | None
    unit: Literal["%", "points"]
    better: Literal["higher", "lower"]
    label: str


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: name of a metric → difference, and the numbers needed to reproduce it."""

    differences: dict[str, Difference]
    num_sources: int
    resamples: int
    swaps: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON values."""
        return {**asdict(self), "confidence": CONFIDENCE}


def compare(
    sources: Sequence[str],
    predictions_a: Sequence[str],
    predictions_b: Sequence[str],
    references: Sequence[Sequence[str]],
    symbols: Symbols,
    metrics: Sequence[str] | None = None,
    seed: int = 1,
    *,
    resamples: int = RESAMPLES,
    swaps: int = SWAPS,
) -> Comparison:
    """Compare two systems on the same sources.

    Args:
        sources: each once.
        predictions_a: of the first system (the baseline), one a source.
        predictions_b: of the second, in the same order.
        references: one or more a source.
        symbols: the target's.
        metrics: keys of `peephole.evaluation.metrics.METRICS`; None or none: the default ones for this kind of symbols.
        seed: of resamples and swaps.
        resamples: of the bootstrap.
        swaps: of approximate randomisation; p is never below 1 / (swaps + 1).

    Raises:
        DataError: no source, lists of different lengths, or a source without reference.
        ConfigError: an unknown metric.
    """
    check(sources, references, predictions_a, predictions_b)
    rows_a = measure(predictions_a, references, symbols, metrics)
    rows_b = measure(predictions_b, references, symbols, metrics)
    tables_a, tables_b = list(rows_a.values()), list(rows_b.values())
    drawn = resample([*tables_a, *tables_b], resamples=resamples, seed=seed)
    swapped_a, swapped_b = swap(tables_a, tables_b, swaps=swaps, seed=seed)
    differences = {}
    for i, name in enumerate(rows_a):
        score = METRICS[name].score
        differences[name] = _difference(
            METRICS[name],
            tables_a[i],
            tables_b[i],
            resampled=score(drawn[len(tables_a) + i]) - score(drawn[i]),
            swapped=score(swapped_b[i]) - score(swapped_a[i]),
        )
    return Comparison(differences, len(sources), resamples, swaps, seed)


def bootstrap_p(differences: FloatArray, observed: float) -> float:
    """Return the two-sided p-value of a difference by paired bootstrap resampling.

    With d the observed difference and d_r that of resample r, the resamples shifted by -d simulate the null hypothesis
    of no difference:

        p = (1 + #{r: |d_r - d| ≥ |d|}) / (1 + number of resamples)

    Source: Efron and Tibshirani 1993, chapter 16; Noreen 1989 for the ones added.
    Differs: sacrebleu shifts |d_r| by its mean and counts one side, so that its p is at most half of this.

    >>> bootstrap_p(np.array([0.5, 1.0, 1.5, 2.5]), 1.0)
    0.4
    """
    return _p_value(np.abs(differences - observed), abs(observed))


def swaps_p(differences: FloatArray, observed: float) -> float:
    """Return the two-sided p-value of a difference by approximate randomisation.

    If the systems are equal, exchanging their outputs for a source changes the difference by chance only. With d the
    observed difference and d_r that after exchange r, each source exchanged with probability 1/2:

        p = (1 + #{r: |d_r| ≥ |d|}) / (1 + number of exchanges)

    Source: Noreen 1989; Riezler and Maxwell 2005, On Some Pitfalls in Automatic Evaluation and Significance
        Testing for MT.
    Differs: sacrebleu counts |d_r| > |d|, by which a system differs significantly from itself.

    >>> swaps_p(np.array([-1.0, 0.0, 0.0, 1.0]), 1.0)
    0.6
    """
    return _p_value(np.abs(differences), abs(observed))


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    If the systems are equal, a source that only one of them has right is A's or B's with probability 1/2 each. With
    n = only_a + only_b and m = min(only_a, only_b):

        p = min(1, 2 Σ_{k ≤ m} C(n, k) / 2ⁿ)

    Args:
        only_a: sources that only system A has right.
        only_b: sources that only system B has right.

    Source: McNemar 1947, in its exact binomial form.

    >>> mcnemar_p(1, 5)
    0.21875
    """
    n = only_a + only_b
    term = total = 1  # C(n, 0)
    for k in range(min(only_a, only_b)):
        term = term * (n - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def _difference(
    metric: Metric, rows_a: FloatArray, rows_b: FloatArray, *, resampled: FloatArray, swapped: FloatArray
) -> Difference:
    value_a, value_b = (float(metric.score(rows.sum(axis=0, keepdims=True))[0]) for rows in (rows_a, rows_b))
    low, high = interval(resampled)
    return Difference(
        value_a=value_a,
        value_b=value_b,
        difference=value_b - value_a,
        low=low,
        high=high,
        p_bootstrap=bootstrap_p(resampled, value_b - value_a),
        p_swaps=swaps_p(swapped, value_b - value_a),
        p_mcnemar=_mcnemar_of_matches(metric, rows_a, rows_b),
        unit=metric.unit,
        better=metric.better,
        label=metric.label,
    )


def _mcnemar_of_matches(metric: Metric, rows_a: FloatArray, rows_b: FloatArray) -> float | None:
    if metric.statistics is not METRICS["exact_match"].statistics:
        return None
    right_a, right_b = rows_a[:, 0] == 1, rows_b[:, 0] == 1
    return mcnemar_p(int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()))


def _p_value(values: FloatArray, threshold: float) -> float:
    return (1 + int(np.count_nonzero(values >= threshold - _TOLERANCE))) / (1 + len(values))
