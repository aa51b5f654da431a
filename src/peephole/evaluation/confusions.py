"""Error analysis: which symbols are taken for which, and how quality depends on length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peephole.evaluation.alignment import align
from peephole.evaluation.bootstrap import interval, resample
from peephole.evaluation.metrics import closest

Symbol = str | None


@dataclass(frozen=True)
class Confusion:
    """A symbol of the references that was predicted as another one.

    Attributes:
        reference: the symbol wanted; None for one that was inserted.
        predicted: the symbol predicted; None for one that is missing.
        count: how often.
    """

    reference: Symbol
    predicted: Symbol
    count: int


@dataclass(frozen=True)
class Confusions:
    """All aligned symbols of predictions and their closest references.

    Attributes:
        errors: the differing pairs of symbols, the most frequent first.
        right: by symbol, how often the references have it and the prediction, too.
        num_symbols: symbols of the references.
        num_edits: differing pairs altogether.
    """

    errors: tuple[Confusion, ...]
    right: dict[str, int]
    num_symbols: int
    num_edits: int

    def frequent(self, most: int) -> list[str]:
        """Return the reference symbols that are most often part of an error, at most `most`."""
        counts: Counter[str] = Counter()
        for error in self.errors:
            for symbol in (error.reference, error.predicted):
                if symbol is not None:
                    counts[symbol] += error.count
        return [symbol for symbol, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]

    def shares(self, symbols: Sequence[str]) -> list[list[float]]:
        """Return a matrix: of the references' occurrences of symbol i, the share that was predicted as symbol j."""
        table = {(error.reference, error.predicted): error.count for error in self.errors}
        table |= {(symbol, symbol): count for symbol, count in self.right.items()}
        totals: Counter[Symbol] = Counter()
        for (reference, _), count in table.items():
            totals[reference] += count
        return [[table.get((one, two), 0) / max(1, totals[one]) for two in symbols] for one in symbols]


def count_confusions(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Confusions:
    """Align each prediction with its closest reference, with the fewest edits, and count pairs of symbols.

    Args:
        predictions: symbols, one list a source.
        references: one or more lists of symbols a source.

    >>> found = count_confusions([["a", "x"]], [[["a", "b"]]])
    >>> [(error.reference, error.predicted) for error in found.errors], found.right
    ([('b', 'x')], {'a': 1})
    """
    errors: Counter[tuple[Symbol, Symbol]] = Counter()
    right: Counter[str] = Counter()
    for prediction, choices in zip(predictions, references, strict=True):
        _, index = closest(prediction, choices)
        for predicted, wanted in align(prediction, choices[index]):
            if predicted == wanted and wanted is not None:
                right[wanted] += 1
            else:
                errors[wanted, predicted] += 1
    ordered = sorted(errors.items(), key=lambda item: (-item[1], str(item[0])))
    return Confusions(
        errors=tuple(Confusion(*pair, count) for pair, count in ordered),
        right=dict(right),
        num_symbols=right.total() + sum(count for (wanted, _), count in errors.items() if wanted is not None),
        num_edits=errors.total(),
    )


@dataclass(frozen=True)
class LengthGroup:
    """The sources of some lengths, and how many of them are predicted right.

    Attributes:
        shortest, longest: of the sources, in symbols.
        count: sources.
        exact_match: per cent of them whose prediction is one of the references.
        low, high: its 95 % bootstrap interval.
    """

    shortest: int
    longest: int
    count: int
    exact_match: float
    low: float
    high: float


def quality_by_length(
    lengths: Sequence[int], right: Sequence[bool], groups: int = 8, seed: int = 1
) -> list[LengthGroup]:
    """Return the exact matches of sources grouped by length, with about equal numbers of sources in a group.

    Args:
        lengths: of the sources.
        right: whether each is predicted right.
        groups: at most this many; sources of one length are in one group.
        seed: of the bootstrap.

    >>> [(g.shortest, g.longest, g.exact_match) for g in quality_by_length([3, 1, 1, 9], [False, True, True, True], 2)]
    [(1, 1, 100.0), (3, 9, 50.0)]
    """
    order = np.argsort(lengths, kind="stable")
    counted = np.cumsum(np.bincount(lengths))  # sources up to each length
    rank = np.minimum((counted[np.asarray(lengths)[order]] - 1) * groups // max(1, len(order)), groups - 1)
    found = []
    for group in np.unique(rank):
        rows = order[rank == group]
        marks = np.array([(float(right[row]), 1.0) for row in rows])
        sums = resample([marks], seed=seed)[0]
        low, high = interval(100 * sums[:, 0] / sums[:, 1])
        sizes = [lengths[row] for row in rows]
        found.append(LengthGroup(min(sizes), max(sizes), len(rows), float(100 * marks[:, 0].mean()), low, high))
    return found
