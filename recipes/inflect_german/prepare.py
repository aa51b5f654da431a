"""Write German nouns, nominative singular to nominative plural, as train, dev and test files.

    python recipes/inflect_german/prepare.py                download the PyPI package german-nouns with pip
    python recipes/inflect_german/prepare.py nouns.csv      read the file `nouns.csv` of that package

Writes recipes/inflect_german/data/{train,dev,test}.tsv: the singular (Haus), a tab, its plural (Häuser).

The package (1.2.5, from the German Wiktionary, CC BY-SA 4.0) lists the forms of 102,444 entries. The program keeps the
lemmas of one word that have a nominative plural: 77,883 lemmas, 80,577 pairs. Of nouns declined like adjectives
(Abgeordneter), it has three plurals under other names; they are left out. Each plural is a line of its own: training
uses all of them, and in dev and test they are the references of one lemma, any of which counts as right.

The split is by lemma: md5(lemma) % 100 below 5 test, 5 to 9 dev.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Container, Iterable
from hashlib import md5
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import pypi_files

DATA = Path(__file__).parent / "data"
PACKAGE = "german-nouns==1.2.5"
PLURALS = ["nominativ plural", *(f"nominativ plural {n}" for n in range(1, 5))]  # the columns of nouns.csv

Pairs = list[tuple[str, str]]


def download() -> str:
    """Download the package into a temporary folder and return its table."""
    with tempfile.TemporaryDirectory() as folder:
        hint = "give the path of its nouns.csv instead"
        return pypi_files(PACKAGE, ["german_nouns/nouns.csv"], Path(folder), hint)[0]


def read_pairs(table: str) -> Pairs:
    """Return the pairs (singular, plural) that meet the conditions of the module's docstring, in the table's order.

    Raises:
        SystemExit: the table has no column of nominative plurals.
    """
    rows = csv.DictReader(table.splitlines())
    missing = [column for column in ("lemma", *PLURALS) if column not in (rows.fieldnames or ())]
    if missing:
        raise SystemExit(f"nouns.csv: no column {', '.join(missing)}")
    pairs = (
        (row["lemma"], row[column].strip())
        for row in rows
        if " " not in row["lemma"] and not row["lemma"].startswith("-")
        for column in PLURALS
        if row[column].strip()
    )
    return list(dict.fromkeys(pairs))


def split_by_lemma(pairs: Iterable[tuple[str, str]]) -> dict[str, Pairs]:
    """Send each pair to train, dev or test by the md5 of its lemma."""
    split: dict[str, Pairs] = {"train": [], "dev": [], "test": []}
    for lemma, plural in pairs:
        h = int(md5(lemma.encode()).hexdigest(), 16) % 100
        split["test" if h < 5 else "dev" if h < 10 else "train"].append((lemma, plural))
    return split


def is_compound(noun: str, nouns: Container[str]) -> bool:
    """Return whether a noun ends in another one of three letters or more; then its plural ends in that one's.

    >>> is_compound("Landhaus", {"Haus"}), is_compound("Haus", {"Haus"}), is_compound("Gurt", {"Urt"})
    (True, False, True)
    """
    return any(noun[start:].capitalize() in nouns for start in range(1, len(noun) - 2))


def main() -> None:
    """Write the three files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nouns_csv", nargs="?", type=Path, help="the package's table; default: download it")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    if arguments.nouns_csv and not arguments.nouns_csv.is_file():
        raise SystemExit(f"{arguments.nouns_csv}: no such file")
    pairs = read_pairs(arguments.nouns_csv.read_text(encoding="utf-8") if arguments.nouns_csv else download())
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(pairs):,} pairs of {len({lemma for lemma, _ in pairs}):,} lemmas")
    for name, part in split_by_lemma(pairs).items():
        lines = "".join(f"{lemma}\t{plural}\n" for lemma, plural in part)
        (arguments.out / f"{name}.tsv").write_text(lines, encoding="utf-8")
        print(f"{arguments.out / name}.tsv: {len({lemma for lemma, _ in part}):,} lemmas, {len(part):,} pairs")


if __name__ == "__main__":
    main()
