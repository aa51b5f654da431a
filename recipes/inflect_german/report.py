"""Print the recipe's table: the singular copied, a lookup of suffixes, and a model.

    python recipes/inflect_german/report.py                                  the baselines
    python recipes/inflect_german/report.py inflect_german.safetensors       with the model, beam 5 and greedy

A noun's *change* is what its plural removes from its end and adds: Haus → Häuser removes `aus` and adds `äuser`. The
lookup stores the changes of all training nouns by every suffix of the noun. It reads a noun's longest suffix that has a
change that fits, and applies the most frequent one (the first in Unicode order on a tie). So compounds get the plural
of their last noun. Suffixes are compared in small letters.

A noun is right if the answer is one of its plurals. Intervals are 95 % bootstrap intervals over nouns; p is that of
approximate randomisation, on the same nouns.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from prepare import DATA, Pairs, is_compound
from rapidfuzz.distance import Prefix

from peephole import load
from peephole.evaluation import compare, evaluate_predictions
from peephole.symbols import CharacterSymbols

BASELINE = "lookup of suffixes"  # what the model is compared with


class Change(NamedTuple):
    """What a plural removes from the end of its singular, and adds."""

    removed: str
    added: str


class SuffixLookup:
    """Store the changes of nouns by every suffix, counted from pairs (singular, plural)."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.changes: dict[str, Counter[Change]] = defaultdict(Counter)
        for singular, plural in pairs:
            for start in range(len(singular) + 1):
                self.changes[singular[start:].lower()][change(singular, plural)] += 1

    def plural(self, noun: str) -> str:
        """Return the plural by the longest suffix that has a change that fits."""
        for start in range(len(noun) + 1):
            counts = self.changes.get(noun[start:].lower(), {})
            fitting = [found for found in counts if noun.endswith(found.removed)]
            if fitting:
                best = min(fitting, key=lambda found: (-counts[found], found))
                return noun[: len(noun) - len(best.removed)] + best.added
        return noun


def change(singular: str, plural: str) -> Change:
    """Return what the plural removes from the end of its singular, and adds.

    >>> change("Haus", "Häuser")
    Change(removed='aus', added='äuser')
    """
    same = Prefix.similarity(singular, plural)
    return Change(singular[same:], plural[same:])


def read_pairs(path: Path) -> Pairs:
    """Read the pairs of a file that prepare.py wrote.

    Raises:
        SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; run recipes/inflect_german/prepare.py first")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(singular, plural) for singular, plural in (line.split("\t") for line in lines)]


def answers_of(train: Pairs, nouns: Sequence[str], model: str | None) -> dict[str, list[str]]:
    """Return each system's plural of each noun."""
    lookup = SuffixLookup(train)
    answers = {"the singular, copied": list(nouns), BASELINE: [lookup.plural(noun) for noun in nouns]}
    if model is not None:
        handle = load(model)
        for search, beam_size in (("greedy", 1), ("beam 5", 5)):
            found = handle.predict(nouns, beam_size=beam_size, nbest=1, attention=False, threads=1)
            answers[f"model, {search}"] = [predictions[0].text for predictions in found]
    return answers


def table(train: Pairs, test: Pairs, model: str | None) -> str:
    """Return the recipe's table, and the model's difference from the lookup, in Markdown."""
    plurals: dict[str, list[str]] = defaultdict(list)
    for singular, plural in test:
        plurals[singular].append(plural)
    known = {singular for singular, _ in train}
    nouns = list(plurals)
    parts = {
        "all nouns": list(range(len(nouns))),
        "compounds": [i for i, noun in enumerate(nouns) if is_compound(noun, known)],
        "others": [i for i, noun in enumerate(nouns) if not is_compound(noun, known)],
    }
    parts = {name: chosen for name, chosen in parts.items() if chosen}
    answers, symbols = answers_of(train, nouns, model), CharacterSymbols([], "NFC")

    heading = " | ".join(f"{name} ({len(chosen):,})" for name, chosen in parts.items())
    rows = [f"| exact match, % | {heading} |", f"|{'---|' * (len(parts) + 1)}"]
    differences = []
    for system, texts in answers.items():
        cells = []
        for name, chosen in parts.items():
            sources, references = [nouns[i] for i in chosen], [plurals[nouns[i]] for i in chosen]
            picked = [texts[i] for i in chosen]
            exact = evaluate_predictions(sources, picked, references, symbols, ["exact_match"]).scores["exact_match"]
            cells.append(f"{exact.value:.2f} [{exact.low:.2f}, {exact.high:.2f}]")
            if system.startswith("model"):
                base = [answers[BASELINE][i] for i in chosen]
                found = compare(sources, base, picked, references, symbols, ["exact_match"]).differences["exact_match"]
                differences.append(
                    f"{system} minus {BASELINE}, {name}: "
                    f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p = {found.p_swaps:.4f}"
                )
        rows.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join([*rows, *(["", *differences] if differences else [])])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a trained model")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of the files (default: {DATA})")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="file to score")
    arguments = parser.parse_args()
    train = read_pairs(arguments.data / "train.tsv")
    print(table(train, read_pairs(arguments.data / f"{arguments.part}.tsv"), arguments.model))


if __name__ == "__main__":
    main()
