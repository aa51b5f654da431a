"""Tests of the recipe inflect_german: the pairs it makes from the table of nouns, its baseline and its report."""

import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "inflect_german"
COLUMNS = ["lemma", "pos", "nominativ singular", "nominativ plural", *(f"nominativ plural {n}" for n in range(1, 5))]
TABLE = "\n".join(
    [
        ",".join(COLUMNS),
        "Haus,Substantiv,Haus,Häuser,,,,",
        "Dschinn,Substantiv,Dschinn,,Dschinn,Dschinnen,Dschinns,",
        "Dschinn,Substantiv,Dschinn,,Dschinn,,,",
        "Sunk,Substantiv,Sunk, ,,,,",
        "Dualität,Substantiv,Dualität,,,,,",
        "-algie,Suffix,-algie,-algien,,,,",
        "Rote Bete,Substantiv,Rote Bete,Rote Beten,,,,",
        "DVD-Player,Substantiv,DVD-Player,DVD-Player,,,,",
    ]
)


def test_pairs_are_all_plurals_of_one_word(prepare):
    assert prepare.read_pairs(TABLE) == [
        ("Haus", "Häuser"),
        ("Dschinn", "Dschinn"),
        ("Dschinn", "Dschinnen"),
        ("Dschinn", "Dschinns"),
        ("DVD-Player", "DVD-Player"),
    ]


def test_a_table_without_plurals_is_refused(prepare):
    with pytest.raises(SystemExit, match=r"nouns.csv: no column nominativ plural 4$"):
        prepare.read_pairs(TABLE.replace("nominativ plural 4", "genus"))


def test_all_plurals_of_a_lemma_are_in_one_file(prepare):
    by_remainder = {int(md5(word.encode()).hexdigest(), 16) % 100: word for word in (f"Wort{n}" for n in range(2000))}
    pairs = [(by_remainder[h], by_remainder[h] + end) for h in (4, 5, 9, 10) for end in ("e", "s")]
    assert prepare.split_by_lemma(pairs) == {"test": pairs[:2], "dev": pairs[2:6], "train": pairs[6:]}


@pytest.mark.parametrize(
    ("noun", "nouns", "is_compound"),
    [
        ("Landhaus", {"Haus"}, True),
        ("DVD-Player", {"Player"}, True),
        ("Haus", {"Haus"}, False),
        ("Kaffee", {"Fee"}, True),
        ("Brei", {"Ei"}, False),
        ("Haustür", {"Haus"}, False),
    ],
)
def test_compounds_end_in_a_noun_of_three_letters_or_more(prepare, noun, nouns, is_compound):
    assert prepare.is_compound(noun, nouns) == is_compound


def test_lookup_takes_the_longest_suffix_and_its_most_frequent_change(report):
    lookup = report.SuffixLookup(
        [("Haus", "Häuser"), ("Zirkus", "Zirkusse"), ("Bus", "Busse"), ("Katze", "Katzen"), ("Uhr", "Uhren")]
    )
    assert [lookup.plural(noun) for noun in ("Landhaus", "Fokus", "Tatze", "Ohr", "Xyz")] == [
        "Landhäuser", "Fokusse", "Tatzen", "Ohren", "Xyzse"
    ]  # fmt: skip


def test_table_counts_any_listed_plural_and_separates_compounds(report):
    train = [("Haus", "Häuser"), ("Katze", "Katzen")]
    test = [("Landhaus", "Landhäuser"), ("Dschinn", "Dschinn"), ("Dschinn", "Dschinns"), ("Tatze", "Tatzen")]
    found = report.table(train, test, None).splitlines()
    assert found[0] == "| exact match, % | all nouns (3) | compounds (1) | others (2) |"
    assert [[cell.split()[0] for cell in row.split("|")[2:-1]] for row in found[2:]] == [
        ["33.33", "0.00", "50.00"],  # the singular, copied: Dschinn
        ["66.67", "100.00", "50.00"],  # the lookup: Landhäuser and Tatzen
    ]


def test_missing_files_one_line_and_exit_code_1(report, tmp_path):
    with pytest.raises(SystemExit, match=r"train.tsv: no such file; run recipes/inflect_german/prepare.py first$"):
        report.read_pairs(tmp_path / "train.tsv")
    command = [sys.executable, str(RECIPE / "prepare.py"), str(tmp_path / "nouns.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path / 'nouns.csv'}: no such file\n")
