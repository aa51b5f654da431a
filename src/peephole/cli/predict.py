"""`peephole predict`."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import click

from peephole.cli.lines import in_parts, read_lines
from peephole.cli.options import given, setting_options
from peephole.model import Model, Prediction, TruncatedSourceWarning, UnknownSymbolWarning, load

BATCHES_AT_A_TIME = 16  # read together, so that sources of like length can share a batch


@click.command()
@click.argument("models", metavar="MODEL")
@setting_options("search.*")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: predictions, scores, attention.")
def command(models: str, as_json: bool, **options: Any) -> None:
    """Read sources from stdin, one a line, and write the predicted targets to stdout, in the same order.

    MODEL is a model file; several, separated by commas, are used as an ensemble. With --nbest or sampling each line of
    output holds the number of the source, log p, and the target, separated by tabs. With --batch-size 1 each line is
    answered before the next is read.
    """
    model = load(*models.split(","))
    search: dict[str, Any] = {name.removeprefix("search."): value for name, value in given(options).items()}
    settings = model.config.with_values({f"search.{k}": v for k, v in search.items()}).search
    size = 1 if settings.batch_size == 1 else settings.batch_size * BATCHES_AT_A_TIME
    several = settings.nbest > 1 or settings.temperature is not None
    notes = Notes()
    first = 0
    for sources in in_parts(read_lines(sys.stdin.buffer, "stdin"), size):
        notes.take(model, sources, first)
        with warnings.catch_warnings():  # counted over the whole stream instead
            warnings.simplefilter("ignore", (UnknownSymbolWarning))
            warnings.simplefilter("ignore", (TruncatedSourceWarning))
            found = model.predict(sources, first_index=first, **search)
        for number, (source, predictions) in enumerate(zip(sources, found, strict=True), start=first + 1):
            sys.stdout.write(format_line(number, source, predictions, several, as_json))
        sys.stdout.flush()
        first += len(sources)
    notes.print()


def format_line(number: int, source: str, predictions: list[Prediction], several: bool, as_json: bool) -> str:
    """Return the output for one source."""
    if as_json:
        return (
            json.dumps({"source": source, "predictions": [as_dict(p) for p in predictions]}, ensure_ascii=False) + "\n"
        )
    if several:
        return "".join(f"{number}\t{p.log_prob:.4f}\t{p.text}\n" for p in predictions)
    return predictions[0].text + "\n"


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


class Notes:
    """Counts what the model cannot read as it stands; says so at the first case and at the end."""

    def __init__(self) -> None:
        self.unknown = self.truncated = self.empty = 0

    def take(self, model: Model, sources: list[str], first: int) -> None:
        """Count the cases of some sources, the first of which is line first + 1."""
        limit = model.config.data.max_length
        for line, source in enumerate(sources, start=first + 1):
            unknown = model.unknown_symbols([source])
            if unknown and not self.unknown:
                self._say(
                    f"line {line}: {next(iter(unknown))!r} was not seen in training; such symbols are read as <unk>"
                )
            length = len(model.source_symbols.split(source))
            if length > limit and not self.truncated:
                self._say(f"line {line}: {length} symbols; only the first {limit} are read (data.max_length)")
            if not length and not self.empty:
                self._say(f"line {line}: is empty; the target of an empty source is empty")
            self.unknown += unknown.total()
            self.truncated += length > limit
            self.empty += not length

    def print(self) -> None:
        """Say how many cases there were."""
        if self.unknown:
            self._say(f"{self.unknown} unknown symbols in all were read as <unk>")
        if self.truncated:
            self._say(f"{self.truncated} lines in all were too long and read in part")
        if self.empty:
            self._say(f"{self.empty} lines in all were empty")

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"peephole: {text}\n")
