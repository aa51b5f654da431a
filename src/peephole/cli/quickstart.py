"""`peephole quickstart`."""

from __future__ import annotations

import math
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from peephole.cli.progress import progress_bars
from peephole.config import Config
from peephole.data.cmudict import write_cmudict
from peephole.errors import check_path, printable
from peephole.evaluation import render
from peephole.inspect import draw_attention, make_page
from peephole.inspect.report import report
from peephole.model import Model
from peephole.model.evaluation import evaluate
from peephole.training.budget_settings import SHORT, TRIGRAMS
from peephole.training.run_file import run_folder

SHOWN_WORDS = 10
DRAWN_WORDS = 6


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.01), default=4.5, show_default=True, help="Time to train.")
@click.option("--folder", default="quickstart", show_default=True, help="Where data, model and picture are written.")
def command(minutes: float, folder: str) -> None:
    """Train a model of English pronunciation on CMUdict (letters → phones), and show its predictions and attention.

    Writes the data as TSV, the model as one file, a page that shows one prediction from the inside, the report of the
    training and, with matplotlib, a picture of the attention.
    """
    check_path("--folder", folder)
    started = time.monotonic()
    # The words are seen seven to ten times, and letters and phones follow each other in the same order
    own: dict[str, object] = {"model.encoder_size": 256, "model.attention": "location"}
    own |= {"train.minutes": minutes, "train.evaluations": 10, "train.dev_pairs": 2500}
    config = Config().with_values({**SHORT, **TRIGRAMS, **own}, "command line")
    output_folder = Path(folder)
    write_cmudict(output_folder)
    from peephole.training import train

    sys.stderr.write(f"English pronunciation, letters → phones, from CMUdict; training for {minutes:g} minutes\n")
    path = output_folder / "g2p.safetensors"
    model = train(output_folder / "train.tsv", output_folder / "dev.tsv", path, config=config, overwrite=True)
    with progress_bars("reading the test words") as progress:
        result = evaluate(model, output_folder / "test.tsv", worst=3, exposure_gap=False, progress=progress)
    console = Console()
    console.print(render(result.evaluation))
    step = len(result.sources) // SHOWN_WORDS
    references = dict(zip(result.sources, result.references, strict=True))
    show_words(console, model, result.sources[::step][:SHOWN_WORDS], references)
    words = result.sources[:: len(result.sources) // DRAWN_WORDS][:DRAWN_WORDS]
    drawn = model.predict(words)
    shown, folder = printable(str(path)), printable(str(output_folder))
    picture = ""
    if find_spec("matplotlib") is not None:  # the page shows the attention, too
        draw_attention([best[0] for best in drawn], output_folder / "attention.png")
        picture = f", its attention {folder}/attention.png"
    inspected = next(
        (word for word, [best] in zip(words, drawn, strict=True) if best.text not in references[word]), words[0]
    )
    make_page(model, inspected, reference=references[inspected][0]).save(output_folder / "page.html")
    with progress_bars("reading the run") as progress:
        report(run_folder(path), output_folder / "test.tsv", output_folder / "report.html", progress=progress)
    console.print(
        f"done in {(time.monotonic() - started) / 60:.1f} minutes: the model is {shown}{picture}; in a browser, "
        f"{folder}/page.html shows one prediction from the inside, and {folder}/report.html the training, its quality "
        "and its errors\n\nNext:\n"
        f"  echo hello | peephole predict {shown}\n"
        f"  peephole predict {shown} --nbest 3 --json words.txt\n"
        f"  peephole inspect {shown} peephole -o page.html\n"
        f"  peephole evaluate {shown} {folder}/test.tsv\n"
        f"  peephole train YOUR_PAIRS.tsv --out your.safetensors --minutes 10\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def show_words(console: Console, model: Model, words: list[str], references: dict[str, tuple[str, ...]]) -> None:
    """Print the three best predictions of some held-out words with their probabilities."""
    table = Table(title="held-out words, three best predictions with p(Y | X); ✓: in the dictionary")
    for column in ("word", "1st", "2nd", "3rd"):
        table.add_column(column)
    for word, found in zip(words, model.predict(words, nbest=3), strict=True):
        cells = [
            f"{p.text}  {100 * math.exp(p.log_prob):.0f} %{' ✓' if p.text in references[word] else ''}" for p in found
        ]
        table.add_row(word, *cells)
    console.print(table)
