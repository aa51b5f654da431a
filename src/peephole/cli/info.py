"""`peephole info`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from peephole.cli.options import file_names
from peephole.model.info import info
from peephole.model.loading import read_model


@click.command()
@click.argument("models", metavar="MODEL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each model.")
def command(models: str, as_json: bool) -> None:
    """Describe MODEL: its network, symbols and settings, and which programs and data made it.

    The whole file is checked. Of several files, separated by commas, each is described.
    """
    found = [info(member) for member in read_model(file_names(models)).members]
    if as_json:
        sys.stdout.writelines(to_json(entry.to_dict()) + "\n" for entry in found)
    else:
        sys.stdout.write("\n".join("".join(f"{line}\n" for line in entry.lines()) for entry in found))


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
