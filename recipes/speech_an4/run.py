"""Run the whole recipe: prepare the features, train the systems, transcribe the test utterances, print the tables.

    python recipes/speech_an4/run.py FOLDER                12 minutes for each training
    python recipes/speech_an4/run.py FOLDER --minutes 2    a short trial

FOLDER holds the published features, as prepare.py describes; it is not needed when prepare.py has run.

Prints the character and word error rates. A space is a character, as in the published rates. All files are written
below recipes/speech_an4/data/12-minutes (the name follows the minutes). After Ctrl-C or a kill, the same command
continues.
"""

import sys
from dataclasses import replace
from pathlib import Path

from prepare import DATA

sys.path.insert(0, str(Path(__file__).parents[1]))
from run_options import recipe_parser
from stages import (
    Search,
    System,
    guided,
    model_path,
    parse_with_folder,
    publish,
    read_test,
    run_systems,
    train_language_model,
)
from tables import difference, facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRICS = ("character_error_rate", "word_error_rate")
CTC = ("model.ctc=true",)
LOCATION = ("model.attention=location",)
MASKS = ("train.time_masks=2", "train.feature_masks=1", "train.feature_mask_size=6")
SYSTEMS = (
    System("attention", "attention", seeds=3),
    System("location", "location-aware attention", LOCATION, seeds=3),
    System("location-ctc", "location-aware attention and CTC", (*LOCATION, *CTC), seeds=3),
    System("ctc", "attention and CTC", CTC, seeds=3),
    System("masks", "attention and CTC, SpecAugment", (*CTC, *MASKS), seeds=3),
)
WITHOUT_CTC = replace(SYSTEMS[-1], searches=(Search("beam 5, without CTC", {"beam_size": 5, "ctc_weight": 0.0}),))
LANGUAGE_MODEL_MINUTES = 2


def report(data: Path, results: Path, language_model: Path) -> str:
    """Return the tables of the systems that have run."""
    test = read_test(data / "test.tsv", files=True)
    rows = rows_of(results, [*SYSTEMS, WITHOUT_CTC, guided(SYSTEMS[-1], language_model)])
    text = scores_table(test, rows, METRICS) + "\n" + facts_table(results, SYSTEMS) + "\n"
    last, before = (f"{system.title}, beam 5" for system in (SYSTEMS[-1], SYSTEMS[-2]))
    found = difference(test, METRICS[0], rows[last], rows[before])
    return f"{text}{last} minus {before}, character error rate: {found}\n"


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    arguments = parse_with_folder(recipe_parser(__doc__, DATA, 12), HERE, "features")
    tests = {"test": read_test(arguments.data / "test.tsv", files=True).sources}
    how = {name: getattr(arguments, name) for name in ("data", "minutes", "steps", "threads", "seeds")}
    results = run_systems(SYSTEMS, tests, HERE / "config.toml", **how)
    language_model = train_language_model(
        model_path(results, SYSTEMS[-1], 1),
        arguments.data / "train.tsv",
        arguments.data / "dev.tsv",
        min(arguments.minutes, LANGUAGE_MODEL_MINUTES),
        arguments.threads,
    )
    run_systems([WITHOUT_CTC, guided(SYSTEMS[-1], language_model)], tests, HERE / "config.toml", **how)
    publish(results, report(arguments.data, results, language_model))


if __name__ == "__main__":
    main()
