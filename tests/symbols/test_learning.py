"""Learning which symbols there are: bounded, and without leaving traces in the process."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from peephole.symbols import learning as vocabulary
from peephole.symbols.learning import count_symbols, train_segmenter


def pieces(kind: str, words: dict[str, int], num_pieces: int, min_count: int = 1) -> dict[str, int]:
    description = json.loads(train_segmenter(kind, Counter(words), num_pieces=num_pieces, min_count=min_count))
    assert description["added_tokens"] == []
    vocab = description["model"]["vocab"]
    return vocab if kind == "bpe" else {piece: i for i, (piece, _) in enumerate(vocab)}


def test_frequent_symbols_survive_a_counting_that_forgets() -> None:
    texts = [["the", f"word{i}", "a"] for i in range(1000)]
    counts = count_symbols(texts, most=50)
    assert len(counts) <= 50
    assert (counts["the"], counts["a"]) == (1000, 1000)


def test_nothing_is_forgotten_below_the_bound() -> None:
    assert count_symbols([["a", "b"], ["b"]], most=2) == {"a": 1, "b": 2}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_an_alphabet_larger_than_the_vocabulary_is_cut(kind: str) -> None:
    words = {chr(0x4E00 + i): 100 - i for i in range(50)}
    found = pieces(kind, words, num_pieces=10)
    assert len(found) <= 10
    assert found[" "] == 0
    assert {"▁", *(chr(0x4E00 + i) for i in range(8))} <= found.keys()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_number_of_pieces_is_kept_to(kind: str) -> None:
    words = {f"{a}{b}{a}": 3 for a in ("ab", "cd", "ef", "gh") for b in ("xy", "zw", "uv")}
    assert 20 < len(pieces(kind, words, num_pieces=25)) <= 25


def test_word_counts_weigh_even_when_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"xyxy": 100_000, "abab": 1000, "cdcd": 10}
    full = list(vocabulary._words_to_learn(Counter(words), set()))
    monkeypatch.setattr(vocabulary, "WORDS_LEARNED", 1010)
    scaled = list(vocabulary._words_to_learn(Counter(words), set()))
    assert [len(text.split()) for text in full] == [100_000, 1000, 10]
    assert [len(text.split()) for text in scaled] == [999, 9, 1]
    assert [set(text.split()) for text in scaled] == [{"xyxy"}, {"abab"}, {"cdcd"}]


def test_a_long_word_is_learned_in_parts_and_a_rare_character_parts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LONGEST_WORD", 4)
    assert list(vocabulary._words_to_learn(Counter(["abcdefghiXjk"]), {"X"})) == ["abcd", "efgh", "i", "jk"]


@pytest.mark.parametrize("before", [None, "true"])
def test_training_leaves_the_environment_as_it_was(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    pieces("bpe", {"abab": 5}, num_pieces=10)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before
