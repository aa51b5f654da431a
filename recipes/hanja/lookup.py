"""Score the lookup that a model of the hanja recipe has to beat.

    python recipes/hanja/prepare.py && python recipes/hanja/lookup.py

The lookup reads each symbol by itself: it takes the reading that the symbol most often had in the training
words (the earlier in Unicode order when two are as frequent), counted apart for each *place*; a symbol that
was never seen at its place is read as it most often was anywhere. A word with a symbol never seen at all has
no reading, hence is wrong. A word is right if the answer is one of its readings. Three notions of place:

    anywhere    one place for all
    first       the first symbol of a word, or a later one: 女 is 여 in 女子 and 녀 in 男女
    exact       the symbol's position together with the word's length

"first" gives the 96.71 % that the recipe's README quotes. The column "copied" shows what it costs that hangul
never seen in training is not read as itself: "exact", copied, is the strongest lookup here.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable
from pathlib import Path

DATA = Path(__file__).parent / "data"

Pairs = list[tuple[str, str]]
Place = Callable[[int, int], Hashable]  # (position, length of the word) -> the place's name

PLACES: dict[str, Place] = {
    "anywhere": lambda position, length: None,
    "first": lambda position, length: position == 0,
    "exact": lambda position, length: (position, length),
}


class Lookup:
    """The most frequent reading of each symbol at each place, learnt from pairs (word, reading)."""

    def __init__(self, pairs: Pairs, place: Place) -> None:
        self.place = place
        at_place: dict[Hashable, Counter[str]] = defaultdict(Counter)
        anywhere: dict[str, Counter[str]] = defaultdict(Counter)
        for word, reading in pairs:
            for position, (symbol, syllable) in enumerate(zip(word, reading, strict=True)):
                at_place[symbol, place(position, len(word))][syllable] += 1
                anywhere[symbol][syllable] += 1
        self.at_place = {key: most_frequent(counts) for key, counts in at_place.items()}
        self.anywhere = {symbol: most_frequent(counts) for symbol, counts in anywhere.items()}

    def read(self, word: str) -> str:
        """Return the reading of a word, one syllable for each symbol; a symbol never seen stays itself."""
        return "".join(
            self.at_place.get((symbol, self.place(position, len(word))), self.anywhere.get(symbol, symbol))
            for position, symbol in enumerate(word)
        )

    def has_seen(self, word: str) -> bool:
        """Tell whether every symbol of a word was in the training words."""
        return all(symbol in self.anywhere for symbol in word)


def most_frequent(counts: Counter[str]) -> str:
    """Return the most frequent syllable, the earlier in Unicode order on a tie."""
    return min(counts, key=lambda syllable: (-counts[syllable], syllable))


def is_hanja(word: str) -> bool:
    """Tell whether a word has no hangul (nor private-use symbol) in it."""
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
    """Print the share of words read right, of all test words and of those wholly in hanja."""
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
    for name, place in PLACES.items():
        lookup = Lookup(train, place)
        copied = {word for word, wanted in readings.items() if lookup.read(word) in wanted}
        right = {word for word in copied if lookup.has_seen(word)}
        print(
            f"{name:10} {share(right, readings):10.2f} {share(right.intersection(hanja), hanja):11.2f}"
            f" {share(copied, readings):7.2f}"
        )


if __name__ == "__main__":
    main()
