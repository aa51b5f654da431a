"""`peephole score`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from peephole.cli.lines import print_note
from peephole.cli.notes import NoticePrinter
from peephole.cli.options import given_settings, load_models, setting_options
from peephole.cli.progress import line_counter
from peephole.data import Report
from peephole.data.files import shown_name
from peephole.model.pairs import score_pairs


@click.command()
@click.argument("models", metavar="MODEL")
@click.argument("pairs_file", metavar="PAIRS")
@setting_options("search.batch_size", "search.threads", "data.bad_lines")
@click.option("--tokens", is_flag=True, help="Targets are tokens with spaces between them, as `predict --json` prints.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(models: str, pairs_file: str, tokens: bool, as_json: bool, **options: Any) -> None:
    """Print log p(target | source), natural logarithm, for each pair of PAIRS, one a line.

    MODEL is a model file, or several separated by commas, an ensemble. PAIRS is a file as `peephole train` reads,
    or stdin (-) or another pipe, which is TSV unless its name says otherwise.
    A target is split into symbols as in training; with subwords, --tokens scores the predicted segmentation.
    For a model of series PAIRS is a table, and a line of the output the log density of `data.horizon` steps of it.
    """
    model = load_models(models, options)
    search = given_settings(model, options)
    if model.config.model.predicts_vectors:
        if tokens:
            raise click.UsageError("--tokens is for texts; this is a model of series")
        from peephole.cli.forecasts import write_scores  # imports NumPy

        write_scores(model, pairs_file, as_json=as_json, **search)
        return
    name = shown_name(pairs_file)
    report, printer = Report(name), NoticePrinter(name)
    with line_counter() as add:
        for part in score_pairs(model, pairs_file, tokens=tokens, report=report, **search):
            printer.take_all(part.notices, [pair.line for pair in part.pairs])
            for (source, target, _), log_prob in zip(part.pairs, part.log_probs, strict=True):
                entry = {"source": source, "target": target, "log_prob": log_prob}
                sys.stdout.write((json.dumps(entry, ensure_ascii=False) if as_json else f"{log_prob:.6f}") + "\n")
            add(len(part.pairs))
    printer.print_totals()
    for line in report.lines():
        print_note(line)
