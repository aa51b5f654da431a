"""Tests of the dev split: a source's hash alone decides on which side all its pairs are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data.split import HASHES, Holdout, source_hash


def held_out(sources: list[str], fraction: float, limit: int) -> frozenset[str]:
    holdout = Holdout(fraction, limit)
    for source in sources:
        holdout.add(source)
    return holdout.sources()


def reference_held_out(sources: list[str], fraction: float, limit: int, least: int) -> frozenset[str]:
    """Return the sources held out by the documented rule, computed with all sources in memory."""
    ordered = sorted(set(sources), key=source_hash)
    if len(ordered) < 2:
        return frozenset()
    low = [source for source in ordered if source_hash(source) < int(max(fraction, 0.1) * HASHES)]
    kept = low[:1]
    for source in low[1:]:
        pairs = sum(map(sources.count, [*kept, source]))
        if pairs > limit or (source_hash(source) >= int(fraction * HASHES) and pairs > least):
            break
        kept.append(source)
    kept = kept or ordered[:1]
    return frozenset(kept[:-1] if len(kept) == len(ordered) else kept)


SOURCES = st.lists(st.sampled_from([f"word{i}" for i in range(40)]), min_size=1, max_size=120)


@settings(deadline=None)
@given(SOURCES, st.floats(0.0001, 0.9999), st.integers(1, 30), st.integers(1, 12), st.randoms())
def test_lowest_hashes_are_held_out_in_any_file_order(
    sources: list[str], fraction: float, limit: int, least: int, random: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peephole.data.split.LEAST", least)
        check_held_out(sources, fraction, limit, least, random)


def check_held_out(sources: list[str], fraction: float, limit: int, least: int, random: st.DataObject) -> None:
    expected = reference_held_out(sources, fraction, limit, least)
    assert held_out(sources, fraction, limit) == expected
    shuffled = sorted(sources, key=lambda _: random.random())
    assert held_out(shuffled, fraction, limit) == expected
    assert set(sources) - expected
    assert bool(expected) == (len(set(sources)) > 1)


def test_held_out_share_matches_the_fraction() -> None:
    sources = [f"source {i}" for i in range(20_000)]
    assert 300 < len(held_out(sources, 0.02, 10**6)) < 500
    assert len(held_out(sources, 0.02, 100)) == 100
    assert held_out(sources, 0.02, 100) < held_out(sources, 0.02, 200)


@pytest.mark.parametrize(("number", "low", "high"), [(50, 1, 12), (500, 30, 70), (2000, 100, 100), (4000, 100, 100)])
def test_of_few_pairs_a_hundred_are_held_out_but_at_most_a_tenth(number: int, low: int, high: int) -> None:
    sources = [f"source {i}" for i in range(number)]
    found = held_out(sources, 0.02, 10**6)
    assert low <= len(found) <= high
    assert held_out(sources, 0.02, 5) == frozenset(sorted(found, key=source_hash)[:5])


def test_a_hash_is_the_same_on_every_machine() -> None:
    assert source_hash("한국 👍") == 0xDDB1CD79ED04EB55
