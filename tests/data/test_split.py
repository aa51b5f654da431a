"""Tests of the dev split: a source's hash alone decides on which side all its pairs are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data.split import HASHES, Holdout, source_hash


def held_out(sources: list[str], fraction: float, limit: int) -> frozenset[str]:
    holdout = Holdout(fraction, limit)
    for source in sources:
        holdout.add(source)
    return holdout.sources()


def reference_held_out(sources: list[str], fraction: float, limit: int) -> frozenset[str]:
    """Return the sources held out by the documented rule, computed with all sources in memory."""
    ordered = sorted(set(sources), key=source_hash)
    if len(ordered) < 2:
        return frozenset()
    low = [source for source in ordered if source_hash(source) < int(fraction * HASHES)]
    kept = low[:1]
    for source in low[1:]:
        if sum(map(sources.count, [*kept, source])) > limit:
            break
        kept.append(source)
    kept = kept or ordered[:1]
    return frozenset(kept[:-1] if len(kept) == len(ordered) else kept)


SOURCES = st.lists(st.sampled_from([f"word{i}" for i in range(40)]), min_size=1, max_size=120)


@settings(deadline=None)
@given(SOURCES, st.floats(0.0001, 0.9999), st.integers(1, 30), st.randoms())
def test_lowest_hashes_are_held_out_in_any_file_order(
    sources: list[str], fraction: float, limit: int, random: st.DataObject
) -> None:
    expected = reference_held_out(sources, fraction, limit)
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


def test_a_hash_is_the_same_on_every_machine() -> None:
    assert source_hash("한국 👍") == 0xDDB1CD79ED04EB55
