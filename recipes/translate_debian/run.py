"""Run the whole recipe: download the data, train the models, translate the test sentences, score.

    python recipes/translate_debian/run.py                     60 minutes for each training
    python recipes/translate_debian/run.py --minutes 2         a short trial
    python recipes/translate_debian/run.py --to ko --system attention --system copying

The models differ in the decoder's context, attention or the encoder's last state (`model.context=last`), as in
the first sequence-to-sequence models, and in the output: the third copies subwords, too (`model.output=copy`), and has
one table of 8,000 subwords for both sides. All files are written below
recipes/translate_debian/data/en-it/60-minutes (the names follow language and minutes): models, logs of the trainings,
predictions, report.md and by_length.png.

After Ctrl-C or a kill, the same command continues the training and skips finished stages. To start again, remove the
folder.
"""

import argparse
import sys
from pathlib import Path

from report import SYSTEMS, report

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import run
from run_options import recipe_parser
from stages import check_packages, read_test, run_systems

HERE = Path(__file__).parent
DATA = HERE / "data"
FILES = ("train.tsv", "dev.tsv", "test.tsv")


def shared_options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that run.py and opennmt.py share."""
    parser = recipe_parser(description, DATA, 60)
    parser.add_argument("--to", default="it", metavar="LANGUAGE", help="language to translate to (default: it)")
    return parser


def main() -> None:
    """Run the stages that are not finished."""
    parser = shared_options(__doc__)
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="a setting")
    names = [system.name for system in SYSTEMS]
    parser.add_argument("--system", dest="systems", action="append", choices=names, help="only this (repeatable)")
    arguments = parser.parse_args()
    check_packages("matplotlib")  # draws by_length.png

    data = arguments.data / f"en-{arguments.to}"
    if not all((data / name).is_file() for name in FILES):
        print(run([sys.executable, str(HERE / "prepare.py"), "--to", arguments.to, "--out", str(data)]))
    results = run_systems(
        [system for system in SYSTEMS if system.name in (arguments.systems or names)],
        {"test": read_test(data / "test.tsv").sources},
        HERE / "config.toml",
        data=data,
        minutes=arguments.minutes,
        threads=arguments.threads,
        steps=arguments.steps,
        seeds=arguments.seeds,
        settings=arguments.settings,
    )
    report(results, data / "test.tsv")


if __name__ == "__main__":
    main()
