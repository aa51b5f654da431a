"""Tests of learning symbols: bounds on memory and time, and an unchanged environment."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter

import pytest

from peephole.symbols import learning as vocabulary
from peephole.symbols.learning import count_symbols, run_interruptibly, train_segmenter


def pieces(kind: str, words: dict[str, int], num_pieces: int, min_count: int = 1) -> dict[str, int]:
    description = json.loads(train_segmenter(kind, Counter(words), num_pieces=num_pieces, min_count=min_count))
    assert description["added_tokens"] == []
    vocab = description["model"]["vocab"]
    return vocab if kind == "bpe" else {piece: i for i, (piece, _) in enumerate(vocab)}


def test_bounded_counts_keep_frequent_symbols() -> None:
    texts = [["the", f"word{i}", "a"] for i in range(1000)]
    counts = count_symbols(texts, most=50)
    assert len(counts) <= 50
    assert (counts["the"], counts["a"]) == (1000, 1000)


def test_counts_below_the_bound_are_exact() -> None:
    assert count_symbols([["a", "b"], ["b"]], most=2) == {"a": 1, "b": 2}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_alphabet_is_limited_to_the_vocabulary_size(kind: str) -> None:
    words = {chr(0x4E00 + i): 100 - i for i in range(50)}
    found = pieces(kind, words, num_pieces=10)
    assert len(found) <= 10
    assert found[" "] == 0
    assert {"▁", *(chr(0x4E00 + i) for i in range(8))} <= found.keys()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_number_of_pieces_is_at_most_num_pieces(kind: str) -> None:
    words = {f"{a}{b}{a}": 3 for a in ("ab", "cd", "ef", "gh") for b in ("xy", "zw", "uv")}
    assert 20 < len(pieces(kind, words, num_pieces=25)) <= 25


def test_scaled_word_counts_keep_their_proportions(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"xyxy": 100_000, "abab": 1000, "cdcd": 10}
    full = list(vocabulary._training_words(Counter(words), set()))
    monkeypatch.setattr(vocabulary, "WORDS_LEARNED", 1010)
    scaled = list(vocabulary._training_words(Counter(words), set()))
    assert [len(text.split()) for text in full] == [100_000, 1000, 10]
    assert [len(text.split()) for text in scaled] == [999, 9, 1]
    assert [set(text.split()) for text in scaled] == [{"xyxy"}, {"abab"}, {"cdcd"}]


def test_words_are_split_at_the_maximal_length_and_rare_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LONGEST_WORD", 4)
    assert list(vocabulary._training_words(Counter(["abcdefghiXjk"]), {"X"})) == ["abcd", "efgh", "i", "jk"]


@pytest.mark.parametrize("before", [None, "true"])
def test_training_leaves_the_environment_as_it_was(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    pieces("bpe", {"abab": 5}, num_pieces=10)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_learning_in_threads_never_shows_one_the_environment_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins while the first one learns, and would learn on after the first one has ended."""
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    first_begins, second_begins, first_ended = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def words(*_: object) -> list[str]:
        if first_begins.is_set():
            second_begins.set()
            first_ended.wait(1)
        else:
            first_begins.set()
            second_begins.wait(0.2)
        seen.append(os.environ.get("TOKENIZERS_PARALLELISM"))
        return ["ab"]

    monkeypatch.setattr(vocabulary, "_training_words", words)
    first, second = (threading.Thread(target=pieces, args=("bpe", {"ab": 2}, 8)) for _ in range(2))
    first.start()
    assert first_begins.wait(10)
    second.start()
    first.join()
    first_ended.set()
    second.join()
    assert seen == ["false", "false"]
    assert "TOKENIZERS_PARALLELISM" not in os.environ


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals")
def test_a_signal_handlers_exception_ends_the_wait_for_a_library() -> None:
    class Alarm(Exception):
        pass

    def raise_alarm(*_: object) -> None:
        raise Alarm

    release = threading.Event()
    before = signal.signal(signal.SIGALRM, raise_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Alarm):
            run_interruptibly(lambda: release.wait(60))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        release.set()


def test_errors_of_the_library_are_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda: 1 // 0)
