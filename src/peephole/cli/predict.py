"""`peephole predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from peephole.cli.lines import in_parts, one_line, read_lines
from peephole.cli.notes import NoticePrinter
from peephole.cli.options import given_settings, load_models, setting_options
from peephole.errors import DataError, PrefixError
from peephole.model import Model, Notices, Prediction

BATCHES_AT_A_TIME = 16  # read together, so that sources of similar length can share a batch


@click.command()
@click.argument("models", metavar="MODEL")
@setting_options("search.*")
@click.option("--prefixed", is_flag=True, help="A line is a source, a tab, and the text that its targets begin with.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: predictions, scores, attention.")
def command(models: str, prefixed: bool, as_json: bool, **options: Any) -> None:
    """Read sources from stdin, one a line, and write the predicted targets to stdout, in the same order.

    MODEL is a model file; several, separated by commas, are used as an ensemble. With --nbest or sampling each line of
    output holds the number of the source, log p, and the target, separated by tabs. With --batch-size 1 each line is
    predicted before the next is read. Line breaks in a target are written as spaces; --json keeps them.
    """
    model = load_models(models)
    search = given_settings(model, options)
    settings = model.config.with_values({f"search.{name}": value for name, value in search.items()}).search
    several = settings.nbest > 1 or settings.temperature is not None
    if sys.stdin is None:
        raise DataError("stdin: is closed; wanted sources, one a line")
    lines = read_lines(sys.stdin.buffer, "stdin")
    tasks = split_prefixes(lines) if prefixed else ((line.strip(), None) for line in lines)
    size = 1 if settings.batch_size == 1 else settings.batch_size * BATCHES_AT_A_TIME
    printer = NoticePrinter("stdin")
    for number, source, found in predict_lines(model, in_parts(tasks, size), printer, attention=as_json, **search):
        sys.stdout.write(format_line(number, source, found, several, as_json))
    printer.print_totals()


def split_prefixes(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield source and prefix of each line.

    Raises:
        DataError: a line has more columns; names the line.
    """
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if len(columns) > 2:
            raise DataError(f"stdin, line {number}: wanted a source, a tab and a prefix, got {len(columns)} columns")
        yield columns[0].strip(), "".join(columns[1:])


def predict_lines(
    model: Model, parts: Iterable[list[tuple[str, str | None]]], printer: NoticePrinter, **settings: Any
) -> Iterator[tuple[int, str, list[Prediction]]]:
    """Yield number, source and predictions of each line, and flush stdout after each part.

    Raises:
        DataError: a prefix is as long as its target may be; names the line, after all lines before it.
    """
    first = 0
    for part in parts:
        wrong = None
        try:
            found, notices = predict_part(model, part, first, settings)
        except PrefixError as error:
            wrong, part = error, part[: error.index]
            found, notices = predict_part(model, part, first, settings)
        printer.take_all(notices, range(1, first + len(part) + 1))
        for number, ((source, _), predictions) in enumerate(zip(part, found, strict=True), start=first + 1):
            yield number, source, predictions
        sys.stdout.flush()
        if wrong is not None:
            raise DataError(f"stdin, line {first + wrong.index + 1}: {wrong.reason}")
        first += len(part)


def predict_part(
    model: Model, part: list[tuple[str, str | None]], first: int, settings: dict[str, Any]
) -> tuple[list[list[Prediction]], Notices]:
    """Return the predictions of some lines, and the notices of unknown symbols and truncated sources."""
    notices = Notices()
    prefixes = [prefix for _, prefix in part if prefix is not None]
    found = model.predict(
        [source for source, _ in part], prefixes=prefixes or None, first_index=first, notices=notices, **settings
    )
    return found, notices


def format_line(number: int, source: str, predictions: list[Prediction], several: bool, as_json: bool) -> str:
    """Return the output for one source."""
    if as_json:
        entry = {"source": source, "predictions": [prediction.to_dict() for prediction in predictions]}
        return json.dumps(entry, ensure_ascii=False) + "\n"
    if several:
        return "".join(f"{number}\t{p.log_prob:.4f}\t{one_line(p.text)}\n" for p in predictions)
    return one_line(predictions[0].text) + "\n"
