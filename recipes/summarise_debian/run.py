"""Run the whole recipe: download the data, train the systems, summarise the test descriptions, print the tables.

    python recipes/summarise_debian/run.py                 20 minutes for each training
    python recipes/summarise_debian/run.py --minutes 1     a short trial

Prints ROUGE-1, ROUGE-2 and ROUGE-L of all test descriptions, and of those outside the families of libraries whose
synopses follow a formula (rust-, golang-, haskell-, r-, perl). The baseline is the description's first 12 words.

All files are written below recipes/summarise_debian/data/20-minutes (the name follows the minutes). After Ctrl-C or a
kill, the same command continues. To start again, remove the folder.
"""

import sys
from pathlib import Path

from prepare import DATA, is_formulaic

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import System, read_test, run_recipe
from tables import difference, facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRICS = ("rouge_1", "rouge_2", "rouge_l")
LEAD_WORDS = 12
BASELINE = f"the first {LEAD_WORDS} words"
COVERAGE = ["model.output=copy", "model.attention=coverage", "train.coverage_loss=1.0"]
SYSTEMS = (
    System("plain", "attention", seeds=3),
    System("copy", "copying", ["model.output=copy"], seeds=3),
    System("coverage", "copying, coverage", COVERAGE, seeds=3),
    System("feeding", "copying, coverage, input feeding", [*COVERAGE, "model.input_feeding=true"]),
)


def lead(description: str) -> str:
    """Return the first words of a description, punctuation not counted.

    >>> lead("a ( b ) c d , e f g h i j k l m n")
    'a b c d e f g h i j k l'
    """
    words = [word for word in description.split() if any(map(str.isalnum, word))]
    return " ".join(words[:LEAD_WORDS])


def report(data: Path, results: Path) -> str:
    """Return the tables of the systems that have run."""
    test = read_test(data / "test.tsv")
    packages = (data / "test.packages.txt").read_text(encoding="utf-8").split()
    parts = {
        "all": list(range(len(test.sources))),
        "without families": [i for i, package in enumerate(packages) if not is_formulaic(package)],
    }
    rows = {BASELINE: [[lead(text) for text in test.sources]], **rows_of(results, SYSTEMS)}
    text = scores_table(test, rows, METRICS, parts) + "\n" + facts_table(results, SYSTEMS) + "\n"
    for name, predictions in list(rows.items())[1:]:
        text += f"{name} minus {BASELINE}, ROUGE-1: {difference(test, 'rouge_1', predictions, rows[BASELINE])}\n"
    return text


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    run_recipe(HERE, __doc__, SYSTEMS, report, data=DATA, minutes=20, packages=["rouge_score"])


if __name__ == "__main__":
    main()
