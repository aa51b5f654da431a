"""`peephole check`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from peephole.cli.options import build_config
from peephole.errors import printable
from peephole.training.waiting import waiting

if TYPE_CHECKING:
    from peephole.training.checking import DataCheck


@click.command()
@click.argument("train_file", metavar="PAIRS")
@click.option("--dev", metavar="PAIRS", help="The dev file of the training.")
@click.option("--test", metavar="PAIRS", help="A file for the final evaluation, which training does not read.")
@click.option("--config", "config_path", metavar="FILE.toml", help="Settings, by section.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    train_file: str,
    dev: str | None,
    test: str | None,
    config_path: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check PAIRS before training on them: what is in the file, and what training would make of it.

    Prints skipped lines, duplicates, sources with several targets, lengths, rare and odd characters, what the files
    have in common, and the symbols, sizes, memory and time of a training. Findings are no errors: the exit code is 0.
    """
    from peephole.training.checking import check

    config = build_config(config_path, assignments, {})
    with waiting(f"reading {train_file}"):
        found = check(train_file, dev, test, config=config)
    if as_json:
        sys.stdout.write(json.dumps(found.to_dict(), ensure_ascii=False) + "\n")
        return
    sys.stdout.writelines(printable(line) + "\n" for line in lines_of(found))


def lines_of(found: DataCheck) -> Iterator[str]:
    """Yield a check as lines of text."""
    for file in found.files:
        yield f"{file.role}: {file.name}: {file.num_pairs:,} {'steps' if 'table' in file.lengths else 'pairs'}"
        for side, lengths in file.lengths.items():
            if side != "table":
                shortest, longest, median, usual = (
                    f"{length:,.0f}" if length == round(length) else f"{length:,.6g}"
                    for length in (lengths.shortest, lengths.longest, lengths.median, lengths.usual)
                )
                yield f"  {side}s: {shortest} to {longest} {lengths.unit}, half up to {median}, 99 % up to {usual}"
        yield from (f"  {line}" for line in file.lines)
        for finding in file.findings:
            yield f"  * {finding.message}"
            yield from (f"      {example}" for example in finding.examples)
    for overlap in found.overlaps:
        yield f"{'* ' if overlap.folded_sources else ''}{overlap.message}"
        yield from (f"      {example}" for example in overlap.examples)
    if found.plan is None:
        yield f"training cannot begin: {found.problem}"
    else:
        yield "training would print and need:"
        yield from (f"  {line}" for line in found.plan.lines())
