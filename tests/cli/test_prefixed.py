"""Tests of `peephole predict --prefixed`: lines with a source and a target prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

from peephole.cli.sources import read_tasks
from peephole.data import Report
from peephole.model import load

from .conftest import Peephole

SOURCES = ["cab", "bad", "abba"]


def rows(*pairs: tuple[str, ...]) -> str:
    return "".join("\t".join(pair) + "\n" for pair in pairs)


def test_targets_begin_with_the_prefix(peephole: Peephole, toy_file: Path) -> None:
    model = load(toy_file)
    prefixes = [best.tokens[-1] for [best] in model.predict(SOURCES)]  # differ from the unconstrained first symbols
    wanted = [best.text for [best] in model.predict(SOURCES, prefixes=prefixes)]
    stdin = rows(*zip(SOURCES, prefixes, strict=True))
    done = peephole("predict", toy_file, "--prefixed", stdin=stdin).succeeded()
    assert done.lines == wanted
    assert all(text.split()[0] == prefix for text, prefix in zip(wanted, prefixes, strict=True))
    assert done.err == ""


def test_an_empty_prefix_does_not_constrain(peephole: Peephole, toy_file: Path) -> None:
    wanted = peephole("predict", toy_file, stdin="cab\nbad\n").succeeded().lines
    assert peephole("predict", toy_file, "--prefixed", stdin="cab\t\nbad\t\r\n").succeeded().lines == wanted


def test_a_line_without_a_tab_is_bad(peephole: Peephole, toy_file: Path) -> None:
    lines = "bad\t\ncab\n\n"
    message = "wanted a source, a tab and a prefix, got no tab"
    peephole("predict", toy_file, "--prefixed", stdin=lines).failed(f"stdin, line 2: {message}")
    done = peephole("predict", toy_file, "--prefixed", "--bad-lines", "skip", stdin=lines).succeeded()
    assert done.lines == [*peephole("predict", toy_file, stdin="bad\n").lines, "", ""]
    assert done.err == "peephole: 2 lines skipped: wrong columns (first: stdin, line 2)\n"


def test_prefix_of_an_empty_source_is_ignored(peephole: Peephole, toy_file: Path) -> None:
    first = peephole("predict", toy_file, stdin="cab\n").succeeded().lines
    done = peephole("predict", toy_file, "--prefixed", stdin="\tK\n \t" + "K " * 99 + "\ncab\t\n").succeeded()
    assert done.lines == ["", "", *first]
    assert done.err.startswith("peephole: stdin, line 1: is empty;")


def test_unknown_symbols_of_a_prefix_are_counted(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--prefixed", stdin=rows(("cab", ""), ("bad", "ZZ Q"))).succeeded()
    assert done.err == (
        "peephole: stdin, line 2: 'ZZ' was not seen in training; such symbols are read as <unk>\n"
        "peephole: 2 unknown symbols in all were read as <unk>\n"
    )


TOO_LONG = (
    "wanted a prefix of fewer than 29 symbols, the most of its target (search.max_length_factor, "
    "search.max_length_extra), got 40"
)


@pytest.mark.parametrize(
    ("line", "message"),
    [("cab\ta\tb", "wanted a source, a tab and a prefix, got 3 columns"), ("cab\t" + "K " * 40, TOO_LONG)],
)
@pytest.mark.parametrize("before", [1, 1025])
def test_bad_line_is_reported_after_the_lines_before_it(
    peephole: Peephole, toy_file: Path, line: str, message: str, before: int
) -> None:
    """Check the first read and a later one: one read takes fewer than 1,025 lines."""
    options = ("--prefixed", "--beam-size", 1)
    done = peephole("predict", toy_file, *options, stdin="cab\t\n" * before + line + "\n")
    assert done.lines == peephole("predict", toy_file, "--beam-size", 1, stdin="cab\n" * before).lines
    done.failed(f"stdin, line {before + 1}: {message}")


def test_lines_keep_all_but_their_ends(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbfa\r\n b \tc \n\n\rd")
    tasks = read_tasks(str(tmp_path / "lines"), lambda line: (line, None), skip=False, report=Report("lines", "line"))
    assert [task.source for task in tasks] == ["a", " b \tc ", "", "\rd"]


def test_targets_contain_the_texts_of_an_option(peephole: Peephole, toy_file: Path) -> None:
    wanted = [best.text for [best] in load(toy_file).predict(SOURCES, must_contain=[["K K", "B"]] * 3)]
    stdin = "".join(f"{source}\n" for source in SOURCES)
    done = peephole("predict", toy_file, "--must-contain", "K K", "--must-contain", "B", stdin=stdin).succeeded()
    assert done.lines == wanted
    assert all("K K" in line and "B" in line for line in done.lines)
    failed = peephole("predict", toy_file, "--must-contain", "K Q", stdin=stdin)
    message = "must_contain[0]: wanted texts of symbols seen in training, got 'K Q' with 'Q'"
    assert (failed.code, failed.err) == (1, f"peephole: {message}\n")
