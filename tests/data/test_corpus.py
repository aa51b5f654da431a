"""Tests of the corpus file: pairs are read as written, in any order and in constant memory."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import re
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.data import Corpus, Pair, Report, columns, corpus
from peephole.errors import RunError
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


def test_a_copy_outlives_its_original_and_is_not_pickled(tmp_path: Path) -> None:
    """The number of an open file names another file once it is closed, and in another process."""
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()
    found, _ = build([("ab", "x"), ("cd", "yy")], folders[0])
    copies = [copy.copy(found), copy.deepcopy(found)]
    with pytest.raises(TypeError, match=r"source\.values\.npy is an open file of this process and cannot be pickled; "):
        pickle.dumps(found)
    del found
    others = [build([("dd", "x"), ("dd", "x")], folder)[0] for folder in folders[1:]]
    for one in copies:
        assert [ids.tolist() for ids in one.pairs([0, 1])[0]] == [LETTERS.encode("ab"), LETTERS.encode("cd")]
    assert len(others) == 4


@settings(deadline=None)
@given(pairs=PAIRS, data=st.data())
def test_pairs_are_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    texts = [(source, " ".join(target)) for source, target in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "OFFSETS_READ", 4)
        patch.setattr(columns, "OFFSETS_BUFFERED", 3)
        folder = tmp_path_factory.mktemp("corpus")
        built, _ = build(texts, folder)
        for found in (built, Corpus.open(folder)):
            indices = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=30)), dtype=np.int64)
            sources, targets = found.pairs(indices)
            assert [ids.tolist() for ids in sources] == [LETTERS.encode(texts[i][0]) for i in indices]
            assert [ids.tolist() for ids in targets] == [WORDS.encode(texts[i][1]) for i in indices]
            assert {ids.dtype for ids in sources + targets} <= {np.dtype(np.int32)}
            located = found.locate(indices)
            assert located.source.lengths.tolist() == [len(texts[i][0]) for i in indices]
            assert located.target.lengths.tolist() == [len(pairs[i][1]) for i in indices]
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
    assert found.locate(np.array([], dtype=np.int64)).source.lengths.tolist() == []
    assert found.pairs([]) == ([], [])


def test_building_takes_the_same_memory_for_any_number_of_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "OFFSETS_BUFFERED", 256)

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
    assert large < small + 4_000  # 16 times the pairs
    assert (tmp_path / "8192/source.values.npy").stat().st_size > 8192 * 40 * 4 > 10 * large


def test_reading_takes_the_same_memory_for_any_number_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "OFFSETS_READ", 4)

    def peak(size: int) -> int:
        (tmp_path / str(size)).mkdir()
        found, _ = build([("abcd" * 10, "x yy " * 10)] * size, tmp_path / str(size))
        indices = np.random.default_rng(1).permutation(size)[:100]
        tracemalloc.start()
        found.pairs(indices)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small, large = peak(2_000), peak(8_000)
    assert large < small + 8_000 < 8_000 * 40 * 4 / 10


@pytest.mark.parametrize("name", corpus.FILE_NAMES)
@pytest.mark.parametrize("size", [0, 100, -4, 4])
def test_a_file_that_changes_its_size_under_a_reader_is_a_one_line_error(size: int, name: str, tmp_path: Path) -> None:
    """A mapped file that is cut off would end the process with SIGBUS."""
    found, _ = build([("abcd", "x yy x")] * 5000, tmp_path)
    path = tmp_path / name
    whole = path.stat().st_size
    located = found.locate(np.arange(5000))
    os.truncate(path, size if size in (0, 100) else whole + size)
    message = "^" + re.escape(f"{path}: has changed while it was used: wanted {whole} bytes, got {path.stat().st_size}")
    with pytest.raises(RunError, match=message):
        found.pairs([3])
    if "values" in name and size < 4:
        with pytest.raises(RunError, match=message):
            found.read(located)


def test_a_file_that_cannot_be_read_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = build([("abcd", "x yy x")], tmp_path)

    def fail(*_: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(RunError, match=r"offsets\.npy: cannot be read: Input/output error$"):
        found.pairs([0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_are_closed_with_the_corpus(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    found, _ = build([("abcd", "x yy x")], tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 4
    del found
    assert len(os.listdir("/proc/self/fd")) == before


def test_numpy_reads_the_files(tmp_path: Path) -> None:
    build([("ab", "x"), ("c", "yy x"), ("dab", "x")], tmp_path)
    arrays = {name: np.load(tmp_path / name) for name in corpus.FILE_NAMES}
    ids = [LETTERS.encode("ab"), LETTERS.encode("c"), LETTERS.encode("dab")]
    assert arrays["source.values.npy"].tolist() == [i for row in ids for i in row]
    assert arrays["source.offsets.npy"].tolist() == [0, 2, 3, 6]
    assert arrays["target.offsets.npy"].tolist() == [0, 1, 3, 4]
    assert {name: array.dtype for name, array in arrays.items()} == {
        name: np.dtype(np.int32 if "values" in name else np.int64) for name in corpus.FILE_NAMES
    }


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), max_size=20),
    dtype=st.sampled_from([np.float16, np.float32, np.int32]),
    width=st.none() | st.integers(1, 4),
    data=st.data(),
)
def test_columns_hold_rows_of_vectors_too(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    dtype: type[np.generic],
    width: int | None,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("column")
    draw = np.random.default_rng(len(lengths))
    rows = [draw.normal(0, 9, (length,) if width is None else (length, width)).astype(dtype) for length in lengths]
    values, offsets = (folder / name for name in columns.file_names("source"))
    with open(values, "wb") as first, open(offsets, "wb") as second:
        writer = columns.ColumnWriter(first, second, dtype, width)
        for row in rows:
            writer.append(row.tobytes(), len(row))
        writer.finish()
    assert values.stat().st_size == 128 + sum(row.nbytes for row in rows)
    column = columns.Column(folder, "source")
    assert (len(column), column.num_values) == (len(rows), sum(lengths))
    indices = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)) if rows else [], dtype=np.int64)
    found = column.rows(column.spans(indices))
    for index, row in zip(indices, found, strict=True):
        assert row.dtype == dtype
        assert row.shape == rows[index].shape
        assert row.tobytes() == rows[index].tobytes()
