"""Tests of batches: padding, lengths, and the rows of each process."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data import Batch, make_batch
from peephole.symbols import EOS, PAD

IDS = st.lists(st.integers(4, 99), min_size=1, max_size=9)
ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=9)


def batch_of(rows: list[tuple[list[int], list[int]]]) -> Batch:
    sources, targets = ([np.array(row[side], dtype=np.int32) for row in rows] for side in (0, 1))
    return make_batch(sources, targets, np.arange(len(rows)) * 10)


@settings(deadline=None)
@given(ROWS)
def test_batch_holds_the_rows_and_padding(rows: list[tuple[list[int], list[int]]]) -> None:
    batch = batch_of(rows)
    assert len(batch) == len(rows)
    assert batch.examples.tolist() == [10 * i for i in range(len(rows))]
    assert batch.source.shape[1] == max(len(source) for source, _ in rows)
    assert batch.target.shape[1] == max(len(target) for _, target in rows) + 1
    for i, (source, target) in enumerate(rows):
        assert batch.source[i].tolist() == source + [PAD] * (batch.source.shape[1] - len(source))
        ended = [*target, EOS]
        assert batch.target[i].tolist() == ended + [PAD] * (batch.target.shape[1] - len(ended))
        assert (batch.source_lengths[i], batch.target_lengths[i]) == (len(source), len(ended))
    assert batch.num_symbols == sum(len(target) + 1 for _, target in rows)
    arrays = (batch.source, batch.source_lengths, batch.target, batch.target_lengths, batch.examples)
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


@settings(deadline=None)
@given(ROWS, st.integers(1, 4))
def test_rows_of_all_processes_make_up_the_batch(rows: list[tuple[list[int], list[int]]], world_size: int) -> None:
    batch = batch_of(rows)
    parts = [batch.rows(rank, world_size) for rank in range(world_size)]
    assert sum(part.num_symbols for part in parts) == batch.num_symbols
    for row in range(len(batch)):
        part, part_row = parts[row % world_size], row // world_size
        for name in ("source", "source_lengths", "target", "target_lengths", "examples"):
            np.testing.assert_array_equal(getattr(part, name)[part_row], getattr(batch, name)[row])
