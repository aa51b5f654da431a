"""Tests of the error analysis against counts made by hand and by loops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from peephole.evaluation.confusions import count_confusions, quality_by_length
from peephole.evaluation.metrics import symbol_error_rate

PREDICTED = [["a", "b"], ["a", "x", "c"], [], ["c", "c"]]
WANTED = [[["a", "b"]], [["z", "z", "z"], ["a", "b", "c"]], [["b"]], [["c"]]]


def test_confusions_are_counted_against_the_closest_reference() -> None:
    found = count_confusions(PREDICTED, WANTED)
    assert {(e.reference, e.predicted): e.count for e in found.errors} == {
        ("b", "x"): 1,
        ("b", None): 1,
        (None, "c"): 1,
    }
    assert found.right == {"a": 2, "b": 1, "c": 2}
    assert (found.num_edits, found.num_symbols) == (3, 7)
    assert found.frequent(2) == ["b", "c"]
    shares = found.shares(["b", "c", "x"])
    assert shares == [[1 / 3, 0.0, 1 / 3], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert found.num_edits / found.num_symbols == pytest.approx(symbol_error_rate(PREDICTED, WANTED) / 100)


def test_quality_by_length_is_that_of_loops() -> None:
    rng = random.Random(1)
    lengths = [rng.choice([1, 2, 2, 2, 3, 5, 8, 13]) for _ in range(300)]
    right = [rng.random() < 1 / length for length in lengths]
    groups = quality_by_length(lengths, right, groups=5)
    assert sum(group.count for group in groups) == 300
    assert [group.longest for group in groups[:-1]] < [group.shortest for group in groups[1:]]
    for group in groups:
        marks = [mark for length, mark in zip(lengths, right, strict=True) if group.shortest <= length <= group.longest]
        assert len(marks) == group.count
        assert group.exact_match == pytest.approx(100 * np.mean(marks))
        spread = 1.96 * 100 * np.std(marks) / np.sqrt(len(marks))  # of a normal distribution
        assert group.high - group.low == pytest.approx(2 * spread, abs=4)
