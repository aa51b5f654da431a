"""Run the whole recipe: prepare the lines, train the systems, read the test lines, print the tables.

    python recipes/print_fraktur/run.py FOLDER                 60 minutes for each training
    python recipes/print_fraktur/run.py FOLDER --minutes 2     a short trial

FOLDER holds the published lines, as prepare.py describes; it is not needed when prepare.py has run.

Prints the character error rate of all test lines, of those of books seen in training, and of those of the four books
that are held out. The second system is trained on all books, as the published model is: no book is unseen for it, and
its training data includes dev. All files are written below recipes/print_fraktur/data/60-minutes (the name follows the
minutes). After Ctrl-C or a kill, the same command continues.
"""

import sys
from pathlib import Path

from prepare import DATA

sys.path.insert(0, str(Path(__file__).parents[1]))
from run_options import recipe_parser
from stages import System, parse_with_folder, publish, read_test, run_systems
from tables import facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRICS = ("character_error_rate",)
CTC = ("model.ctc=true",)
SYSTEMS = (
    System("ctc", "attention and CTC", CTC, seeds=3),
    System("all-books", "the same, trained on all books", CTC, train_file="train_all.tsv"),
    System("attention", "attention without CTC", seeds=3),
)


def report(data: Path, results: Path) -> str:
    """Return the tables of the systems that have run."""
    test = read_test(data / "test.tsv", files=True)
    unseen = set(read_test(data / "unseen.tsv", files=True).sources)
    parts = {
        "all": range(len(test.sources)),
        "books of training": [i for i, source in enumerate(test.sources) if source not in unseen],
        "held-out books": [i for i, source in enumerate(test.sources) if source in unseen],
    }
    return scores_table(test, rows_of(results, SYSTEMS), METRICS, parts) + "\n" + facts_table(results, SYSTEMS)


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    arguments = parse_with_folder(recipe_parser(__doc__, DATA, 60), HERE, "lines")
    results = run_systems(
        SYSTEMS,
        {"test": read_test(arguments.data / "test.tsv", files=True).sources},
        HERE / "config.toml",
        data=arguments.data,
        minutes=arguments.minutes,
        threads=arguments.threads,
        steps=arguments.steps,
        seeds=arguments.seeds,
    )
    publish(results, report(arguments.data, results))


if __name__ == "__main__":
    main()
