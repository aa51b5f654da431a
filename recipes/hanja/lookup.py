"""Score the lookup tables that are the baseline of the hanja recipe.

    python recipes/hanja/prepare.py && python recipes/hanja/lookup.py

The lookup reads each symbol independently: it takes the most frequent reading of the symbol in the training words
(the first in Unicode order on a tie), counted separately for each *position class*; a symbol that was never seen in its
class is read as it was most often in all classes together. A word with a symbol that was never seen has no reading, so
it counts as wrong. A word is right if the answer is one of its readings. There are three ways to class positions:

    anywhere    one class
    first       the first symbol of a word, or a later one: 女 is 여 in 女子 and 녀 in 男女
    exact       the symbol's position together with the word's length

"first" gives the 96.71 % of the recipe's README. In the column "copied" a symbol that was never seen is read as
itself, which helps for hangul; "exact", copied, is the strongest lookup here.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable
from pathlib import Path

DATA = Path(__file__).parent / "data"

Pairs = list[tuple[str, str]]
PositionClass = Callable[[int, int], Hashable]  # (position, length of the word) -> the class

POSITION_CLASSES: dict[str, PositionClass] = {
    "anywhere": lambda position, length: None,
    "first": lambda position, length: position == 0,
    "exact": lambda position, length: (position, length),
}


class Lookup:
    """Store the most frequent reading of each symbol in each position class, counted from pairs (word, reading)."""

    def __init__(self, pairs: Pairs, position_class: PositionClass) -> None:
        self.position_class = position_class
        by_position: dict[Hashable, Counter[str]] = defaultdict(Counter)
        anywhere: dict[str, Counter[str]] = defaultdict(Counter)
        for word, reading in pairs:
            for position, (symbol, syllable) in enumerate(zip(word, reading, strict=True)):
                by_position[symbol, position_class(position, len(word))][syllable] += 1
                anywhere[symbol][syllable] += 1
        self.by_position = {key: most_frequent(counts) for key, counts in by_position.items()}
        self.anywhere = {symbol: most_frequent(counts) for symbol, counts in anywhere.items()}

    def read(self, word: str) -> str:
        """Return the reading of a word, one syllable for each symbol; a symbol that was never seen is copied."""
        return "".join(
            self.by_position.get((symbol, self.position_class(position, len(word))), self.anywhere.get(symbol, symbol))
            for position, symbol in enumerate(word)
        )

    def has_seen(self, word: str) -> bool:
        """Return whether every symbol of a word was in the training words."""
        return all(symbol in self.anywhere for symbol in word)


def most_frequent(counts: Counter[str]) -> str:
    """Return the most frequent syllable, the first in Unicode order on a tie."""
    return min(counts, key=lambda syllable: (-counts[syllable], syllable))


def is_hanja(word: str) -> bool:
    """Return whether a word holds neither hangul nor private-use symbols."""
    return all("\u3400" <= symbol <= "\u9fff" or "\uf900" <= symbol <= "\ufaff" for symbol in word)


def share(part: Collection[str], whole: Collection[str]) -> float:
    """Return the size of `part` in percent of the size of `whole`."""
    return 100 * len(part) / len(whole)


def read_pairs(path: Path) -> Pairs:
    """Read the pairs of a file that prepare.py wrote."""
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; run recipes/hanja/prepare.py first")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(word, reading) for word, reading in (line.split("\t") for line in lines)]


def main() -> None:
    """Print the share of words read right, among all words and among those that consist of hanja."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of the files (default: {DATA})")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="file to score")
    arguments = parser.parse_args()

    train = read_pairs(arguments.data / "train.tsv")
    readings: dict[str, set[str]] = defaultdict(set)
    for word, reading in read_pairs(arguments.data / f"{arguments.part}.tsv"):
        readings[word].add(reading)
    hanja = [word for word in readings if is_hanja(word)]
    print(f"{arguments.part}: {len(readings):,} words, {len(hanja):,} of them wholly in hanja")

    print(f"{'exact, %':10} {'all words':>10} {'hanja only':>11} {'copied':>7}")
    for name, position_class in POSITION_CLASSES.items():
        lookup = Lookup(train, position_class)
        copied = {word for word, wanted in readings.items() if lookup.read(word) in wanted}
        right = {word for word in copied if lookup.has_seen(word)}
        print(
            f"{name:10} {share(right, readings):10.2f} {share(right.intersection(hanja), hanja):11.2f}"
            f" {share(copied, readings):7.2f}"
        )


if __name__ == "__main__":
    main()
