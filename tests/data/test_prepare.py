"""Tests of preparation: from text files to training data, complete or not at all."""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from peephole.config import Config
from peephole.data import Prepared, prepare, reopen, split
from peephole.data.corpus import FILE_NAMES
from peephole.errors import DataError, RunError
from peephole.symbols import UNK

module = importlib.import_module("peephole.data.prepared")

WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]
PAIRS = [(word, " ".join(word.upper())) for word in WORDS] + [("bal", "B AH L"), ("cen", "S E N")]


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


def config(**values: Any) -> Config:
    return Config().with_values(values)


def texts(prepared: Prepared) -> list[tuple[str, str]]:
    """Return the training pairs as text, in the order of the corpus."""
    sources, targets = prepared.train.pairs(np.arange(len(prepared.train)))
    return [
        (prepared.source_symbols.decode(source.tolist()), prepared.target_symbols.decode(target.tolist()))
        for source, target in zip(sources, targets, strict=True)
    ]


def contents(prepared: Prepared) -> tuple[Any, ...]:
    """Return the training texts, dev pairs, symbol tables and report."""
    tables = prepared.source_symbols.to_json(), prepared.target_symbols.to_json()
    return texts(prepared), prepared.dev_pairs, tables, prepared.report


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.tsv", PAIRS)


def test_without_a_dev_set_some_sources_are_held_out(train: Path, tmp_path: Path) -> None:
    found = prepare(train, None, config(dev_fraction=0.1), tmp_path / "data")
    dev_sources = {source for source, _ in found.dev_pairs}
    assert 5 < len(found.dev_pairs) == len(dev_sources) < 30
    assert texts(found) == [pair for pair in PAIRS if pair[0] not in dev_sources]
    for source, references in found.dev_pairs:
        assert list(references) == [target for word, target in PAIRS if word == source]
    num_dev = sum(len(references) for _, references in found.dev_pairs)
    assert found.report == [
        f"{len(found.train)} training pairs; {num_dev} dev pairs of {len(dev_sources)} sources, held out by source",
        "source symbols: characters (single words or unspaced text: 1.0 tokens a line); 20 with the specials",
        "target symbols: whitespace (3.0 tokens a line, only 17 different ones); 21 with the specials",
    ]


def test_a_given_dev_set_is_grouped_by_source_and_overlap_is_counted(train: Path, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.tsv", [("new", "N"), ("bal", "X"), ("new", "N Y"), ("cen", "S"), ("new", "N")])
    found = prepare(train, dev, Config(), tmp_path / "data")
    assert found.dev_pairs == [("new", ("N", "N Y")), ("bal", ("X",)), ("cen", ("S",))]
    assert texts(found) == PAIRS
    assert found.report[0] == f"{len(PAIRS)} training pairs; 5 dev pairs of 3 sources, from {dev}"
    assert found.report[-1].startswith("warning: 2 of 3 dev sources are also in the training data")


def test_no_warning_without_overlap(train: Path, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.tsv", [("new", "N")])
    assert not any(line.startswith("warning") for line in prepare(train, dev, Config(), tmp_path / "data").report)


def test_sources_are_compared_in_normal_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "한국")
    train = write(tmp_path / "train.tsv", [("한국", "a"), ("나라", "b")])
    dev = write(tmp_path / "dev.tsv", [(decomposed, "é"), ("한국", "e\u0301"), (decomposed, "c")])
    found = prepare(train, dev, Config(), tmp_path / "data")
    assert found.dev_pairs == [("한국", ("é", "c"))]
    assert "warning: 1 of 1 dev sources" in found.report[-1]
    both = write(tmp_path / "both.tsv", [("한국", "a"), (decomposed, "b"), ("나라", "c"), ("말", "d")] * 3)
    found = prepare(both, None, config(dev_fraction=0.5), tmp_path / "split")
    held_out = {source for source, _ in found.dev_pairs}
    assert held_out
    assert not held_out & {source for source, _ in texts(found)}


def test_symbols_are_learned_from_training_pairs_alone(train: Path, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.tsv", [("new", "Q")])
    found = prepare(train, dev, Config(), tmp_path / "data")
    assert found.target_symbols.encode("Q") == [UNK]
    assert UNK in found.source_symbols.encode("new")


@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe", "unigram"])
def test_configured_symbols_are_used(kind: str, train: Path, tmp_path: Path) -> None:
    values = {"symbols.source": kind, "symbols.target": kind, "vocabulary_size": 40}
    found = prepare(train, None, config(**values), tmp_path / "data")
    assert found.source_symbols.kind == found.target_symbols.kind == kind
    assert len(found.target_symbols) <= 40
    assert f"source symbols: {kind} (as configured); {len(found.source_symbols)} with" in found.report[1]
    assert len(texts(found)) == len(found.train) > 100


def test_symbols_are_chosen_from_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 8)
    pairs = [(f"a{i}", "A") for i in range(40)] + [(f"b{i}", "A B A B C") for i in range(400)]
    found = prepare(write(tmp_path / "t.tsv", pairs), None, Config(), tmp_path / "data")
    assert found.target_symbols.kind == "whitespace"


def test_a_line_of_100_000_symbols_is_left_out_and_counted(tmp_path: Path) -> None:
    train = write(tmp_path / "t.tsv", [*PAIRS, ("a" * 100_000, "A"), ("c", "Ω " * 100_000)])
    dev = write(tmp_path / "d.tsv", [("new", "N"), ("a" * 100_000, "A")])
    found = prepare(train, dev, Config(), tmp_path / "data")
    assert texts(found) == PAIRS
    assert f"2 pairs left out: longer than 1000 symbols (first: {train}, line {len(PAIRS) + 1})" in found.report
    assert f"1 pair left out: longer than 1000 symbols (first: {dev}, line 2)" in found.report
    assert found.dev_pairs == [("new", ("N",))]
    assert found.target_symbols.encode("Ω") == [UNK]
    # Such lines are left out of a held-out dev set, too
    split = prepare(train, None, config(dev_fraction=0.5), tmp_path / "split")
    assert len(texts(split)) + sum(len(references) for _, references in split.dev_pairs) == len(PAIRS)


def test_skipped_lines_are_counted_once_however_often_the_file_is_read(train: Path, tmp_path: Path) -> None:
    with open(train, "ab") as file:
        file.write(b"one column\n\xff\ta\n")
    with pytest.raises(DataError, match=re.escape(f"{train}, line {len(PAIRS) + 1}: expected 2 columns")):
        prepare(train, None, Config(), tmp_path / "data")
    found = prepare(train, None, config(bad_lines="skip"), tmp_path / "data")
    assert found.report[-2:] == [
        f"1 pair skipped: wrong columns (first: {train}, line {len(PAIRS) + 1})",
        f"1 pair skipped: invalid UTF-8 (first: {train}, line {len(PAIRS) + 2})",
    ]


def test_one_pair_is_in_the_singular(tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.tsv", [("a", "b"), ("b" * 20, "c")]), write(tmp_path / "dev.tsv", [("c", "d")])
    found = prepare(train, dev, config(max_length=9), tmp_path / "data")
    assert found.report[0] == f"1 training pair; 1 dev pair of 1 source, from {dev}"


@pytest.mark.parametrize(
    ("pairs", "dev", "message"),
    [
        ([("a", "b")] * 50, None, "train.tsv: only duplicates of one pair, wanted at least two different pairs"),
        ([("a", "b")] * 50, [("c", "d")], "train.tsv: only duplicates of one pair"),
        ([("a", "b")], None, "train.tsv: only one pair, wanted at least two different pairs"),
        ([("a", "b"), ("a", "c")], None, "train.tsv: all pairs have the same source, so none can be held out"),
        ([("a" * 50, "b"), ("c" * 50, "d")], [("e", "f")], "train.tsv: no pairs left to train on; 2 pairs left out"),
        (PAIRS, [("e" * 50, "f")], "dev.tsv: no dev pairs left; 1 pair left out: longer than 9 symbols"),
    ],
)
def test_unusable_data_are_rejected_in_one_line(
    pairs: list[tuple[str, str]], dev: list[tuple[str, str]] | None, message: str, tmp_path: Path
) -> None:
    train = write(tmp_path / "train.tsv", pairs)
    dev_path = None if dev is None else write(tmp_path / "dev.tsv", dev)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        prepare(train, dev_path, config(max_length=9), tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert reopen(train, dev_path, config(max_length=9), tmp_path / "data") is None


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ([("a" * 2000, "b")], 20),
        ([("a" * 12, "b"), ("b" * 12, "c")], 20),
        ([(letter * 12, "b") for letter in "abcdefgh"], 3),
    ],
)
def test_pairs_that_are_too_long_are_not_the_dev_set(
    long: list[tuple[str, str]], short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long sources have the lowest hashes, so they are held out first."""
    hashes = {source: number for number, (source, _) in enumerate(long)}
    monkeypatch.setattr(split, "source_hash", lambda s: hashes[s] if s in hashes else split.HASHES // 2 + int(s))
    pairs = [*long, *((str(number), "c") for number in range(short))]
    train = write(tmp_path / "train.tsv", pairs)
    found = prepare(train, None, config(max_length=9, dev_limit=1), tmp_path / "data")
    assert found.dev_pairs == [("0", ("c",))]
    assert len(found.train) == short - 1
    counted = f"{len(long)} pair{'s' * (len(long) > 1)} left out: longer than 9 symbols"
    assert [line for line in found.report if "left out" in line] == [f"{counted} (first: {train}, line 1)"]


def test_what_to_set_where_the_limits_leave_too_few_sources(tmp_path: Path) -> None:
    wanted = {
        f"no pairs left to train on; 1 pair left out: longer than 9 symbols (first: {tmp_path}/train.tsv, line 31); "
        "30 held out: give a dev set, or a higher data.max_length",
        "wanted two sources that can be used, so that one is held out; 1 cannot: give a dev set, or a higher "
        "data.max_length",
    }
    found = set()
    for letters in range(20):  # either source may have the lower hash
        pairs = [("a" + "x" * (letters % 8), "b")] * 30 + [("c" * (12 + letters), "d")]
        train = write(tmp_path / "train.tsv", pairs)
        with pytest.raises(DataError, match=r"train\.tsv: ") as caught:
            prepare(train, None, config(max_length=9), tmp_path / "data")
        found.add(str(caught.value).removeprefix(f"{train}: "))
    assert found == wanted


def test_missing_files_are_named(train: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no.tsv: no such file"):
        prepare(tmp_path / "no.tsv", None, Config(), tmp_path / "data")
    with pytest.raises(DataError, match=r"no.tsv: no such file"):
        prepare(train, tmp_path / "no.tsv", Config(), tmp_path / "data")
    with pytest.raises(DataError, match=r"is a directory, wanted a file"):
        prepare(train, tmp_path, Config(), tmp_path / "data")


def test_two_sources_are_enough(tmp_path: Path) -> None:
    found = prepare(write(tmp_path / "t.tsv", [("a", "b"), ("c", "d")]), None, Config(), tmp_path / "data")
    assert sorted([*texts(found), *((source, refs[0]) for source, refs in found.dev_pairs)]) == [("a", "b"), ("c", "d")]
    assert len(found.train) == 1


def test_second_equal_call_reads_no_file(train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(train, None, Config(), tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_pairs", None)
        again = prepare(train, None, config(batch_symbols=77, hidden_size=4), tmp_path / "data")
        reopened = reopen(train, None, Config(), tmp_path / "data")
    assert contents(again) == contents(first)
    assert reopened is not None
    assert contents(reopened) == contents(first)


@pytest.mark.parametrize(
    "values", [{"dev_fraction": 0.3}, {"max_length": 3}, {"normalize": "none"}, {"symbols.source": "bpe"}]
)
def test_other_settings_prepare_again(values: dict[str, Any], train: Path, tmp_path: Path) -> None:
    prepare(train, None, Config(), tmp_path / "data")
    assert reopen(train, None, config(**values), tmp_path / "data") is None
    again = prepare(train, None, config(**values), tmp_path / "data")
    fresh = prepare(train, None, config(**values), tmp_path / "fresh")
    assert contents(again) == contents(fresh)


def test_a_changed_file_prepares_again(train: Path, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.tsv", [("new", "N")])
    prepare(train, dev, Config(), tmp_path / "data")
    write(dev, [("old", "N")])
    os.utime(dev, ns=(1, 1))
    assert prepare(train, dev, Config(), tmp_path / "data").dev_pairs == [("old", ("N",))]
    write(train, PAIRS[:-1])
    assert texts(prepare(train, dev, Config(), tmp_path / "data")) == PAIRS[:-1]
    assert prepare(train, None, Config(), tmp_path / "data").dev_pairs != [("old", ("N",))]


@pytest.mark.parametrize("name", ["prepared.json", *FILE_NAMES])
def test_a_damaged_preparation_is_done_again(name: str, train: Path, tmp_path: Path) -> None:
    first = contents(prepare(train, None, Config(), tmp_path / "data"))
    path = tmp_path / "data" / name
    path.write_bytes(path.read_bytes()[:-9])
    assert reopen(train, None, Config(), tmp_path / "data") is None
    assert contents(prepare(train, None, Config(), tmp_path / "data")) == first


KILLED = """
import importlib, os, signal, sys
from peephole.config import Config
module = importlib.import_module("peephole.data.prepared")
owner, name, calls, when = {point!r}
owner = {{"os": os, "corpus": module.Corpus, "module": module}}[owner]
original, count = getattr(owner, name), 0
def killing(*args, **settings):
    global count
    count += 1
    if count == calls and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **settings)
    if count == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, killing)
module.prepare({train!r}, None, Config().with_values({{"dev_fraction": 0.2}}), {folder!r})
"""


@pytest.mark.parametrize(
    "point",
    [
        ("module", "learn_symbols", 2, "before"),
        ("os", "fsync", 1, "before"),
        ("os", "replace", 1, "after"),
        ("os", "replace", 3, "after"),
        ("os", "fsync", 5, "before"),
        ("os", "replace", 5, "before"),
    ],
)
def test_killed_preparation_is_repeated_in_full(point: tuple[str, str, int, str], train: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    expected = contents(prepare(train, None, Config(), folder))
    program = KILLED.format(point=point, train=str(train), folder=str(folder))
    killed = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    # With the first settings: the remains of the second preparation must not be taken for the first
    assert reopen(train, None, Config(), folder) is None
    assert reopen(train, None, config(dev_fraction=0.2), folder) is None
    assert contents(prepare(train, None, Config(), folder)) == expected
    assert sorted(path.name for path in folder.iterdir()) == ["prepared.json", *sorted(FILE_NAMES)]


def test_other_files_in_the_folder_are_left_alone(train: Path, tmp_path: Path) -> None:
    prepare(train, None, Config(), tmp_path)
    prepare(train, None, config(max_length=3), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared.json", *sorted(FILE_NAMES), "train.tsv"]


def test_unwritable_folder_is_reported_in_one_line(
    train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: cannot be written: File exists"):
        prepare(train, None, Config(), tmp_path / "file")

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"data/target\.offsets\.npy: cannot be written: No space left on device"):
            prepare(train, None, Config(), tmp_path / "data")
    assert len(prepare(train, None, Config(), tmp_path / "data").train) > 100


def test_preparing_twice_gives_the_same_bytes(train: Path, tmp_path: Path) -> None:
    values = {"symbols.source": "bpe"}
    for name in ("one", "two"):
        prepare(train, None, config(**values), tmp_path / name)
    one, two = tmp_path / "one", tmp_path / "two"
    for name in ("prepared.json", *FILE_NAMES):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_parallel_files_are_prepared(tmp_path: Path) -> None:
    for name, side in (("t.en", 0), ("t.it", 1)):
        (tmp_path / name).write_text("".join(pair[side] + "\n" for pair in PAIRS), encoding="utf-8")
    path = f"{tmp_path / 't.en'},{tmp_path / 't.it'}"
    found = prepare(path, None, Config(), tmp_path / "data")
    assert len(found.train) + sum(len(references) for _, references in found.dev_pairs) == len(PAIRS)
    assert reopen(path, None, Config(), tmp_path / "data") is not None


def test_symbols_that_the_tables_lack_are_counted(train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peephole.data.columns.VALUES_READ", 7)
    letters = Counter("".join(source for source, _ in PAIRS))
    dev = write(tmp_path / "dev.tsv", [("xyqq", "N"), ("bal", "X")])
    settings = {"symbols.min_count": sorted(letters.values())[len(letters) // 2], "symbols.target": "characters"}
    found = prepare(train, dev, Config().with_values(settings), tmp_path / "data")
    tables = found.source_symbols, found.target_symbols
    shares = []
    for pairs in (PAIRS, [("xyqq", "N"), ("bal", "X")]):
        for side, symbols in enumerate(tables):
            ids = [i for pair in pairs for i in symbols.encode(pair[side])]
            share = 100 * ids.count(UNK) / len(ids)
            shares.append(f"{share:.0f} %" if share >= 10 else f"{share:.2g} %")
    assert shares[0] not in ("0 %", "100 %")
    assert found.report[3] == (
        f"read as <unk>: {shares[0]} of the source symbols of training, {shares[2]} of those of dev; "
        f"{shares[1]} of the target symbols of training, {shares[3]} of those of dev"
    )


def test_tables_without_any_symbol_are_an_error(train: Path, tmp_path: Path) -> None:
    message = r"train\.tsv: target symbols: none is left by symbols\.min_count=100000, symbols\.vocabulary_size=\d+$"
    with pytest.raises(DataError, match=message):
        prepare(train, None, Config().with_values({"symbols.min_count": 100_000}), tmp_path / "data")
