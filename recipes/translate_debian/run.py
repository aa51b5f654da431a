"""Run the whole recipe: download the data, train three models, translate the test sentences, score.

    python recipes/translate_debian/run.py                     60 minutes for each of the models
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
import json
import os
import sys
from pathlib import Path

from report import SEARCHES, predictions_path, read_test, report

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import predict, run_logged, training_facts, write_text

HERE = Path(__file__).parent
DATA = HERE / "data"
FILES = ("train.tsv", "dev.tsv", "test.tsv")
SETTINGS = {
    "attention": ["model.context=attention"],
    "fixed": ["model.context=last"],
    "copying": ["model.output=copy", "symbols.shared=true"],  # a word that is copied is then split as in the target
}


def train(data: Path, results: Path, system: str, assignments: list[str]) -> None:
    """Train a model or resume its training, and write its facts; resuming a finished training takes a few seconds."""
    folder, model = results / f"{system}.run", results / f"{system}.safetensors"
    command = [sys.executable, "-m", "peephole", "train"]
    if folder.exists():
        command += ["--resume", str(folder)]
    else:
        command += [str(data / "train.tsv"), "--dev", str(data / "dev.tsv"), "--out", str(model)]
        command += ["--config", str(HERE / "config.toml")]
        command += [word for assignment in (*SETTINGS[system], *assignments) for word in ("--set", assignment)]
    memory = run_logged(command, results / f"{system}.log")
    write_text(results / f"{system}.json", json.dumps(training_facts(model) | {"memory": memory}, indent=1) + "\n")


def shared_options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that run.py and opennmt.py share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="it", metavar="LANGUAGE", help="language to translate to (default: it)")
    parser.add_argument("--minutes", type=float, default=60, help="of training, for each system (default: 60)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each system (default: all cores)")
    return parser


def main() -> None:
    """Run the stages that are not finished."""
    parser = shared_options(__doc__)
    parser.add_argument("--set", dest="assignments", metavar="KEY=VALUE", action="append", default=[], help="a setting")
    parser.add_argument("--system", dest="systems", action="append", choices=SETTINGS, help="only this (repeatable)")
    arguments = parser.parse_args()

    data = DATA / f"en-{arguments.to}"
    results = data / f"{arguments.minutes:g}-minutes"
    results.mkdir(parents=True, exist_ok=True)
    if not all((data / name).is_file() for name in FILES):
        command = [sys.executable, str(HERE / "prepare.py"), "--to", arguments.to, "--out", str(data)]
        run_logged(command, data / "prepare.log")
    test = read_test(data / "test.tsv")
    settings = [f"train.minutes={arguments.minutes}", f"train.threads={arguments.threads}", *arguments.assignments]
    for system in arguments.systems or SETTINGS:
        if not (results / f"{system}.json").is_file():
            train(data, results, system, settings)
        for search, beam_size in SEARCHES.items():
            path = predictions_path(results, system, search)
            options = {"beam_size": beam_size, "threads": arguments.threads}
            predict(results / f"{system}.safetensors", test.sources, path, options)
    report(results, data / "test.tsv")


if __name__ == "__main__":
    main()
