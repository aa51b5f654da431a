"""Tests the batches in which the engine's trainer measures losses."""

from __future__ import annotations

import numpy as np
import pytest

from peephole.model import file_trainer
from peephole.model.file_trainer import MOST_STEPS, batches_of


def shapes(lengths: list[int], batch_size: int) -> list[tuple[int, int]]:
    """Return pairs and source steps of each batch of frames; check that every pair is in one of them, in order."""
    sources = [np.full((length, 2), number, np.float32) for number, length in enumerate(lengths)]
    batches = list(batches_of(sources, [[number + 4] for number in range(len(lengths))], batch_size))
    assert [row[0] - 4 for batch in batches for row in batch.target.tolist()] == list(range(len(lengths)))
    assert [length for batch in batches for length in batch.source_lengths.tolist()] == lengths
    assert all((batch.source[:, 0, 0] == batch.target[:, 0] - 4).all() for batch in batches)
    return [batch.source.shape[:2] for batch in batches]


@pytest.mark.parametrize(
    ("lengths", "batch_size", "wanted"),
    [
        ([1] * 5, 2, [(2, 1), (2, 1), (1, 1)]),
        ([1] * 4, 2, [(2, 1), (2, 1)]),
        ([3, 3, 3, 3], 64, [(3, 3), (1, 3)]),
        ([1, 2, 3, 9, 10, 11], 64, [(3, 3), (1, 9), (1, 10), (1, 11)]),
        ([9, 1, 1], 64, [(1, 9), (2, 1)]),
        ([], 64, []),
    ],
)
def test_a_batch_has_few_pairs_and_few_source_steps(lengths, batch_size, wanted, monkeypatch) -> None:
    assert MOST_STEPS > 64 * 90  # batches of words and sentences are cut by their pairs
    monkeypatch.setattr(file_trainer, "MOST_STEPS", 10)
    assert shapes(lengths, batch_size) == wanted
