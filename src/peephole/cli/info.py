"""`peephole info`."""

from __future__ import annotations

import json
import sys

import click

from peephole.cli.options import file_names
from peephole.model.info import info
from peephole.model.loading import read_model


@click.command()
@click.argument("models", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each model.")
def command(models: str, as_json: bool) -> None:
    """Describe MODEL: its network, symbols and settings, and how and on what it was made.

    The whole file is checked. Of several files, separated by commas, each is described.
    """
    found = [info(member) for member in read_model(file_names(models)).members]
    if as_json:
        sys.stdout.writelines(json.dumps(entry.to_dict(), ensure_ascii=False) + "\n" for entry in found)
    else:
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in entry.lines()) for entry in found))
