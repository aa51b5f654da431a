"""Tests of `peephole inspect` and of `peephole predict --explain`."""

from __future__ import annotations

from pathlib import Path

import peephole as library

from .conftest import Peephole


def test_a_page_is_written(peephole: Peephole, toy_file: Path) -> None:
    arguments = ["inspect", toy_file, "cab", "--reference", "K B", "--compare", "abc", "-o", "a.html"]
    done = peephole(*arguments, "--without-model").succeeded()
    model = library.load(toy_file)
    [[one], [two]] = model.predict(["cab", "abc"])
    assert [line.split("\t") for line in done.lines] == [
        [f"cab → {one.text}", f"{one.log_prob:.4f}"],
        [f"abc → {two.text}", f"{two.log_prob:.4f}"],
    ]
    assert done.err == "peephole: a.html: 0.1 MB\n"
    small = (peephole.folder / "a.html").stat().st_size
    peephole(*arguments).succeeded()
    assert (peephole.folder / "a.html").stat().st_size > small + toy_file.stat().st_size


def test_wrong_arguments_of_inspect(peephole: Peephole, toy_file: Path) -> None:
    peephole("inspect", toy_file, "").failed("trace: source 0 is empty; wanted at least one symbol")
    done = peephole("inspect", toy_file, "a", "--compare", "b", "--with", toy_file)
    assert (done.code, "wanted --compare or --with, got both" in done.err) == (2, True)
    for name in ("reference", "why-not"):
        peephole("inspect", toy_file, "ab", f"--{name}", "").failed(
            f"{name.replace('-', '_')}: wanted a target, got an empty one"
        )
    for arguments, name in (
        (["a\udcff"], "TEXT"),
        (["ab", "--compare", "\udcff"], "--compare"),
        (["ab", "--reference", "K\udcff"], "--reference"),
        (["ab", "--why-not", "K\udcff"], "--why-not"),
    ):
        position = 1 if name == "--compare" else 2
        peephole("inspect", toy_file, *arguments).failed(f"{name}: wanted UTF-8, got byte 0xff at position {position}")
    done = peephole("inspect", toy_file, "cXb", "--without-model").succeeded()
    assert "peephole: source, line 1: 'X' was not seen in training; such symbols are read as <unk>\n" in done.err


def test_predictions_are_explained(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("predict", toy_file, "--explain", "--beam-size", "1", stdin=f"cab\n\n{'ab' * 25}\n").succeeded()
    lines = [line.rstrip() for line in done.lines]
    assert lines[:6] == [
        "cab → K AH B  68 %",
        "      c  a  b",
        "K     ██       90 % █████████",
        "AH    ░░ ▓▓    88 % █████████",
        "B        ░░ ▓▓ 93 % █████████",
        "‹end›          92 % █████████",
    ]
    assert any("← " in line for line in lines[6:])  # a long source has no columns
    done = peephole("predict", toy_file, "--explain", "--json", stdin="")
    assert (done.code, "wanted --json or --explain, got both" in done.err) == (2, True)
