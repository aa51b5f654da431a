"""`peephole predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from peephole.cli.lines import in_parts, one_line, read_lines
from peephole.cli.notes import Notes, counted_here
from peephole.cli.options import given, load_models, setting_options
from peephole.config import SearchConfig
from peephole.errors import DataError
from peephole.model import TOO_LONG_PREFIX, Model, Prediction

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
    model = load_models(models)
    search: dict[str, Any] = {name.removeprefix("search."): value for name, value in given(options).items()}
    settings = model.config.with_values(given(options), "command line").search
    size = 1 if settings.batch_size == 1 else settings.batch_size * BATCHES_AT_A_TIME
    several = settings.nbest > 1 or settings.temperature is not None
    notes = Notes("stdin", model)
    first = 0
    if sys.stdin is None:
        raise DataError("stdin: is closed; wanted sources, one a line")
    lines = read_lines(sys.stdin.buffer, "stdin")
    tasks = with_prefixes(lines, model, settings) if prefixed else ((line.strip(), "") for line in lines)
    for part in in_parts(tasks, size):
        sources, prefixes = map(list, zip(*part, strict=True))
        for line, (source, prefix) in enumerate(part, start=first + 1):
            notes.take(line, source, prefix)
        with counted_here():
            given_prefixes = prefixes if prefixed else None
            found = model.predict(sources, first_index=first, prefixes=given_prefixes, attention=as_json, **search)
        for number, (source, predictions) in enumerate(zip(sources, found, strict=True), start=first + 1):
            sys.stdout.write(format_line(number, source, predictions, several, as_json))
        sys.stdout.flush()
        first += len(sources)
    notes.print()


def with_prefixes(lines: Iterator[str], model: Model, search: SearchConfig) -> Iterator[tuple[str, str]]:
    """Yield source and prefix of each line.

    Raises:
        DataError: a line has more columns, or a prefix as long as its target may be; names the line.
    """
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if len(columns) > 2:
            raise DataError(f"stdin, line {number}: wanted a source, a tab and a prefix, got {len(columns)} columns")
        source, prefix = columns[0].strip(), "".join(columns[1:])
        most, length = model.longest_target(source, search), len(model.target_symbols.encode(prefix))
        if source and length >= most:
            raise DataError(f"stdin, line {number}: {TOO_LONG_PREFIX.format(most=most, length=length)}")
        yield source, prefix


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
