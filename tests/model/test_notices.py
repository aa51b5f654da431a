"""Tests of notices: each call collects its own unknown symbols and its truncated and empty sources."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import peephole
from peephole.errors import PeepholeError, PrefixError
from peephole.model import Model, Notice, Notices
from peephole.model.pairs import score_pairs


@pytest.fixture(scope="module")
def short(toy: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return the toy model with max_length 4."""
    path = tmp_path_factory.mktemp("short") / "short.safetensors"
    config = toy.config.with_values({"max_length": 4})
    Model(config, toy.source_symbols, toy.target_symbols, files=toy.files).save(path)
    return peephole.load(path)


SOURCES = ["ab", "axbx", "", "abcxe", "xbcdxx"]
SOURCE_NOTICES = [
    Notice("source", 1, ("x", "x"), 4, 4),
    Notice("source", 2, (), 0, 0),
    Notice("source", 3, ("x",), 5, 4),
    Notice("source", 4, ("x",), 6, 4),  # the symbols past the fourth are not read
]


def test_predictions_report_unknown_symbols_and_truncation(short: Model) -> None:
    notices = Notices()
    found = short.predict(SOURCES, nbest=2, notices=notices)
    assert [p[0].unknown for p in found] == [(), ("x", "x"), (), ("x",), ("x",)]
    assert [p[0].truncated for p in found] == [False, False, False, True, True]
    assert all((p.unknown, p.truncated) == (ps[0].unknown, ps[0].truncated) for ps in found for p in ps)
    assert notices.texts == SOURCE_NOTICES
    assert (notices.unknown, notices.num_truncated, notices.num_empty) == ({"x": 4}, 2, 1)
    assert notices.slow_search is None


def test_unknown_symbols_are_counted_in_whole_texts(short: Model) -> None:
    assert short.unknown_symbols(SOURCES, ["B B B B Q"]) == {"x": 6, "Q": 1}


def test_first_index_shifts_the_source_indices(short: Model) -> None:
    notices = Notices()
    short.predict(SOURCES, prefixes=["", "Q", "", "", ""], first_index=10, notices=notices)
    shifted = [notice._replace(source_index=notice.source_index + 10) for notice in SOURCE_NOTICES]
    assert notices.texts == [*shifted, Notice("target", 11, ("Q",), 1, 1)]


def test_scores_report_both_sides(toy: Model) -> None:
    notices = Notices()
    toy.score(["ab", "xb"], ["AH Q", "B"], notices=notices)
    assert notices.texts == [Notice("source", 1, ("x",), 2, 2), Notice("target", 0, ("Q",), 2, 2)]
    toy.teacher_forced(["ab"], ["Z"], notices=notices)  # notices accumulate over several calls
    assert notices.texts[2:] == [Notice("target", 0, ("Z",), 1, 1)]


def test_parts_of_scored_pairs_have_their_own_notices(toy: Model) -> None:
    pairs = [("ab", "AH B"), ("xb", "Q B")] * 600  # more pairs than one part holds
    parts = list(score_pairs(toy, pairs))
    assert len(parts) == 2
    assert [pair.line for part in parts for pair in part.pairs] == list(range(1, 1201))
    wanted = toy.score(*zip(*pairs[:2], strict=True), notices=Notices())
    assert [score for part in parts for score in part.log_probs] == wanted * 600
    for part in parts:
        assert part.notices.unknown == {"x": len(part.pairs) / 2, "Q": len(part.pairs) / 2}
        assert all(part.pairs[notice.source_index].source == "xb" for notice in part.notices.texts)


def test_a_call_that_collects_notices_does_not_warn(short: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short.predict(SOURCES, prefixes=["Q", "", "", "", ""], notices=Notices())
        short.score(["abcdx"], ["Q"], notices=Notices())


def test_notices_do_not_depend_on_warning_filters(short: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [p[0].unknown for p in short.predict(SOURCES)] == [(), ("x", "x"), (), ("x",), ("x",)]


def test_threads_get_their_own_predictions_and_notices(short: Model) -> None:
    """Start all threads together; each predicts many times, with different unknown symbols."""
    letters = ["w", "x", "y", "z"]
    tasks = {letter: [f"a{letter}b", f"abc{letter}{letter}", f"{letter}" * (2 + i)] for i, letter in enumerate(letters)}
    barrier = threading.Barrier(len(letters))
    results: dict[str, list[Any]] = {letter: [] for letter in letters}

    def work(letter: str) -> None:
        barrier.wait()
        for _ in range(40):
            notices = Notices()
            found = short.predict(tasks[letter], threads=1, notices=notices)
            results[letter].append(([p[0] for p in found], notices))

    threads = [threading.Thread(target=work, args=(letter,)) for letter in letters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for letter in letters:
        notices = Notices()
        alone = [p[0] for p in short.predict(tasks[letter], threads=1, notices=notices)]
        assert set(notices.unknown) == {letter}
        assert len(results[letter]) == 40
        assert all(result == (alone, notices) for result in results[letter])


def test_predict_splits_each_text_once(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    split_texts: list[str] = []
    kind = type(toy.source_symbols)
    split = kind.split
    monkeypatch.setattr(kind, "split", lambda self, text: split_texts.append(text) or split(self, text))
    toy.predict(["abc", "axb", "e"], nbest=2, notices=Notices())
    assert split_texts == ["abc", "axb", "e"]


def test_a_prefix_that_is_too_long_is_named(toy: Model) -> None:
    with pytest.raises(PrefixError, match=r"^prefix 1: wanted a prefix of fewer than 23 symbols, .* got 23$") as caught:
        toy.predict(["a", "a"], prefixes=["", "B " * 23])
    assert caught.value.index == 1
    assert isinstance(caught.value, PeepholeError)


def test_the_command_line_changes_no_warning_filters(toy_file: Path) -> None:
    """Check that an embedding program keeps its filters."""
    program = (
        "import sys, warnings, click\n"
        "from peephole.cli.predict import command\n"
        "before = list(warnings.filters)\n"
        "warnings.warn = lambda *a, **k: sys.exit('a warning was issued')\n"
        "command.main([sys.argv[1]], standalone_mode=False)\n"
        "assert warnings.filters == before"
    )
    command = [sys.executable, "-c", program, str(toy_file)]
    done = subprocess.run(command, input="xb\n\n", capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 2
    assert done.stderr.startswith("peephole: stdin, line 1: 'x' was not seen in training")
