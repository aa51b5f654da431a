"""Tests the ids of what can be copied from a source, for each kind of symbols."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.symbols import (
    UNK,
    CharacterSymbols,
    Symbols,
    WhitespaceSymbols,
    copied_tokens,
    encode_pair,
    find_copies,
    learn_symbols,
    with_copied,
)

LETTERS, TARGET = CharacterSymbols(list("abc"), "NFC"), CharacterSymbols(list("bcd"), "NFC")
WORDS = WhitespaceSymbols(["the", "cat"], "NFC")


def test_ids_of_a_pair() -> None:
    """x and y are in neither table, a in that of the source only; z occurs in the target only."""
    source, target = encode_pair("xbayx", "yxzbxad", LETTERS, TARGET)
    assert source == [[UNK, 7], [5, 4], [4, 8], [UNK, 9], [UNK, 7]]
    assert target == [9, 7, UNK, 4, 7, 8, 6]
    assert copied_tokens(target, find_copies(list("xbayx"), TARGET).texts, TARGET) == ["y", "x", "<unk>", *"bxad"]


def test_the_text_unk_is_copied_as_a_text() -> None:
    source, target = encode_pair("<unk> <s> the", "the <s> <unk> </s>", WORDS, WORDS)
    assert source == [[UNK, 6], [UNK, 7], [4, 4]]
    assert target == [4, 7, 6, UNK]
    assert WORDS.join(copied_tokens(target, ("<unk>", "<s>"), WORDS)) == "the <s> <unk> <unk>"


def test_a_target_without_copies_has_the_ids_of_its_table() -> None:
    assert encode_pair("cat", "the dog", WORDS, WORDS) == ([[5, 5]], [4, UNK])
    assert with_copied([4, UNK], ["the", "dog"], ("cow",), WORDS) == [4, UNK]


@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe", "unigram"])
@given(st.lists(st.sampled_from(["ab", "ba", "aab", "한", "xyz", "ab한", "<unk>"]), min_size=1))
def test_a_source_is_copied_to_its_text(kind: str, words: list[str]) -> None:
    table, text = _table(kind), " ".join(words)
    source, target = encode_pair(text, text, table, table)
    assert [copy for _, copy in source] == target
    assert UNK not in target
    texts = find_copies(table.split(text), table).texts
    assert table.join(copied_tokens(target, texts, table)) == text
    assert max(target) < len(table) + len(texts)


_TABLES: dict[str, Symbols] = {}


def _table(kind: str) -> Symbols:
    """Return a table that knows a and b only."""
    if kind not in _TABLES:
        texts = ["ab ba aab b a", "ab a"] * 3
        _TABLES[kind] = learn_symbols(kind, texts, vocabulary_size=30, min_count=1, normalize="NFC")
    return _TABLES[kind]
