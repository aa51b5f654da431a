"""`peephole score`."""

from __future__ import annotations

import json
import sys
from itertools import islice

import click

from peephole.cli.notes import Notes, counted_here
from peephole.cli.options import load_models
from peephole.data import Report, read_pairs

PAIRS_AT_A_TIME = 1024


@click.command()
@click.argument("models", metavar="MODEL")
@click.argument("pairs_file", metavar="PAIRS")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(models: str, pairs_file: str, as_json: bool) -> None:
    """Print log p(target | source), natural logarithm, for each pair of PAIRS, one a line.

    MODEL is a model file, or several separated by commas, an ensemble. PAIRS is a file as `peephole train` reads.
    """
    model = load_models(models)
    report = Report(pairs_file)
    notes = Notes(pairs_file, model)
    pairs = read_pairs(pairs_file, model.config.data, report)
    while part := list(islice(pairs, PAIRS_AT_A_TIME)):
        for pair in part:
            notes.take(pair.line, pair.source, pair.target)
        with counted_here():
            scores = model.score([pair.source for pair in part], [pair.target for pair in part])
        for pair, score in zip(part, scores, strict=True):
            entry = {"source": pair.source, "target": pair.target, "log_prob": score}
            sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else f"{score:.6f}") + "\n")
    notes.print()
    for line in report.lines():
        sys.stderr.write(f"peephole: {line}\n")
