"""Print the recipe's table: baselines, and a model with and without a list of English words.

    python recipes/spell_codespell/report.py                                   the baselines
    python recipes/spell_codespell/report.py spell_codespell.safetensors       with the model

The systems:

    copied              the misspelling itself
    nearest             the word at the fewest edits, out of the training words and the list words.txt; an exchange of
                        neighbours is one edit (optimal string alignment); among equals the most similar by
                        Jaro-Winkler, then the first in Unicode order
    symspellpy          the nearest word of its own list of 82,765 words within two edits, the most frequent among
                        equals; the misspelling where it finds none
    model               beam 5; the right words of the test set are never among its training targets
    model and words     the first of its five hypotheses that is a training word or in words.txt; if none is, the first

Intervals are 95 % bootstrap intervals over misspellings; p is that of approximate randomisation, on the same ones.
"""

import argparse
from collections.abc import Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from prepare import DATA, Pairs
from rapidfuzz import process
from rapidfuzz.distance import OSA, JaroWinkler

from peephole import load
from peephole.evaluation import compare, evaluate_predictions
from peephole.symbols import CharacterSymbols

CHUNK = 200  # misspellings compared with all words at a time
MOST_EDITS = 5  # words at more edits count as equally far


def nearest(misspellings: Sequence[str], words: Collection[str]) -> list[str]:
    """Return for each misspelling the word at the fewest edits, as the module's docstring describes.

    >>> nearest(["recieve", "teh"], ["the", "he", "receive", "relieve"])
    ['receive', 'the']
    """
    known = sorted(words)
    found = []
    for start in range(0, len(misspellings), CHUNK):
        part = misspellings[start : start + CHUNK]
        edits = process.cdist(part, known, scorer=OSA.distance, score_cutoff=MOST_EDITS, dtype=np.uint8)
        for misspelling, row in zip(part, edits, strict=True):
            closest = [known[i] for i in (row == row.min()).nonzero()[0]]
            found.append(max(closest, key=lambda word: JaroWinkler.similarity(misspelling, word)))
    return found


def first_known(hypotheses: Iterable[str], words: Collection[str]) -> str:
    """Return the first hypothesis that is a known word, else the first.

    >>> first_known(["recieve", "receive"], {"receive"}), first_known(["a", "b"], {"receive"})
    ('receive', 'a')
    """
    texts = list(hypotheses)
    return next((text for text in texts if text in words), texts[0])


def symspell(misspellings: Iterable[str]) -> list[str]:
    """Return symspellpy's correction of each misspelling.

    Raises:
        SystemExit: the package is missing.
    """
    try:
        from symspellpy import SymSpell, Verbosity
    except ImportError:
        raise SystemExit("symspellpy is not installed: pip install symspellpy") from None
    checker = SymSpell(max_dictionary_edit_distance=2)
    frequencies = resources.files("symspellpy") / "frequency_dictionary_en_82_765.txt"
    checker.load_dictionary(str(frequencies), term_index=0, count_index=1)
    found = (checker.lookup(misspelling, Verbosity.TOP, include_unknown=True) for misspelling in misspellings)
    return [suggestions[0].term for suggestions in found]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a file that prepare.py wrote.

    Raises:
        SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; run recipes/spell_codespell/prepare.py first")
    return path.read_text(encoding="utf-8").splitlines()


def read_pairs(path: Path) -> Pairs:
    """Read the pairs of a file that prepare.py wrote."""
    return [(wrong, right) for wrong, right in (line.split("\t") for line in read_lines(path))]


def answers_of(misspellings: Sequence[str], words: Collection[str], model: str | None) -> dict[str, list[str]]:
    """Return each system's correction of each misspelling."""
    answers = {
        "the misspelling, copied": list(misspellings),
        "nearest known word": nearest(misspellings, words),
        "symspellpy": symspell(misspellings),
    }
    if model is not None:
        handle = load(model)
        greedy = handle.predict(misspellings, beam_size=1, nbest=1, attention=False, threads=1)
        beam = handle.predict(misspellings, beam_size=5, nbest=5, attention=False, threads=1)
        answers["model, greedy"] = [found[0].text for found in greedy]
        answers["model, beam 5"] = [found[0].text for found in beam]
        answers["model and words"] = [first_known((one.text for one in found), words) for found in beam]
    return answers


def table(test: Pairs, words: Collection[str], model: str | None) -> str:
    """Return the recipe's table and the differences of systems in Markdown."""
    misspellings, references = [wrong for wrong, _ in test], [[right] for _, right in test]
    listed = [i for i, (_, right) in enumerate(test) if right in words]
    parts = {"all": list(range(len(test))), "right word in the list": listed}
    answers, symbols = answers_of(misspellings, words, model), CharacterSymbols([], "NFC")

    heading = " | ".join(f"{name} ({len(chosen):,})" for name, chosen in parts.items())
    rows = [f"| exact match, % | {heading} |", f"|{'---|' * (len(parts) + 1)}"]
    for system, texts in answers.items():
        cells = []
        for chosen in parts.values():
            picked = [[column[i] for i in chosen] for column in (misspellings, texts, references)]
            exact = evaluate_predictions(*picked, symbols, ["exact_match"]).scores["exact_match"]
            cells.append(f"{exact.value:.2f} [{exact.low:.2f}, {exact.high:.2f}]")
        rows.append(f"| {system} | {' | '.join(cells)} |")
    if model is not None:
        rows.append("")
    for system in [name for name in answers if name.startswith("model")]:
        for base in ("nearest known word", "symspellpy"):
            found = compare(misspellings, answers[base], answers[system], references, symbols, ["exact_match"])
            gain = found.differences["exact_match"]
            rows.append(
                f"{system} minus {base}: {gain.difference:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}], "
                f"p = {gain.p_swaps:.4f}"
            )
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a trained model")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder of the files (default: {DATA})")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="file to score")
    arguments = parser.parse_args()
    words = {right for _, right in read_pairs(arguments.data / "train.tsv")}
    words.update(read_lines(arguments.data / "words.txt"))
    print(table(read_pairs(arguments.data / f"{arguments.part}.tsv"), words, arguments.model))


if __name__ == "__main__":
    main()
