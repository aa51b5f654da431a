"""Tests that a table which grows keeps the ids of its symbols, and counts what it cannot add."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.symbols import UNK, ListedSymbols, grow_symbols, learn_symbols

texts = st.lists(st.text("abcdé ", max_size=8), max_size=8)


@pytest.mark.parametrize("kind", ["characters", "whitespace"])
@given(old=texts, new=texts, vocabulary_size=st.integers(4, 10), min_count=st.integers(1, 3))
def test_old_symbols_keep_their_ids_and_new_ones_follow(
    kind: str, old: list[str], new: list[str], vocabulary_size: int, min_count: int
) -> None:
    table = learn_symbols(kind, old, vocabulary_size=12, min_count=1, normalize="NFC")
    before = table.to_json()
    growth = grow_symbols(table, new, vocabulary_size=vocabulary_size, min_count=min_count)
    grown = growth.symbols
    assert isinstance(grown, ListedSymbols)
    assert table.to_json() == before
    assert grown.tokens(range(len(table))) == table.tokens(range(len(table)))
    assert grown.tokens(range(len(table), len(grown))) == [symbol for symbol, _ in growth.added]
    assert len(grown) <= max(vocabulary_size, len(table))
    counts = Counter(symbol for text in new for symbol in table.split(text) if table.token_ids([symbol]) == [UNK])
    assert dict(growth.added + growth.unknown) == counts
    assert all(count >= min_count for _, count in growth.added)
    if growth.unknown and growth.unknown[0][1] >= min_count:
        assert len(grown) >= vocabulary_size
    left = {symbol for symbol, _ in growth.unknown}
    assert {symbol for text in new for symbol in grown.split(text) if grown.token_ids([symbol]) == [UNK]} == left


def test_more_frequent_symbols_come_first() -> None:
    table = learn_symbols("whitespace", ["b"], vocabulary_size=8, min_count=1, normalize="NFC")
    growth = grow_symbols(table, ["z a z", "c b"], vocabulary_size=7, min_count=1)
    assert growth.added == [("z", 2), ("a", 1)]
    assert growth.unknown == [("c", 1)]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords_do_not_grow(kind: str) -> None:
    table = learn_symbols(kind, ["low lower lowest"] * 9, vocabulary_size=20, min_count=1, normalize="NFC")
    growth = grow_symbols(table, ["low é", "éé lower ß"], vocabulary_size=100, min_count=1)
    assert growth.symbols is table
    assert growth.added == []
    assert Counter("".join(symbol * count for symbol, count in growth.unknown)) == Counter("éééß")
