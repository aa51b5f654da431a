"""Run the whole recipe: download the data, train the models, read the test words, print the table with the lookups.

    python recipes/hanja/run.py                 50 minutes for each training
    python recipes/hanja/run.py --minutes 1     a short trial

A word is right if the answer is one of its readings. The lookups are those of lookup.py. All files are written below
recipes/hanja/data/50-minutes (the name follows the minutes). After Ctrl-C or a kill, the same command continues.
"""

import sys
from pathlib import Path

from lookup import DATA, Lookup, is_hanja, read_pairs
from lookup import POSITION_CLASSES as CLASSES

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import System, TestSet, read_test, run_recipe
from tables import difference, facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRIC = "exact_match"
STRONGEST = "lookup, exact, copied"
LARGE = ("model.hidden_size=384", "model.embedding_size=256")
SYSTEMS = (
    System("plain", "model", LARGE, seeds=3),
    System("copy", "model that copies", (*LARGE, "model.output=copy"), seeds=3),
)


def lookups(data: Path, test: TestSet) -> dict[str, list[list[str]]]:
    """Return the answers of the lookups: name → one list; where one has no answer, the empty text."""
    train = read_pairs(data / "train.tsv")
    rows = {}
    for name, position_class in CLASSES.items():
        lookup = Lookup(train, position_class)
        copied = [lookup.read(word) for word in test.sources]
        known = [answer if lookup.has_seen(word) else "" for word, answer in zip(test.sources, copied, strict=True)]
        rows |= {f"lookup, {name}": [known], f"lookup, {name}, copied": [copied]}
    return rows


def report(data: Path, results: Path) -> str:
    """Return the tables of the lookups and of the systems that have run."""
    test = read_test(data / "test.tsv")
    parts = {
        "all": range(len(test.sources)),
        "wholly hanja": [i for i, word in enumerate(test.sources) if is_hanja(word)],
        "partly hangul": [i for i, word in enumerate(test.sources) if not is_hanja(word)],
    }
    baselines, models = lookups(data, test), rows_of(results, SYSTEMS)
    text = scores_table(test, {**baselines, **models}, [METRIC], parts) + "\n" + facts_table(results, SYSTEMS) + "\n"
    for name, predictions in models.items():
        text += f"{name} minus {STRONGEST}: {difference(test, METRIC, predictions, baselines[STRONGEST])}\n"
    return text


def main() -> None:
    """Run the stages that are not finished, and print the table."""
    run_recipe(HERE, __doc__, SYSTEMS, report, data=DATA, minutes=50)


if __name__ == "__main__":
    main()
