"""Tests of the recipe spell_codespell: the pairs it makes from the dictionary, its baselines and its report."""

import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "spell_codespell"
DICTIONARY = """\
recieve->receive
recieved->received
ther->there, their, the, other,
3rt->3rd
alot->a lot
clas->class, disabled because of a name in C
dont't->don't
re-use'd->re-used
"""


def test_pairs_have_one_right_word_of_letters(prepare):
    assert prepare.read_pairs(DICTIONARY) == [
        ("recieve", "receive"),
        ("recieved", "received"),
        ("dont't", "don't"),
        ("re-use'd", "re-used"),
    ]


def test_all_misspellings_of_a_word_are_in_one_file(prepare):
    by_remainder = {int(md5(word.encode()).hexdigest(), 16) % 100: word for word in (f"word{n}" for n in range(2000))}
    pairs = [(start + by_remainder[h], by_remainder[h]) for h in (4, 5, 9, 10) for start in "xy"]
    assert prepare.split_by_word(pairs) == {"test": pairs[:2], "dev": pairs[2:6], "train": pairs[6:]}


def test_prepare_writes_four_files(prepare, tmp_path, monkeypatch, capsys):
    (tmp_path / "dictionary.txt").write_text(DICTIONARY)
    (tmp_path / "list").write_text("Apple\napple's\nÉtude\napple\n")
    arguments = ["--dictionary", tmp_path / "dictionary.txt", "--words", tmp_path / "list", "--out", tmp_path / "data"]
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
    prepare.main()
    assert (tmp_path / "data" / "words.txt").read_text() == "apple\napple's\n"
    written = "".join((tmp_path / "data" / f"{name}.tsv").read_text() for name in ("train", "dev", "test"))
    assert sorted(written.splitlines()) == [
        "dont't\tdon't", "re-use'd\tre-used", "recieve\treceive", "recieved\treceived",
    ]  # fmt: skip
    assert capsys.readouterr().out.startswith("4 misspellings of 4 words\n")


def test_nearest_counts_an_exchange_as_one_edit_and_breaks_ties_by_similarity(report):
    words = ["word", "rod", "wrong", "relieve", "receive", "hat", "cat", "the"]
    assert report.nearest(["wrod", "recieve", "hte", "cta"], words) == ["word", "receive", "the", "cat"]


def test_first_known_hypothesis(report):
    assert report.first_known(["recieve", "receive", "relieve"], {"relieve", "receive"}) == "receive"
    assert report.first_known(["recieve", "recive"], {"receive"}) == "recieve"


def test_table_reports_words_of_the_list_apart(report, monkeypatch):
    monkeypatch.setitem(report.answers_of.__globals__, "symspell", lambda _: ["receive", "wrod", "tooltpi"])
    test = [("recieve", "receive"), ("wrod", "word"), ("tooltpi", "tooltip")]
    found = report.table(test, {"receive", "word", "tool"}, None).splitlines()
    assert found[0] == "| exact match, % | all (3) | right word in the list (2) |"
    assert [[cell.split()[0] for cell in row.split("|")[2:-1]] for row in found[2:]] == [
        ["0.00", "0.00"],  # copied
        ["66.67", "100.00"],  # nearest known word
        ["33.33", "50.00"],  # symspellpy
    ]


def test_without_symspellpy_one_line(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "symspellpy", None)
    with pytest.raises(SystemExit, match=r"^symspellpy is not installed: pip install symspellpy$"):
        report.symspell(["recieve"])


def test_without_apt_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "dictionary.txt").write_text(DICTIONARY)
    done = subprocess.run(
        [sys.executable, str(RECIPE / "prepare.py"), "--dictionary", "dictionary.txt", "--out", "data"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "apt-get not found: give --words, a file with a word a line instead\n"
    assert not (tmp_path / "data").exists()
