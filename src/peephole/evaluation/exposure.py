"""Measure the exposure gap: the loss of accuracy of a model fed its own output, (14), instead of gold symbols, (13).

Both sides are measured in symbol accuracy, the percentage of reference symbols that are right:

    teacher-forced   #{t: the most probable symbol after the gold symbols 1 … t-1 is gold symbol t} ÷ U
    free-running     1 - edits ÷ U = 1 - symbol error rate, edits from the greedy prediction to the reference
    gap              teacher-forced - free-running

each summed over the corpus before dividing; U is the number of symbols of the reference. With several references each
side is compared with its best one: the one with fewest wrong symbols, then the longest. The end symbol is left out on
both sides: predicting it too early is a wrong symbol on both sides, too late an edit on the free-running side only.
Insertions can take the free-running accuracy below 0.

Teacher forcing is compared position by position, free running by edit distance. By position, one missing symbol would
make all symbols after it wrong, and the gap would measure length.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from peephole.errors import DataError
from peephole.evaluation.bootstrap import CONFIDENCE, RESAMPLES, interval, resample
from peephole.evaluation.metrics import FloatArray, closest

SymbolList = Sequence[Hashable]


@dataclass(frozen=True)
class PositionAccuracy:
    """Symbol accuracy at one position of the reference, in percent.

    Attributes:
        position: 1 for the first symbol.
        teacher_forced: right symbols, of the references that are long enough.
        free_running: symbols kept by the alignment with fewest edits. Insertions have no position and are not
            counted here, so the mean of this curve can be above the free-running accuracy of the corpus.
        num_teacher_forced, num_free_running: references long enough; they differ if the two sides have different best
            references.
    """

    position: int
    teacher_forced: float
    free_running: float
    num_teacher_forced: int
    num_free_running: int


@dataclass(frozen=True)
class ExposureGap:
    """Symbol accuracies in percent, their difference with its 95 % bootstrap interval, and both by position.

    A teacher-forced accuracy of 95 and a free-running one of 92 are a gap of 3. The free-running accuracy is 100 less
    the symbol error rate, and below 0 where that is above 100.
    """

    teacher_forced: float
    free_running: float
    gap: float
    low: float
    high: float
    positions: tuple[PositionAccuracy, ...]
    num_sources: int
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the gap as plain JSON values."""
        return {**asdict(self), "positions": [asdict(p) for p in self.positions], "confidence": CONFIDENCE}


def exposure_gap(
    forced: Sequence[Sequence[SymbolList]],
    predictions: Sequence[SymbolList],
    references: Sequence[Sequence[SymbolList]],
    seed: int = 1,
    *,
    resamples: int = RESAMPLES,
) -> ExposureGap:
    """Compare a model that is fed gold symbols with the same model fed its own.

    Symbols are ids or strings, of the same kind on all sides, and without the end symbol at the end.

    Args:
        forced: for each source and each of its references, the most probable symbol at every position of that
            reference when the model reads the reference up to there. As long as the reference; it may hold the end
            symbol as a wrong prediction.
        predictions: the greedy prediction for each source.
        references: one or more for each source.
        seed: of the bootstrap over sources.
        resamples: of the bootstrap.

    Raises:
        DataError: no source, or lists of different lengths.

    >>> gap = exposure_gap(forced=[["abxd"]], predictions=["abd"], references=[["abcd"]])
    >>> gap.teacher_forced, gap.free_running, gap.gap
    (75.0, 75.0, 0.0)
    """
    if not references or not len(forced) == len(predictions) == len(references):
        sizes = f"{len(forced)}, {len(predictions)} and {len(references)}"
        raise DataError(f"exposure gap: wanted forced symbols, predictions and references alike, got {sizes}")
    teacher = [_mark_teacher_forced(i, *sides) for i, sides in enumerate(zip(forced, references, strict=True), start=1)]
    free = [_mark_free_running(*sides) for sides in zip(predictions, references, strict=True)]
    rows = np.array(
        [(sum(kept), len(kept), edits, len(own)) for kept, (own, edits) in zip(teacher, free, strict=True)],
        dtype=np.float64,
    )
    accuracies = _accuracies(rows.sum(axis=0, keepdims=True))[0]
    resampled = _accuracies(resample([rows], resamples=resamples, seed=seed)[0])
    low, high = interval(resampled[:, 0] - resampled[:, 1])
    return ExposureGap(
        teacher_forced=float(accuracies[0]),
        free_running=float(accuracies[1]),
        gap=float(accuracies[0] - accuracies[1]),
        low=low,
        high=high,
        positions=_accuracy_by_position(teacher, [kept for kept, _ in free]),
        num_sources=len(references),
        resamples=resamples,
        seed=seed,
    )


def _mark_teacher_forced(number: int, forced: Sequence[SymbolList], references: Sequence[SymbolList]) -> list[bool]:
    """Return for each position of the best reference whether it is right when gold symbols are fed."""
    if not references or list(map(len, forced)) != list(map(len, references)):
        raise DataError(
            f"exposure gap, source {number}: wanted forced symbols for references of the lengths "
            f"{list(map(len, references))}, got {list(map(len, forced))}"
        )
    marked = [
        [bool(own == gold) for own, gold in zip(*sides, strict=True)] for sides in zip(forced, references, strict=True)
    ]
    return min(marked, key=lambda kept: (kept.count(False), -len(kept)))


def _mark_free_running(prediction: SymbolList, references: Sequence[SymbolList]) -> tuple[list[bool], int]:
    """Return for each position of the closest reference whether the prediction keeps it, and the number of edits."""
    edits, index = closest(prediction, references)
    kept = [False] * len(references[index])
    for block in Levenshtein.editops(prediction, references[index]).as_matching_blocks():
        kept[block.b : block.b + block.size] = [True] * block.size
    return kept, edits


def _accuracies(sums: FloatArray) -> FloatArray:
    """Return both accuracies, (sums, 2), of summed (right, length, edits, length), (sums, 4)."""
    lengths = np.maximum(sums[:, [1, 3]], 1)
    right = np.stack([sums[:, 0], sums[:, 3] - sums[:, 2]], axis=1)
    accuracies: FloatArray = 100 * right / lengths
    return accuracies


def _accuracy_by_position(teacher: list[list[bool]], free: list[list[bool]]) -> tuple[PositionAccuracy, ...]:
    right_forced, num_forced = _count_by_position(teacher)
    right_free, num_free = _count_by_position(free)
    both = min(len(num_forced), len(num_free))  # later positions exist on one side only
    return tuple(
        PositionAccuracy(
            position=t + 1,
            teacher_forced=100 * right_forced[t] / num_forced[t],
            free_running=100 * right_free[t] / num_free[t],
            num_teacher_forced=num_forced[t],
            num_free_running=num_free[t],
        )
        for t in range(both)
    )


def _count_by_position(kept: list[list[bool]]) -> tuple[list[int], list[int]]:
    """Return for each position the number of references that are right there, and that are long enough."""
    longest = max(map(len, kept))
    right, number = [0] * longest, [0] * longest
    for marks in kept:
        for t, mark in enumerate(marks):
            right[t] += mark
            number[t] += 1
    return right, number
