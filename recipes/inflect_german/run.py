"""Run the whole recipe: download the nouns, train a model, inflect the test nouns, print the table.

    python recipes/inflect_german/run.py                 25 minutes of training
    python recipes/inflect_german/run.py --minutes 1     a short trial

The table is that of report.py. All files are written below recipes/inflect_german/data/25-minutes (the name follows the
minutes). After Ctrl-C or a kill, the same command continues.
"""

import sys
from pathlib import Path

from prepare import DATA
from report import read_pairs, table

sys.path.insert(0, str(Path(__file__).parents[1]))
from run_options import recipe_parser
from stages import System, model_path, prepare_data, publish, run_systems
from tables import facts_table

HERE = Path(__file__).parent
SYSTEMS = (System("model", "model", searches=()),)  # report.py predicts


def main() -> None:
    """Run the stages that are not finished, and print the table."""
    arguments = recipe_parser(__doc__, DATA, 25).parse_args()
    prepare_data(HERE, arguments.data)
    results = run_systems(
        SYSTEMS,
        {},
        HERE / "config.toml",
        data=arguments.data,
        minutes=arguments.minutes,
        threads=arguments.threads,
        steps=arguments.steps,
        seeds=arguments.seeds,
    )
    train, test = (read_pairs(arguments.data / name) for name in ("train.tsv", "test.tsv"))
    model = str(model_path(results, SYSTEMS[0], 1))
    publish(results, f"{table(train, test, model)}\n\n{facts_table(results, SYSTEMS)}")


if __name__ == "__main__":
    main()
