"""Align the worst predictions with their references, symbol by symbol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein

from peephole.evaluation.metrics import closest

Column = tuple[str | None, str | None]


@dataclass(frozen=True)
class Mistake:
    """A prediction that differs from its closest reference.

    Attributes:
        source: text of the source.
        prediction: text predicted.
        reference: the closest reference.
        edits: insertions, deletions and substitutions between the two.
        columns: (predicted symbol, reference symbol), in order; None on the side that has none.
    """

    source: str
    prediction: str
    reference: str
    edits: int
    columns: tuple[Column, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the mistake as plain JSON values."""
        return {**vars(self), "columns": [list(column) for column in self.columns]}


def align(predicted: Sequence[str], reference: Sequence[str]) -> tuple[Column, ...]:
    """Put two lists of symbols side by side with the fewest edits.

    Returns:
        Columns (predicted, reference). The edits are the columns with two different sides.

    >>> align(["K", "AH", "T"], ["K", "AE", "T", "S"])
    (('K', 'K'), ('AH', 'AE'), ('T', 'T'), (None, 'S'))
    """
    columns: list[Column] = []
    for step in Levenshtein.opcodes(predicted, reference):
        left = predicted[step.src_start : step.src_end]
        right = reference[step.dest_start : step.dest_end]
        if step.tag == "delete":
            columns += [(symbol, None) for symbol in left]
        elif step.tag == "insert":
            columns += [(None, symbol) for symbol in right]
        else:
            columns += zip(left, right, strict=True)
    return tuple(columns)


def worst_mistakes(
    sources: Sequence[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    split: Callable[[str], list[str]],
    *,
    most: int,
) -> tuple[Mistake, ...]:
    """Return the predictions with most edits to their closest reference, at most `most`, worst first.

    Of equal numbers of edits the shorter reference is worse; then the order of the sources decides.
    """
    found = []
    for i, (prediction, choices) in enumerate(zip(predictions, references, strict=True)):
        wanted = [split(text) for text in choices]
        edits, index = closest(split(prediction), wanted)
        if edits:
            found.append((-edits, len(wanted[index]), i, index))
    return tuple(
        Mistake(
            source=sources[i],
            prediction=predictions[i],
            reference=references[i][index],
            edits=-edits,
            columns=align(split(predictions[i]), split(references[i][index])),
        )
        for edits, _, i, index in sorted(found)[:most]
    )
