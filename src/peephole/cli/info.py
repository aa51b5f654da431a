"""`peephole info`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from peephole.cli.options import file_names
from peephole.errors import RunError, printable
from peephole.model.info import info
from peephole.model.loading import read_model


@click.command()
@click.argument("models", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each model.")
def command(models: str, as_json: bool) -> None:
    """Describe MODEL: its network, symbols and settings, and which programs and data made it.

    The whole file is checked. Of several files, separated by commas, each is described. Of the folder of a run, the
    trials of its search of settings are listed.
    """
    if models and Path(models).is_dir():
        describe_search(Path(models), as_json)
        return
    found = [info(member) for member in read_model(file_names(models)).members]
    if as_json:
        sys.stdout.writelines(to_json(entry.to_dict()) + "\n" for entry in found)
    else:
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in entry.lines()) for entry in found))


def describe_search(folder: Path, as_json: bool) -> None:
    """Print the trials of the search of settings in a run's folder."""
    from peephole.training.run_file import read_run
    from peephole.training.tuning.trial_log import read_trials
    from peephole.training.tuning.trial_report import trial_table

    run = read_run(folder)
    if run.tuning is None:
        raise RunError(f"{folder}: its settings were not searched; `peephole info` describes its model, {run.out}")
    trials = read_trials(folder)
    if as_json:
        entry = {"model": run.out, "best": run.tuning.best, "minutes": run.tuning.minutes}
        sys.stdout.write(to_json(entry | {"trials": [trial.to_dict() for trial in trials]}) + "\n")
    else:
        lines = trial_table(trials, run.config.train.dev_metric, run.tuning.best)
        sys.stdout.writelines(printable(line) + "\n" for line in lines)


def to_json(tree: dict[str, Any]) -> str:
    r"""Return JSON values as text, escaped where UTF-8 has no bytes for it.

    >>> to_json({"a": "é"}), to_json({"a": "\udc80"})
    ('{"a": "é"}', '{"a": "\\udc80"}')
    """
    text = json.dumps(tree, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(tree)
    return text
