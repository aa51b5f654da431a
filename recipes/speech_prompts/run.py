"""Run the whole recipe: download the prompts, train the systems on each set, transcribe its test prompts, print tables.

    python recipes/speech_prompts/run.py                       6 minutes for each training
    python recipes/speech_prompts/run.py --minutes 1           a short trial
    python recipes/speech_prompts/run.py --set tuxpaint_fr     one set only

Prints the character and word error rates, for each set on its own. All files are written below
recipes/speech_prompts/data/SET/6-minutes (the name follows the minutes). After Ctrl-C or a kill, the same command
continues.
"""

import sys
from pathlib import Path

from prepare import DATA, LANGUAGES

sys.path.insert(0, str(Path(__file__).parents[1]))
from run_options import recipe_parser
from stages import (
    System,
    guided,
    model_path,
    prepare_data,
    publish,
    read_test,
    run_systems,
    train_language_model,
)
from tables import facts_table, rows_of, scores_table

HERE = Path(__file__).parent
METRICS = ("character_error_rate", "word_error_rate")
SETS = ("asterisk_en", *(f"tuxpaint_{language}" for language in LANGUAGES))
LANGUAGE_MODEL_MINUTES = 2
LOCATION_CTC = ("model.attention=location", "model.ctc=true")
SYSTEMS = (
    System("attention", "attention", seeds=3),
    System("ctc", "attention and CTC", ("model.ctc=true",), seeds=3),
    System("location-ctc", "location-aware attention and CTC", LOCATION_CTC, seeds=3),
    System(
        "masks",
        "location-aware attention and CTC, SpecAugment",
        (*LOCATION_CTC, "train.time_masks=2", "train.feature_masks=2"),
        seeds=3,
    ),
)

GUIDED = SYSTEMS[-2:]  # also searched with a language model


def report(name: str, data: Path, results: Path, language_model: Path) -> str:
    """Return the tables of a set: the systems that have run."""
    test = read_test(data / "test.tsv", files=True)
    rows = rows_of(results, [*SYSTEMS, *(guided(system, language_model) for system in GUIDED)])
    scores = scores_table(test, rows, METRICS)
    return f"{name}\n\n{scores}\n{facts_table(results, SYSTEMS)}"


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    parser = recipe_parser(__doc__, DATA, 6)
    parser.add_argument("--set", dest="sets", action="append", choices=SETS, help="only this one (repeatable)")
    arguments = parser.parse_args()
    prepare_data(HERE, arguments.data, f"{SETS[-1]}/test.tsv")
    for name in arguments.sets or SETS:
        data = arguments.data / name
        tests = {"test": read_test(data / "test.tsv", files=True).sources}
        how = {"data": data, **{name: getattr(arguments, name) for name in ("minutes", "steps", "threads", "seeds")}}
        results = run_systems(SYSTEMS, tests, HERE / "config.toml", **how)
        language_model = train_language_model(
            model_path(results, SYSTEMS[-1], 1),
            data / "train.tsv",
            data / "dev.tsv",
            min(arguments.minutes, LANGUAGE_MODEL_MINUTES),
            arguments.threads,
        )
        run_systems([guided(system, language_model) for system in GUIDED], tests, HERE / "config.toml", **how)
        publish(results, report(name, data, results, language_model))


if __name__ == "__main__":
    main()
