"""`peephole predict`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from peephole.cli.lines import in_parts, one_line, read_lines
from peephole.cli.notes import Notes, counted_here
from peephole.cli.options import given, setting_options
from peephole.errors import DataError
from peephole.model import Prediction, load

BATCHES_AT_A_TIME = 16  # read together, so that sources of like length can share a batch


@click.command()
@click.argument("models", metavar="MODEL")
@setting_options("search.*")
@click.option("--prefixed", is_flag=True, help="A line is a source, a tab, and the text that its targets begin with.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: predictions, scores, attention.")
def command(models: str, prefixed: bool, as_json: bool, **options: Any) -> None:
    """Read sources from stdin, one a line, and write the predicted targets to stdout, in the same order.

    MODEL is a model file; several, separated by commas, are used as an ensemble. With --nbest or sampling each line of
    output holds the number of the source, log p, and the target, separated by tabs. With --batch-size 1 each line is
    answered before the next is read. Line breaks in a target are written as spaces; --json keeps them.
    """
    model = load(*models.split(","))
    search: dict[str, Any] = {name.removeprefix("search."): value for name, value in given(options).items()}
    settings = model.config.with_values(given(options), "command line").search
    size = 1 if settings.batch_size == 1 else settings.batch_size * BATCHES_AT_A_TIME
    several = settings.nbest > 1 or settings.temperature is not None
    notes = Notes("stdin", model)
    first = 0
    for lines in in_parts(read_lines(sys.stdin.buffer, "stdin"), size):
        sources, prefixes = split_prefixes(lines, first) if prefixed else (lines, None)
        for line, source in enumerate(sources, start=first + 1):
            notes.take(line, source)
        with counted_here():
            found = model.predict(sources, first_index=first, prefixes=prefixes, attention=as_json, **search)
        for number, (source, predictions) in enumerate(zip(sources, found, strict=True), start=first + 1):
            sys.stdout.write(format_line(number, source, predictions, several, as_json))
        sys.stdout.flush()
        first += len(sources)
    notes.print()


def split_prefixes(lines: list[str], first: int) -> tuple[list[str], list[str]]:
    """Return the sources and prefixes of lines that hold both, `first` lines being before them.

    >>> split_prefixes(["cat\\tK", "dog\\t"], 0)
    (['cat', 'dog'], ['K', ''])
    """
    columns = [line.split("\t") for line in lines]
    for number, row in enumerate(columns, start=first + 1):
        if len(row) > 2:
            raise DataError(f"stdin, line {number}: wanted a source, a tab and a prefix, got {len(row)} columns")
    return [row[0] for row in columns], [row[1] if len(row) > 1 else "" for row in columns]


def format_line(number: int, source: str, predictions: list[Prediction], several: bool, as_json: bool) -> str:
    """Return the output for one source."""
    if as_json:
        return (
            json.dumps({"source": source, "predictions": [as_dict(p) for p in predictions]}, ensure_ascii=False) + "\n"
        )
    if several:
        return "".join(f"{number}\t{p.log_prob:.4f}\t{one_line(p.text)}\n" for p in predictions)
    return one_line(predictions[0].text) + "\n"


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as plain JSON values."""
    attention = prediction.attention
    return {
        "text": prediction.text,
        "tokens": prediction.tokens,
        "log_prob": prediction.log_prob,
        "symbol_log_probs": prediction.symbol_log_probs,
        "finished": prediction.finished,
        "source_tokens": prediction.source_tokens,
        "attention": None if attention is None else [[round(float(a), 5) for a in row] for row in attention],
    }
