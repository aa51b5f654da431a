"""`peephole quickstart`."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from peephole.cli.evaluate import predict_all, read_references
from peephole.config import Config
from peephole.data.cmudict import cmudict_split
from peephole.evaluation import evaluate_predictions, render
from peephole.inspect import draw_attention
from peephole.model import Model
from peephole.training import train

SHOWN_WORDS = 10
DRAWN_WORDS = 6


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.01), default=4.3, show_default=True, help="Time to train.")
@click.option("--folder", default="quickstart", show_default=True, help="Where data, model and picture are written.")
def command(minutes: float, folder: str) -> None:
    """Learn to pronounce English: train on CMUdict (letters → phones) and look at what was learned.

    Writes the data as TSV, the model as one file, and a picture of its attention.
    """
    started = time.monotonic()
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, pairs in cmudict_split().items():
        lines = "".join(f"{word}\t{phones}\n" for word, phones in pairs)
        (place / f"{name}.tsv").write_text(lines, encoding="utf-8")
    sys.stderr.write(f"English pronunciation, letters → phones, from CMUdict; training for {minutes:g} minutes\n")
    # Five passes over the words at most: higher steps than usual, and less time for looking at dev.
    config = Config().with_values({"train.minutes": minutes, "train.learning_rate": 0.003, "train.evaluations": 10})
    path = place / "g2p.safetensors"
    model = train(place / "train.tsv", place / "dev.tsv", path, config=config, overwrite=True)
    console = Console()
    sources, references = read_references(str(place / "test.tsv"), model)
    predictions = predict_all(model, sources, {}, "test words")
    console.print(render(evaluate_predictions(sources, predictions, references, model.target_symbols, num_worst=3)))
    words = sources[:: len(sources) // SHOWN_WORDS][:SHOWN_WORDS]
    show_words(console, model, words, dict(zip(sources, references, strict=True)))
    drawn = model.predict(sources[:: len(sources) // DRAWN_WORDS][:DRAWN_WORDS])
    draw_attention([best[0] for best in drawn], place / "attention.png")
    console.print(
        f"done in {(time.monotonic() - started) / 60:.1f} minutes: the model is {path}, its attention "
        f"{place / 'attention.png'}\n\nNext:\n"
        f"  echo hello | peephole predict {path}\n"
        f"  peephole predict {path} --nbest 3 --json < words.txt\n"
        f"  peephole evaluate {path} {place / 'test.tsv'}\n"
        f"  peephole train YOUR_PAIRS.tsv --out your.safetensors --minutes 10\n",
        highlight=False,
        soft_wrap=True,
    )


def show_words(console: Console, model: Model, words: list[str], references: dict[str, tuple[str, ...]]) -> None:
    """Print the three best predictions of some held-out words with their probabilities."""
    table = Table(title="held-out words, three best predictions with p(Y | X); ✓ stands in the dictionary")
    for column in ("word", "1st", "2nd", "3rd"):
        table.add_column(column)
    for word, found in zip(words, model.predict(words, nbest=3), strict=True):
        cells = [
            f"{p.text}  {100 * math.exp(p.log_prob):.0f} %{' ✓' if p.text in references[word] else ''}" for p in found
        ]
        table.add_row(word, *cells)
    console.print(table)
