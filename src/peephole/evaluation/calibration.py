"""Measure whether a model's probabilities are those with which it is right, and fit the temperature that corrects them.

A confidence p is calibrated if of all events that have it a share p is right. Two kinds of events are measured:

    symbols       each symbol of a prediction, </s> included: p(y_t | y_1 … y_{t-1}, X); right if the alignment with the
                  fewest edits to the closest reference keeps it
    predictions   each whole prediction: p(Y | X), (11); right if it is one of the references

The expected calibration error of N events in bins b with n_b events, accuracy a_b and mean confidence c_b is

    ECE = Σ_b n_b ÷ N · |a_b - c_b|

in per cent, over 15 bins: equal-width ones, ((b-1)/15, b/15], or adaptive ones, each with as many events as the others
(equal confidences share a bin). It is never below 0, so that few events make it too large; its bootstrap interval draws
sources.

A temperature T divides the scores of the output layer, p_T = softmax(z ÷ T), (63).

Source: Guo, Pleiss, Sun and Weinberger 2017, On Calibration of Modern Neural Networks (ECE, temperature); Nguyen and
    O'Connor 2015, Posterior Calibration and Exploratory Analysis for NLP (bins with equal numbers of events).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from peephole.errors import DataError
from peephole.evaluation.bootstrap import CONFIDENCE, RESAMPLES, interval, resample
from peephole.evaluation.metrics import FloatArray, closest

NUM_BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.1, 10.0
TOLERANCE = 0.002  # of a fitted temperature, as a share of it: a tenth of what other dev sets of 1,000 pairs change
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Bin:
    """The events of one bin of equal width.

    Attributes:
        low, high: its ends; it holds confidences above `low` and up to `high`.
        count: events in it.
        confidence: mean of their confidences, in per cent; 0 without events.
        accuracy: per cent of them that are right; 0 without events.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """How far confidences are from accuracies, in per cent.

    Attributes:
        bins: the equal-width bins, lowest first.
        ece: ECE over them.
        adaptive_ece: ECE over bins with equal numbers of events.
        confidence, accuracy: over all events.
        count: events.
        num_sources: sources that they are from.
        resamples: of the bootstrap.
        seed: likewise.
    """

    bins: tuple[Bin, ...]
    ece: Estimate
    adaptive_ece: Estimate
    confidence: float
    accuracy: float
    count: int
    num_sources: int
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON values."""
        return {**asdict(self), "bins": [asdict(found) for found in self.bins], "interval": CONFIDENCE}


def reliability(
    confidences: Sequence[Sequence[float]],
    right: Sequence[Sequence[bool]],
    seed: int = 1,
    *,
    resamples: int = RESAMPLES,
) -> Reliability:
    """Compare the confidences of events with how often they are right.

    Args:
        confidences: for each source the confidences of its events, from 0 to 1.
        right: likewise, whether each event is right.
        seed: of the bootstrap over sources.
        resamples: of the bootstrap.

    Raises:
        DataError: there is no event, the lists have different lengths, or a confidence is no probability.

    >>> found = reliability([[0.9], [0.9], [0.4]], [[True], [False], [False]])
    >>> round(found.ece.value, 2)  # 2/3 · |0.5 - 0.9| + 1/3 · |0 - 0.4|
    40.0
    """
    counts = [len(events) for events in confidences]
    if not sum(counts) or counts != [len(events) for events in right]:
        raise DataError(f"calibration: wanted as many events as confidences, got {list(map(len, right))} and {counts}")
    p = np.array([value for events in confidences for value in events], np.float64)
    correct = np.array([value for events in right for value in events], np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"calibration: wanted confidences from 0 to 1, got {p[~((p >= 0) & (p <= 1))][0]}")
    sources = np.repeat(np.arange(len(counts)), counts)
    tables = [_table(sources, bins, p, correct, len(counts)) for bins in (equal_width_bins(p), equal_count_bins(p))]
    drawn = resample(tables, resamples=resamples, seed=seed)
    ece, adaptive_ece = (
        Estimate(float(_ece(table.sum(0, keepdims=True))[0]), *interval(_ece(sums)))
        for table, sums in zip(tables, drawn, strict=True)
    )
    return Reliability(
        bins=_bins(tables[0].sum(0)),
        ece=ece,
        adaptive_ece=adaptive_ece,
        confidence=float(100 * p.mean()),
        accuracy=float(100 * correct.mean()),
        count=len(p),
        num_sources=len(counts),
        resamples=resamples,
        seed=seed,
    )


def equal_width_bins(confidences: FloatArray) -> NDArray[np.int64]:
    """Return the bin, from 0, of each confidence: ((b-1)/15, b/15] has the index b-1.

    >>> equal_width_bins(np.array([0, 1 / 15, 0.07, 1])).tolist()
    [0, 0, 1, 14]
    """
    return np.clip(np.ceil(confidences * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)


def equal_count_bins(confidences: FloatArray) -> NDArray[np.int64]:
    """Return the bin, from 0, of each confidence, so that the bins have equal numbers of them.

    Equal confidences share the bin of the middle one: the order of the events does not count.

    >>> equal_count_bins(np.array([0.3, 0.1, 0.1] * 10)).tolist()[:3]
    [12, 5, 5]
    """
    _, group, sizes = np.unique(confidences, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    return (NUM_BINS * middle / len(confidences)).astype(np.int64)[group.reshape(-1)]


def symbol_events(
    tokens: Sequence[str], log_probs: Sequence[float], references: Sequence[Sequence[str]]
) -> tuple[list[float], list[bool]]:
    """Return the confidence of each symbol of a prediction, and whether it is right.

    Args:
        tokens: the prediction's symbols, U of them, without </s>.
        log_probs: log p of each; one more where the prediction ends with </s>.
        references: one or more lists of symbols.

    >>> symbol_events(["a", "b"], [0.0, 0.0, 0.0], [["a", "c"]])[1]
    [True, False, True]
    """
    end: list[Hashable] = [None]  # </s>; no symbol of a text is None
    own = [*tokens, *end[: len(log_probs) - len(tokens)]]
    _, index = closest(tokens, references)
    right = [False] * len(own)
    for block in Levenshtein.editops(own, [*references[index], *end]).as_matching_blocks():
        right[block.a : block.a + block.size] = [True] * block.size
    return [min(1.0, math.exp(value)) for value in log_probs], right


def fit_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature with the lowest loss, from 0.1 to 10.

    The search by golden sections, on a logarithmic scale, needs a loss that falls and then rises: -log p of given
    symbols is convex in 1/T.

    Args:
        loss: the loss, such as the mean -log p of the symbols of a dev set, at a temperature.

    >>> abs(fit_temperature(lambda t: (1 / t - 1 / 1.5) ** 2) - 1.5) < 0.003
    True
    """
    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    while high - low > TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)


def is_limit(temperature: float) -> bool:
    """Return whether a fitted temperature is where its search ends: the loss still falls there.

    >>> is_limit(fit_temperature(lambda t: t)), is_limit(fit_temperature(lambda t: -t)), is_limit(0.2)
    (True, True, False)
    """
    rates = LOWEST_TEMPERATURE / temperature, temperature / HIGHEST_TEMPERATURE
    return max(rates) > math.exp(-TOLERANCE)


def _table(
    sources: NDArray[np.int64], bins: NDArray[np.int64], p: FloatArray, right: FloatArray, num_sources: int
) -> FloatArray:
    """Return for each source and bin: events, sum of confidences, right events; (sources, 3 · bins)."""
    size, cells = num_sources * NUM_BINS, sources * NUM_BINS + bins
    tables = [np.bincount(cells, values, size).reshape(num_sources, -1) for values in (np.ones_like(p), p, right)]
    return np.concatenate(tables, axis=1)


def _ece(sums: FloatArray) -> FloatArray:
    """Return ECE in per cent of each row of summed tables."""
    counts, confidences, right = sums.reshape(len(sums), 3, NUM_BINS).transpose(1, 0, 2)
    found: FloatArray = 100 * np.abs(right - confidences).sum(1) / np.maximum(counts.sum(1), 1)
    return found


def _bins(sums: FloatArray) -> tuple[Bin, ...]:
    counts, confidences, right = sums.reshape(3, NUM_BINS)
    some = np.maximum(counts, 1)
    return tuple(
        Bin(
            low=index / NUM_BINS,
            high=(index + 1) / NUM_BINS,
            count=int(counts[index]),
            confidence=float(100 * confidences[index] / some[index]),
            accuracy=float(100 * right[index] / some[index]),
        )
        for index in range(NUM_BINS)
    )
