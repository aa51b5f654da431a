"""`peephole evaluate`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from peephole.cli.notes import Notes, counted_here
from peephole.cli.options import given, load_models, setting_options
from peephole.data import Report, read_pairs
from peephole.evaluation import (
    ExposureGap,
    compare,
    evaluate_predictions,
    exposure_gap,
    render,
    render_comparison,
)
from peephole.model import Model

References = list[tuple[str, ...]]


@click.command()
@click.argument("models", metavar="MODEL")
@click.argument("test_file", metavar="TEST")
@setting_options("search.beam_size", "search.length_penalty", "search.batch_size")
@click.option("--metric", "metrics", metavar="NAME", multiple=True, help="Instead of the usual metrics; repeatable.")
@click.option("--against", metavar="MODEL", help="A second model: is the difference significant?")
@click.option("--worst", metavar="N", type=int, default=10, help="Show the N worst errors.  [default: 10]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(
    models: str,
    test_file: str,
    metrics: tuple[str, ...],
    against: str | None,
    worst: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure MODEL on TEST, a file of pairs as `peephole train` reads.

    Pairs with the same source are one source with several references. Intervals are 95 % bootstrap intervals over
    sources. The exposure gap is how much better the model is when it is fed the gold symbols than its own.
    """
    model = load_models(models)
    other = None if against is None else load_models(against)
    # The best is measured, whatever the model was trained with
    settings: dict[str, Any] = {"search.nbest": 1, "search.temperature": None} | given(options)
    model.config.with_values(settings, "command line")
    search = {name.removeprefix("search."): value for name, value in settings.items()}
    sources, references = read_references(test_file, model, *(() if other is None else (other,)))
    predictions = predict_all(model, sources, search, "beam search")
    names = metrics or None
    evaluation = evaluate_predictions(
        sources, predictions, references, model.target_symbols, names, num_worst=max(0, worst)
    )
    gap = measure_gap(model, sources, references, search)
    result: dict[str, Any] = {
        "model": models,
        "test": test_file,
        **evaluation.to_dict(),
        "exposure_gap": gap.to_dict(),
    }
    comparison = None
    if other is not None:
        theirs = predict_all(other, sources, search, str(against))
        comparison = compare(sources, predictions, theirs, references, model.target_symbols, names)
        result["against"] = {"model": against, **comparison.to_dict()}
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        return
    console = Console()
    console.print(render(evaluation))
    console.print(
        f"exposure gap {gap.gap:.2f} [{gap.low:.2f}, {gap.high:.2f}]: symbols right when fed gold "
        f"{gap.teacher_forced:.2f} %, when fed its own {gap.free_running:.2f} %",
        highlight=False,
    )
    if comparison is not None:
        console.print(render_comparison(comparison, models, str(against)))


def read_references(path: str, model: Model, other: Model | None = None) -> tuple[list[str], References]:
    """Return each source of a file once, with all its targets; say on stderr what was skipped or cannot be read.

    Args:
        path: the file.
        model: the model that will read the sources.
        other: a second one.
    """
    report = Report(path)
    readers = [Notes(path, model)]
    if other is not None and other.source_symbols.to_json() != model.source_symbols.to_json():
        readers.append(Notes(path, other, "the second model: "))
    grouped: dict[str, list[str]] = {}
    for pair in read_pairs(path, model.config.data, report):
        if pair.source not in grouped:
            for notes in readers:
                notes.take(pair.line, pair.source)
        grouped.setdefault(pair.source, []).append(pair.target)
    for notes in readers:
        notes.print()
    for line in report.lines():
        sys.stderr.write(f"peephole: {line}\n")
    return list(grouped), [tuple(dict.fromkeys(targets)) for targets in grouped.values()]


def predict_all(model: Model, sources: list[str], search: dict[str, Any], what: str) -> list[str]:
    """Return the best prediction for each source, showing progress on stderr if that is a terminal."""
    console = Console(stderr=True)
    with counted_here(), Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(what), total=len(sources))
        found = model.predict(sources, progress=lambda count: progress.advance(task, count), **search)
    return [predictions[0].text for predictions in found]


def measure_gap(model: Model, sources: list[str], references: References, search: dict[str, Any]) -> ExposureGap:
    """Compare the model fed with gold symbols, (13), to its greedy predictions, (14)."""
    split = model.target_symbols.split
    greedy = predict_all(model, sources, {**search, "beam_size": "1"}, "greedy search")
    flat = [(source, target) for source, targets in zip(sources, references, strict=True) for target in targets]
    with counted_here():
        forced = iter(model.teacher_forced(*map(list, zip(*flat, strict=True))))
    return exposure_gap(
        [[next(forced) for _ in targets] for targets in references],
        [split(text) for text in greedy],
        [[split(target) for target in targets] for targets in references],
    )
