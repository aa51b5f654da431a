"""Run the recipe at its largest: prepare the words, train models, pronounce the test words, print WER and PER.

    python recipes/g2p_cmudict/run.py FOLDER                 120 minutes for each training
    python recipes/g2p_cmudict/run.py FOLDER --minutes 2     a short trial

FOLDER holds the published files, as prepare.py describes; it is not needed when prepare.py has run.

Trains a model of 256 units with two encoder layers, one of 448 units (large.toml), and five of 448 units with three
encoder layers; keeps each one's last weights. The last row is the ensemble of the models with three encoder layers that
have been trained. All files are written below recipes/g2p_cmudict/data/120-minutes (the name follows the minutes).
After Ctrl-C or a kill, the same command continues.
"""

import sys
from pathlib import Path

from prepare import DATA

sys.path.insert(0, str(Path(__file__).parents[1]))
from run_options import recipe_parser
from stages import (
    BEAM,
    System,
    model_path,
    parse_with_folder,
    predict,
    publish,
    read_predictions,
    read_test,
    run_systems,
)
from tables import facts_table, rows_of, score, table

HERE = Path(__file__).parent
SYSTEMS = (
    System("small", "256 units, two encoder layers", ("model.hidden_size=256", "model.dropout=0.3")),
    System("large", "448 units, two encoder layers"),
    System("three", "448 units, three encoder layers", ("model.encoder_layers=3",), seeds=5),
)
METRICS = {"WER, %": "sequence_error_rate", "PER, %": "word_error_rate"}  # a phone is a word of the target


def report(data: Path, results: Path, threads: int) -> str:
    """Return the tables of the systems that have run, and of the ensemble."""
    test, rows = read_test(data / "test.tsv"), rows_of(results, SYSTEMS)
    paths = [model_path(results, SYSTEMS[-1], seed) for seed in range(1, SYSTEMS[-1].seeds + 1)]
    trained = [path for path in paths if path.with_suffix(".json").is_file()]
    if len(trained) > 1:
        path = results / f"ensemble.{len(trained)}.txt"
        predict(trained, test.sources, path, {"threads": threads, **BEAM.options})
        rows[f"ensemble of these {len(trained)}, {BEAM.name}"] = [read_predictions(path)]
    lines = []
    for name, predictions in rows.items():
        found = score(test, predictions, list(METRICS.values()))
        lines.append([name, *(str(found[metric]) for metric in METRICS.values())])
    heading = [f"{len(test.sources):,} test words", *METRICS]
    return f"{table(heading, lines)}\n{facts_table(results, SYSTEMS)}"


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    arguments = parse_with_folder(recipe_parser(__doc__, DATA, 120), HERE, "files")
    results = run_systems(
        SYSTEMS,
        {"test": read_test(arguments.data / "test.tsv").sources},
        HERE / "large.toml",
        data=arguments.data,
        minutes=arguments.minutes,
        threads=arguments.threads,
        steps=arguments.steps,
        seeds=arguments.seeds,
        settings=("train.keep=last",),
    )
    publish(results, report(arguments.data, results, arguments.threads))


if __name__ == "__main__":
    main()
