"""Tests of `peephole predict MODEL FILE…` and of `--bad-lines skip`: output line N belongs to input line N."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.make import pronounce
from peephole.model import load

from .conftest import ENVIRONMENT, Peephole


def test_files_are_predicted_in_order(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("a.txt", "a\r\nabc\r\n")
    peephole.write("b.txt.gz", gzip.compress("\ufeffcab\n\ne".encode()))
    done = peephole("predict", toy_file, "a.txt", "-", "b.txt.gz", stdin="ab\n").succeeded()
    assert done.lines == [pronounce(word) for word in ("a", "abc", "ab", "cab", "", "e")]
    assert done.err.splitlines() == [
        "peephole: b.txt.gz, line 2: is empty; the target of an empty source is empty",
        "peephole: 1 line in all was empty",
    ]


def test_several_files_number_their_own_lines(peephole: Peephole, toy_file: Path) -> None:
    """So the result of a file does not depend on the files before it, not even in sampling."""
    names = [peephole.write("a\tb.txt", "abc\ncab\n"), peephole.write("c.txt", "abc\n")]
    sampling = ("--temperature", "3", "--nbest", "2")
    both = peephole("predict", toy_file, *names, *sampling).succeeded().lines
    apart = [peephole("predict", toy_file, name, *sampling).succeeded().lines for name in names]
    assert [line.split("\t")[0] for line in both] == [r"a\tb.txt:1"] * 2 + [r"a\tb.txt:2"] * 2 + ["c.txt:1"] * 2
    assert [line.split("\t")[0] for line in apart[1]] == ["1", "1"]
    assert [line.split("\t")[1:] for line in both] == [line.split("\t")[1:] for line in apart[0] + apart[1]]
    entries = [json.loads(line) for line in peephole("predict", toy_file, *names, "--json").succeeded().lines]
    assert [(entry["file"], entry["line"], entry["source"]) for entry in entries] == [
        ("a\tb.txt", 1, "abc"),
        ("a\tb.txt", 2, "cab"),
        ("c.txt", 1, "abc"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt", "missing"], "missing: no such file"),
        (["a.txt", "."], ".: is a directory, wanted a file"),
        (["a.txt", "/dev/zero"], "/dev/zero: is a device, wanted a file or a pipe"),
        (["-", "a.txt", "-"], "stdin: wanted once among the files, as -, got twice"),
    ],
)
def test_files_are_checked_before_anything_is_predicted(
    peephole: Peephole, toy_file: Path, names: list[str], message: str
) -> None:
    peephole.write("a.txt", "a\n")
    assert peephole("predict", toy_file, *names, stdin="a\n").failed(message).out == ""


def test_error_in_a_file_names_it_after_the_lines_before_it(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("a.txt", "a\n")
    peephole.write("b.txt", b"ab\n\xff\n")
    done = peephole("predict", toy_file, "a.txt", "b.txt")
    assert done.lines == [pronounce("a"), pronounce("ab")]
    done.failed("b.txt, line 2: wanted UTF-8, got byte 0xff at position 1")
    peephole.write("c.txt.gz", gzip.compress(b"ab\n" * 99)[:-9])
    done = peephole("predict", toy_file, "c.txt.gz")
    assert done.lines
    assert done.err.startswith("peephole: c.txt.gz: cannot be read: ")


BAD = b"ab\nb\xffc\n\ncab\n\x80\n"
REPORT = "peephole: 2 lines skipped: invalid UTF-8 (first: stdin, line 2)"
EMPTY = [
    "peephole: stdin, line 3: is empty; the target of an empty source is empty",
    "peephole: 1 line in all was empty",
]


@pytest.mark.parametrize("options", [[], ["--batch-size", "1"]])
def test_skipped_lines_yield_an_empty_line_each(peephole: Peephole, toy_file: Path, options: list[str]) -> None:
    done = peephole("predict", toy_file, "--bad-lines", "skip", *options, stdin=BAD).succeeded()
    assert done.lines == [pronounce("ab"), "", "", pronounce("cab"), ""]
    assert done.err.splitlines() == [*EMPTY, REPORT]


def test_skipped_lines_in_numbered_output_and_json(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--bad-lines", "skip", "--nbest", "2", stdin=BAD).succeeded()
    rows = [line.split("\t") for line in done.lines]
    assert [row[0] for row in rows] == ["1", "1", "2", "3", "4", "4", "5"]
    assert rows[2] == ["2", "nan", ""]
    assert rows[6] == ["5", "nan", ""]
    done = peephole("predict", toy_file, "--bad-lines", "skip", "--json", stdin=BAD).succeeded()
    entries = [json.loads(line) for line in done.lines]
    assert entries[1] == {"error": "stdin, line 2: wanted UTF-8, got byte 0xff at position 2"}
    assert entries[4] == {"error": "stdin, line 5: wanted UTF-8, got byte 0x80 at position 1"}
    assert [entry.get("source") for entry in entries] == ["ab", None, "", "cab", None]


def test_prefixed_lines_are_skipped_by_reason(peephole: Peephole, toy_file: Path) -> None:
    long = "K " * 40
    stdin = f"cab\tK\ncab\ta\tb\nab\t{long}\nbad\t\nab\t{long}\nbad\n"
    done = peephole("predict", toy_file, "--prefixed", "--bad-lines", "skip", stdin=stdin).succeeded()
    [[cab]] = load(toy_file).predict(["cab"], prefixes=["K"])
    assert done.lines == [cab.text, "", "", pronounce("bad"), "", ""]
    assert done.err.splitlines() == [
        "peephole: 2 lines skipped: wrong columns (first: stdin, line 2)",
        "peephole: 2 lines skipped: prefix too long (first: stdin, line 3)",
    ]


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_score_and_evaluate_skip_bad_lines_on_request(peephole: Peephole, toy_file: Path, verb: str) -> None:
    peephole.write("pairs.tsv", "ab\tAH B\nabc\ncab\tK AH B\n")
    peephole(verb, toy_file, "pairs.tsv").failed("pairs.tsv, line 2: expected 2 columns, found 1: 'abc'")
    done = peephole(verb, toy_file, "pairs.tsv", "--json", "--bad-lines", "skip").succeeded()
    assert done.err == "peephole: 1 pair skipped: wrong columns (first: pairs.tsv, line 2)\n"
    message = "command line, data.bad_lines: wanted error|skip, got 'ignore'"
    peephole(verb, toy_file, "pairs.tsv", "--bad-lines", "ignore").failed(message)


def test_a_pipe_among_the_files(toy_file: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m peephole predict {toy_file} <(printf 'ab\\n') <(printf 'cab')"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ | ENVIRONMENT
    )
    assert done.stdout.splitlines() == [pronounce("ab"), pronounce("cab")]
