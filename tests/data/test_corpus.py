"""Tests of the corpus file: pairs are read as written, in any order and in constant memory."""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data import Corpus, Pair, Report, corpus
from peephole.symbols import CharacterSymbols, WhitespaceSymbols

LETTERS = CharacterSymbols(list("abcd"), "NFC")
WORDS = WhitespaceSymbols(["x", "yy"], "NFC")


def build(pairs: list[tuple[str, str]], folder: Path, max_length: int = 1000) -> tuple[Corpus, Report]:
    report = Report("train.tsv")
    numbered = (Pair(source, target, line) for line, (source, target) in enumerate(pairs, start=1))
    return Corpus.build(numbered, LETTERS, WORDS, folder, max_length=max_length, report=report), report


PAIRS = st.lists(
    st.tuples(st.text("abcd", min_size=1, max_size=6), st.lists(st.sampled_from(["x", "yy", "?"]), min_size=1)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(pairs=PAIRS, data=st.data())
def test_pairs_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    texts = [(source, " ".join(target)) for source, target in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "ROWS", 4)
        folder = tmp_path_factory.mktemp("corpus")
        built, _ = build(texts, folder)
        for found in (built, Corpus.open(folder)):
            indices = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=30)), dtype=np.int64)
            sources, targets = found.pairs(indices)
            assert [ids.tolist() for ids in sources] == [LETTERS.encode(texts[i][0]) for i in indices]
            assert [ids.tolist() for ids in targets] == [WORDS.encode(texts[i][1]) for i in indices]
            assert {ids.dtype for ids in sources + targets} <= {np.dtype(np.int32)}
            assert found.source_lengths(indices).tolist() == [len(texts[i][0]) for i in indices]
            assert found.target_lengths(indices).tolist() == [len(pairs[i][1]) for i in indices]
            assert len(found) == len(texts)
            assert found.num_target_symbols == sum(len(target) + 1 for _, target in pairs)


def test_pairs_with_a_side_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    pairs = [("abc", "x x x"), ("abcd", "x"), ("a", "x yy x x"), ("a" * 100_000, "x"), ("b", "yy")]
    found, report = build(pairs, tmp_path, max_length=3)
    assert [ids.tolist() for ids in found.pairs([0, 1])[0]] == [LETTERS.encode("abc"), LETTERS.encode("b")]
    assert len(found) == 2
    assert report.lines() == ["3 pairs left out: longer than 3 symbols (first: train.tsv, line 2)"]


def test_an_interrupted_build_leaves_the_old_corpus(tmp_path: Path) -> None:
    build([("a", "x")], tmp_path)

    def pairs() -> Iterator[Pair]:
        yield Pair("b", "yy", 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Corpus.build(pairs(), LETTERS, WORDS, tmp_path, max_length=9, report=Report("t"))
    assert Corpus.open(tmp_path).pairs([0])[0][0].tolist() == LETTERS.encode("a")


def test_a_corpus_without_pairs_is_empty(tmp_path: Path) -> None:
    found, _ = build([("abc", "x")], tmp_path, max_length=1)
    assert (len(found), found.num_target_symbols) == (0, 0)
    assert found.source_lengths(np.array([], dtype=np.int64)).tolist() == []


def test_building_takes_the_same_memory_for_any_number_of_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "ROWS", 256)

    def peak(size: int) -> int:
        pairs = (Pair("abcd" * 10, "x yy " * 10, line) for line in range(size))
        tracemalloc.start()
        Corpus.build(pairs, LETTERS, WORDS, tmp_path / str(size), max_length=99, report=Report("t"))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for size in (512, 8192):
        (tmp_path / str(size)).mkdir()
    small, large = peak(512), peak(8192)
    # 16 times the pairs and 30 more record batches, each with some hundred bytes of views
    assert large < small + 64_000
    assert (tmp_path / "8192" / corpus.FILE_NAME).stat().st_size > 8192 * 40 * 4 > 10 * large


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_releases_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "MOST_RESIDENT", 1 << 20)
    found, _ = build([("abcd" * 10, "x yy " * 10)] * 40_000, tmp_path)
    size = (tmp_path / corpus.FILE_NAME).stat().st_size

    def resident() -> int:
        """Return how many bytes of the file are mapped into this process's memory."""
        maps = Path("/proc/self/smaps").read_text(encoding="utf-8").split(str(tmp_path / corpus.FILE_NAME))[1:]
        return sum(int(found[1]) * 1024 for m in maps if (found := re.search(r"Rss:\s+(\d+) kB", m)))

    for start in range(0, len(found), 10_000):
        indices = np.arange(start, start + 10_000)
        found.source_lengths(indices)
        found.pairs(indices)
        assert resident() <= 1 << 20 < size / 9
