"""Write misspelt English words and the words that were meant as train, dev and test files.

    python recipes/spell_codespell/prepare.py
    python recipes/spell_codespell/prepare.py --dictionary dictionary.txt --words american-english-large

Downloads the PyPI package codespell with pip and Debian's package wamerican-large with apt-get (no root rights needed),
or reads the given files of these packages.

Writes recipes/spell_codespell/data/{train,dev,test}.tsv: the misspelling (recieve), a tab, the right word (receive);
and words.txt, the list's 166,083 words of letters, apostrophes and hyphens in small letters, for the baselines.

The lines of the dictionary (2.4.3; from Wikipedia's lists of misspellings, CC BY-SA 3.0) are `misspelling->word` or
`misspelling->word, word,`. The program keeps the misspellings with one right word, if both consist of a-z, the
apostrophe and the hyphen: 58,253 pairs of 13,929 right words.

The split is by the right word, so that all misspellings of a word are in one file: md5(word) % 100 below 5 test, 5 to
9 dev. A model never sees a word of the test set as a target, not even once; forms of it (receiving) it may see.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import debian_package, pypi_files

DATA = Path(__file__).parent / "data"
DICTIONARY_PACKAGE = "codespell==2.4.3"
WORDS_PACKAGE = "wamerican-large"
LETTERS = re.compile("[a-z'-]+")

Pairs = list[tuple[str, str]]


def download_dictionary() -> str:
    """Download PyPI's package into a temporary folder and return its dictionary."""
    with tempfile.TemporaryDirectory() as folder:
        hint = "give --dictionary, a copy of its dictionary.txt instead"
        return pypi_files(DICTIONARY_PACKAGE, ["codespell_lib/data/dictionary.txt"], Path(folder), hint)[0]


def download_words() -> str:
    """Download Debian's package into a temporary folder and return its list of words."""
    with tempfile.TemporaryDirectory() as folder:
        files = debian_package(WORDS_PACKAGE, Path(folder), "give --words, a file with a word a line instead")
        return (files / "usr/share/dict/american-english-large").read_text(encoding="utf-8")


def read_pairs(dictionary: str) -> Pairs:
    """Return the pairs (misspelling, word) that meet the conditions of the module's docstring, in the file's order.

    >>> read_pairs("recieve->receive\\nther->there, their, the,\\n3rt->3rd")
    [('recieve', 'receive')]
    """
    lines = (line.split("->") for line in dictionary.splitlines() if "->" in line)
    return [(wrong, right) for wrong, right in lines if LETTERS.fullmatch(wrong) and LETTERS.fullmatch(right)]


def read_words(text: str) -> list[str]:
    """Return the words of a list in small letters, each once, in Unicode order.

    >>> read_words("Apple apple's étude apple")
    ['apple', "apple's"]
    """
    return sorted({word for word in text.lower().split() if LETTERS.fullmatch(word)})


def split_by_word(pairs: Iterable[tuple[str, str]]) -> dict[str, Pairs]:
    """Send each pair to train, dev or test by the md5 of its right word."""
    split: dict[str, Pairs] = {"train": [], "dev": [], "test": []}
    for wrong, right in pairs:
        h = int(md5(right.encode()).hexdigest(), 16) % 100
        split["test" if h < 5 else "dev" if h < 10 else "train"].append((wrong, right))
    return split


def read(path: Path) -> str:
    """Read a file given by the user.

    Raises:
        SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file")
    return path.read_text(encoding="utf-8")


def main() -> None:
    """Write the four files and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dictionary", type=Path, help="codespell's dictionary; default: download it")
    parser.add_argument("--words", type=Path, help="a list of English words; default: download it")
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    pairs = read_pairs(read(arguments.dictionary) if arguments.dictionary else download_dictionary())
    words = read_words(read(arguments.words) if arguments.words else download_words())
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(pairs):,} misspellings of {len({right for _, right in pairs}):,} words")
    for name, part in split_by_word(pairs).items():
        lines = "".join(f"{wrong}\t{right}\n" for wrong, right in part)
        (arguments.out / f"{name}.tsv").write_text(lines, encoding="utf-8")
        print(f"{arguments.out / name}.tsv: {len(part):,} misspellings of {len({right for _, right in part}):,} words")
    (arguments.out / "words.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    print(f"{arguments.out / 'words.txt'}: {len(words):,} words")


if __name__ == "__main__":
    main()
