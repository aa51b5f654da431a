"""`peephole evaluate`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from peephole.cli.lines import print_note
from peephole.cli.notes import NoticePrinter
from peephole.cli.options import given_settings, load_models, setting_options
from peephole.cli.progress import progress_bars
from peephole.config import HIGHEST_COUNT
from peephole.data.files import shown_name
from peephole.errors import plural, printable
from peephole.evaluation import render, render_comparison
from peephole.evaluation.calibration import NUM_BINS, is_limit
from peephole.model.calibration import Calibration, check_calibration
from peephole.model.calibration import calibrate as fit
from peephole.model.evaluation import BEST_ONLY, Reading, describe_gap, evaluate


@click.command()
@click.argument("models", metavar="MODEL")
@click.argument("test_file", metavar="TEST")
@setting_options(
    "search.beam_size",
    "search.length_penalty",
    "search.ctc_weight",
    "search.language_model",
    "search.language_model_weight",
    "search.samples",
    "search.seed",
    "search.batch_size",
    "search.threads",
    "data.bad_lines",
)
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Instead of the usual metrics; repeatable.")
@click.option("--against", metavar="MODEL", help="A second model: is the difference significant?")
@click.option(
    "--worst",
    metavar="N",
    type=click.IntRange(0, HIGHEST_COUNT),
    default=10,
    help="Show the N worst errors.  [default: 10]",
)
@click.option(
    "--season",
    metavar="STEPS",
    type=click.IntRange(1, HIGHEST_COUNT),
    help="Of series: the season of the naive forecast.  [default: the steps forecast]",
)
@click.option("--calibrate", metavar="OUT", help="Also fit a temperature on TEST, and write the calibrated model.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    models: str,
    test_file: str,
    metrics: tuple[str, ...],
    against: str | None,
    worst: int,
    season: int | None,
    calibrate: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure MODEL on TEST, a file of pairs as `peephole train` reads, or stdin (-) or another pipe.

    A language model has its perplexity on a file of texts, one a line. A model of series forecasts the steps of a
    table TEST, window after window; each number counts once.

    Pairs with the same source are one source with several references. Intervals are 95 % bootstrap intervals over
    sources. The exposure gap is the gain in symbol error rate when the model is fed gold symbols instead of its own.

    --calibrate writes a model whose probabilities fit how often it is right, and prints its expected calibration error
    (ECE) before and after. TEST must then be pairs that the model was not trained on; measure it on others.
    """
    model = load_models(models, options)
    other = None if against is None else load_models(against)
    search = given_settings(model, options, **BEST_ONLY)
    if calibrate is not None:  # before the evaluation, which takes longer
        check_calibration(model, test_file, calibrate, against=other, **search)
    with progress_bars(f"reading {shown_name(test_file)}") as progress:
        result = evaluate(
            model,
            test_file,
            against=other,
            metrics=metrics,
            worst=worst,
            season=season,
            progress=progress,
            on_read=ReadingPrinter(shown_name(test_file)),
            **search,
        )
        found = None if calibrate is None else fit(model, test_file, calibrate, progress=progress, **search)
    if as_json:
        entry = result.to_dict() | ({} if found is None else {"calibration": found.to_dict()})
        sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return
    console = Console()
    console.print(render(result.evaluation))
    if result.exposure_gap is not None:
        console.print(describe_gap(result.exposure_gap), highlight=False)
    if result.comparison is not None:
        console.print(render_comparison(result.comparison, printable(models), printable(str(against))))
    if found is not None:
        console.print(render_calibration(found))


def render_calibration(found: Calibration) -> Table:
    """Return a table of the reliability before and after a calibration."""
    sides = {
        "symbols": (found.symbols_before, found.symbols_after),
        "predictions": (found.predictions_before, found.predictions_after),
    }
    limit = (
        "\nThe temperature is at a limit of the fit (0.1 and 10): use more pairs."
        if is_limit(found.temperature)
        else ""
    )
    table = Table(
        title=f"calibrated: {printable(found.out)}, temperature {found.temperature:.3f}",
        caption=f"{plural(found.num_sources, 'source')}; "
        f"loss a symbol: {found.loss_before:.4f} → {found.loss_after:.4f}{limit}",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("expected calibration error, %")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, both in sides.items():
        for bins, errors in (("equal", [side.ece for side in both]), ("adaptive", [s.adaptive_ece for s in both])):
            cells = [f"{error.value:.2f} [{error.low:.2f}, {error.high:.2f}]" for error in errors]
            table.add_row(f"{name}, {NUM_BINS} {bins} bins", *cells)
    return table


class ReadingPrinter:
    """Prints on stderr unknown symbols, truncated sources and skipped lines before each model searches.

    Args:
        test_file: the name of the file of pairs.
    """

    def __init__(self, test_file: str) -> None:
        self.test_file = test_file
        self._first: Reading | None = None

    def __call__(self, read: Reading) -> None:
        """Print the notices of a model; nothing for a second one with the same notices."""
        if read == self._first:
            return
        printer = NoticePrinter(self.test_file, "the second model: " if self._first else "")
        printer.take_all(read.notices, read.lines)
        printer.print_totals()
        if self._first is None:
            self._first = read
            for line in read.skipped:
                print_note(line)
