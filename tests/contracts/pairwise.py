"""Chooses few of the combinations of several parameters, such that every pair of their values is tested."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any


def covering(*parameters: Sequence[Any], strength: int = 2) -> list[tuple[Any, ...]]:
    """Return combinations of values that contain every pair of values of two different parameters.

    Most errors that need a combination at all need one of two or three values, and the full product tests each pair
    many times over. The choice is greedy and has no randomness: each combination is the first, in the order of the
    product, of those with the most pairs that no earlier one contains.

    Args:
        parameters: the values of each parameter.
        strength: the number of parameters whose values occur in every combination: 2 for pairs, 3 for triples.
    """
    choices = list(combinations(range(len(parameters)), strength))
    rows = list(product(*(range(len(values)) for values in parameters)))
    tuples = [{(columns, *(row[column] for column in columns)) for columns in choices} for row in rows]
    left = set().union(*tuples)
    chosen = []
    while left:
        best = max(range(len(rows)), key=lambda index: len(tuples[index] & left))
        left -= tuples[best]
        chosen.append(tuple(values[index] for values, index in zip(parameters, rows[best], strict=True)))
    return chosen
