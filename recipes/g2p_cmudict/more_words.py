"""List words that have no pronunciation yet, for the ensemble to pronounce and a single model to learn from.

    python recipes/g2p_cmudict/more_words.py LIST ... > recipes/g2p_cmudict/data/more.txt

A LIST is a file with a word at the beginning of each line, as word lists and tables of names have. From each come up
to --most words, chosen by md5, so that everybody gets the same: those of the training words' letters, in upper case,
that are in none of prepare.py's files. Possessives are left out: there are many, and they say little.
"""

import argparse
import sys
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path

DATA = Path(__file__).parent / "data"


def words_of(lines: Iterable[str]) -> list[str]:
    """Return the first word of each line, in upper case.

    >>> words_of(["Smith 1.006 1.006 1", "", "aardvark"])
    ['SMITH', 'AARDVARK']
    """
    return [line.split()[0].upper() for line in lines if line.strip()]


def new_words(words: Iterable[str], known: set[str], letters: set[str], most: int) -> list[str]:
    """Return up to `most` words that are not known and have no other letters, each once.

    >>> new_words(["AB", "AC", "AB", "AD", "A'S"], known={"AC"}, letters=set("ABC'S"), most=9)
    ['AB']
    """
    found = {word for word in words if word not in known and set(word) <= letters and not word.endswith("'S")}
    return sorted(found, key=lambda word: md5(word.encode()).digest())[:most]


def main() -> None:
    """Print the words of all lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", metavar="LIST", type=Path, nargs="+", help="a word list")
    parser.add_argument("--most", type=int, default=60_000, help="words of each list (default: 60,000)")
    arguments = parser.parse_args()
    sides = {}
    for side in ("train", "dev", "test"):
        path = DATA / f"{side}.tsv"
        if not path.is_file():
            raise SystemExit(f"{path}: no such file; run prepare.py first")
        sides[side] = {line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()}
    known, letters = set().union(*sides.values()), {letter for word in sides["train"] for letter in word}
    for path in arguments.lists:
        try:
            words = words_of(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"{path}: not a list of words in UTF-8: {error}") from error
        chosen = new_words(words, known, letters, arguments.most)
        print(f"{path}: {len(words):,} words, {len(chosen):,} taken", file=sys.stderr)
        known.update(chosen)
        sys.stdout.writelines(f"{word}\n" for word in chosen)


if __name__ == "__main__":
    main()
