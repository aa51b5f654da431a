"""Run the whole recipe: prepare the features, train the systems, transcribe the test utterances, print the tables.

    python recipes/speech_an4/run.py FOLDER                60 minutes for each training
    python recipes/speech_an4/run.py FOLDER --minutes 2    a short trial

FOLDER holds the published features, as prepare.py describes; it is not needed when prepare.py has run.

Prints the character and word error rates. A space is a character, as in the published rates. All files are written
below recipes/speech_an4/data/60-minutes (the name follows the minutes). After Ctrl-C or a kill, the same command
continues.
"""

import sys
from pathlib import Path

from prepare import DATA

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import run
from stages import System, publish, read_test, recipe_parser, run_systems
from tables import difference, facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRICS = ("character_error_rate", "word_error_rate")
CTC = ("model.ctc=true",)
LOCATION = ("model.attention=location",)
MASKS = ("train.time_masks=2", "train.feature_masks=2", "train.feature_mask_size=8")
SYSTEMS = (
    System("attention", "attention"),
    System("location", "location-aware attention", LOCATION),
    System("ctc", "attention and CTC", CTC),
    System("location-ctc", "location-aware attention and CTC", (*LOCATION, *CTC), seeds=3),
    System("masks", "the same, SpecAugment", (*LOCATION, *CTC, *MASKS), seeds=3),
)


def report(data: Path, results: Path) -> str:
    """Return the tables of the systems that have run."""
    test = read_test(data / "test.tsv", files=True)
    rows = rows_of(results, SYSTEMS)
    text = scores_table(test, rows, METRICS) + "\n" + facts_table(results, SYSTEMS) + "\n"
    best, base = (f"{system.title}, beam 5" for system in (SYSTEMS[-1], SYSTEMS[-2]))
    if best in rows and base in rows:
        found = difference(test, METRICS[0], rows[best], rows[base])
        text += f"{best} minus {base}, character error rate: {found}\n"
    return text


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    parser = recipe_parser(__doc__, DATA, 60)
    parser.add_argument("folder", nargs="?", help="folder of the published features")
    arguments = parser.parse_args()
    if not (arguments.data / "test.tsv").is_file():
        if arguments.folder is None:
            parser.error("wanted the folder of the published features; see prepare.py --help")
        command = [sys.executable, str(HERE / "prepare.py"), arguments.folder, "--out", str(arguments.data)]
        print(run(command))
    results = run_systems(
        SYSTEMS,
        {"test": read_test(arguments.data / "test.tsv", files=True).sources},
        HERE / "config.toml",
        data=arguments.data,
        minutes=arguments.minutes,
        threads=arguments.threads,
    )
    publish(results, report(arguments.data, results))


if __name__ == "__main__":
    main()
