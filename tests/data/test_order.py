"""Tests of the order of examples: the permutation computed on the fly, and batches from any start."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data import Batch, Corpus, Pair, Report, batches, order, permutation
from peephole.data.corpus import Located, Rows
from peephole.symbols import CharacterSymbols

STORED = [0, 4, 7, 9, 2, 3, 5, 8, 6, 1]
LETTERS = CharacterSymbols(list("abcd"), "NFC")


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**40), st.integers(0, 2**20))
def test_permutation_holds_every_index_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(permutation(size, seed=seed, epoch=epoch).tolist()) == list(range(size))


@settings(deadline=None)
@given(st.integers(1, 10**12), st.integers(0, 99), st.integers(0, 10**12), st.integers(0, 50))
def test_slice_equals_that_of_the_whole_permutation(size: int, seed: int, start: int, length: int) -> None:
    start %= size
    part = permutation(size, seed=seed, epoch=3, start=start, stop=start + length)
    each = [permutation(size, seed=seed, epoch=3, start=i, stop=i + 1) for i in range(start, start + length)]
    assert part.tolist() == [int(i) for one in each for i in one]
    assert len(part) == min(length, size - start)
    assert len(set(part.tolist())) == len(part)
    assert all(0 <= i < size for i in part.tolist())


def test_permutations_stay_the_same_in_every_version() -> None:
    """Compare with stored values: a stored run resumes with this permutation, and no independent reference exists."""
    assert permutation(10, seed=1, epoch=0).tolist() == STORED
    assert permutation(10, seed=1, epoch=0, stream=1).tolist() != STORED


def test_seed_epoch_and_stream_each_change_the_permutation() -> None:
    names = ("seed", "epoch", "stream")
    found = {tuple(permutation(50, **dict(zip(names, key, strict=True)))) for key in np.ndindex(4, 4, 4)}
    assert len(found) == 64


@pytest.mark.parametrize("size", [2, 5])
def test_every_pair_of_positions_is_about_as_likely(size: int) -> None:
    epochs = 100 * size * (size - 1)
    counts = np.zeros((size, size))
    for epoch in range(epochs):
        first, second = permutation(size, seed=5, epoch=epoch, stop=2)
        counts[first, second] += 1
    assert np.trace(counts) == 0
    off = counts[~np.eye(size, dtype=bool)]
    # 100 expected, standard deviation 10: chance exceeds five deviations in one of 10^6 entries
    assert np.abs(off - 100).max() < 50


def make_corpus(folder: Path, lengths: list[tuple[int, int]]) -> Corpus:
    pairs = (Pair("abcd"[i % 4] * s, "abcd"[i % 3] * t, i) for i, (s, t) in enumerate(lengths))
    return Corpus.build(pairs, LETTERS, LETTERS, folder, max_length=10**6, report=Report("t"))


def equal(one: Batch, other: Batch) -> bool:
    """Return whether two batches hold the same arrays."""
    names = ("source", "source_lengths", "target", "target_lengths", "examples")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, window=st.integers(1, 70), batch_symbols=st.integers(1, 120), data=st.data())
def test_batches_hold_every_pair_once_and_start_anywhere(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[tuple[int, int]],
    window: int,
    batch_symbols: int,
    data: st.DataObject,
) -> None:
    corpus = make_corpus(tmp_path_factory.mktemp("corpus"), lengths)
    settings = {"seed": 7, "epoch": 2, "batch_symbols": batch_symbols}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "WINDOW", window)
        found = list(batches(corpus, **settings))
        start = data.draw(st.integers(0, len(found) + 2))
        rest = list(batches(corpus, start=start, **settings))
    assert sorted(i for batch in found for i in batch.examples.tolist()) == list(range(len(lengths)))
    for batch in found:
        assert [(s, t - 1) for s, t in zip(batch.source_lengths, batch.target_lengths, strict=True)] == [
            lengths[i] for i in batch.examples
        ]
        assert [row[0] for row in batch.source.tolist()] == [4 + i % 4 for i in batch.examples]
        assert len(batch) == 1 or (
            batch.target.size <= batch_symbols and batch.source.size <= order.SOURCE_FACTOR * batch_symbols
        )
    expected = list(islice(found, start, None))
    assert len(rest) == len(expected)
    assert all(map(equal, rest, expected))


def test_skipped_batches_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path, [(5, 5)] * 40)
    monkeypatch.setattr(order, "WINDOW", 16)
    read_indices: list[int] = []
    read = corpus.read

    def read_and_note(located: Located) -> tuple[Rows, Rows]:
        read_indices.extend((located.source.starts // 5).tolist())  # each source has 5 symbols
        return read(located)

    monkeypatch.setattr(corpus, "read", read_and_note)
    found = list(batches(corpus, seed=1, epoch=0, batch_symbols=12, start=15))
    assert read_indices == [int(i) for batch in found for i in batch.examples]
    assert 0 < len(read_indices) < 12


def test_batches_group_similar_lengths_in_random_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    lengths = [(int(s), int(t)) for s, t in generator.integers(1, 60, (4000, 2))]
    corpus = make_corpus(tmp_path, lengths)
    found = list(batches(corpus, seed=1, epoch=0, batch_symbols=500))
    cells = sum(batch.target.size for batch in found)
    assert sum(batch.num_symbols for batch in found) > 0.98 * cells
    longest = [batch.target.shape[1] for batch in found]
    rising = sum(a <= b for a, b in pairwise(longest))
    assert 0.4 < rising / (len(longest) - 1) < 0.6


def test_batch_size_is_limited_by_sources_and_targets(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [(30, 1)] * 24)
    # 20 rows of 2 would fit on the target side, but the 4 · 40 source positions hold only 5 rows of 30
    assert [len(batch) for batch in batches(corpus, seed=1, epoch=0, batch_symbols=40)].count(5) == 4
    assert {len(batch) for batch in batches(corpus, seed=1, epoch=0, batch_symbols=200)} == {24}

    # The longest source need not be the last: four of length 30 precede sources of length 1 with longer targets
    mixed = make_corpus(tmp_path, [(30, 1)] * 4 + [(1, 2)] * 14)
    shapes = sorted(batch.source.shape for batch in batches(mixed, seed=1, epoch=0, batch_symbols=40))
    assert shapes == [(5, 30), (13, 1)]


def test_each_window_shuffles_its_batches_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW", 20)
    corpus = make_corpus(tmp_path, [(1, 1 + i) for i in range(100)])
    lengths = [batch.target.shape[1] for batch in batches(corpus, seed=1, epoch=0, batch_symbols=1)]
    windows = [lengths[start : start + 20] for start in range(0, 100, 20)]
    assert len({tuple(np.argsort(window).tolist()) for window in windows}) == 5


def test_epochs_and_seeds_group_pairs_differently(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [(5, 5)] * 200)

    def groups(seed: int, epoch: int) -> set[tuple[int, ...]]:
        found = batches(corpus, seed=seed, epoch=epoch, batch_symbols=30)
        return {tuple(sorted(batch.examples.tolist())) for batch in found}

    assert groups(1, 0) == groups(1, 0)
    assert not groups(1, 0) & groups(1, 1)
    assert not groups(1, 0) & groups(2, 0)
