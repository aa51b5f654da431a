"""`peephole predict`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import click

from peephole.cli.lines import in_parts, one_line, print_note
from peephole.cli.notes import NoticePrinter
from peephole.cli.options import given_settings, load_models, setting_options
from peephole.cli.progress import line_counter
from peephole.cli.sources import Parse, Task, input_files, parse_source, prefixed_parser, read_tasks
from peephole.config import SearchConfig
from peephole.data import Report
from peephole.data.files import is_stream, kind_of_file, shown_name
from peephole.errors import DataError, printable
from peephole.model import Model, Notice, Notices, Prediction
from peephole.model.frame_sources import read_frame_source
from peephole.model.reading import read_prefixes, read_sources
from peephole.symbols import FrameSymbols

BATCHES_AT_A_TIME = 16  # read together, so that sources of similar length can share a batch
FRAME_BATCHES_AT_A_TIME = 4  # frames take more memory


@click.command()
@click.argument("models", metavar="MODEL")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@setting_options("search.*")
@click.option("--prefixed", is_flag=True, help="A line is a source, a tab, and the text that its targets begin with.")
@click.option(
    "--must-contain", metavar="TEXT", multiple=True, help="A text that every target must contain; can be repeated."
)
@click.option(
    "--bad-lines",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="A line of invalid UTF-8 or, with --prefixed, of wrong columns or too long a prefix: stop, or write an empty "
    "line for it and count it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: predictions, scores, attention.")
@click.option("--explain", is_flag=True, help="Draw what each symbol was read from and how probable it is.")
def command(
    models: str,
    files: tuple[str, ...],
    prefixed: bool,
    must_contain: tuple[str, ...],
    bad_lines: Literal["error", "skip"],
    as_json: bool,
    explain: bool,
    **options: Any,
) -> None:
    """Read sources, one a line, and write the predicted targets to stdout, in the same order.

    Sources are read from the files, which may end in .gz or .zst, or from stdin, which - names, too. For a model of
    sound, images or numbers each is the name of a file, and such a file itself can be given as FILE. MODEL is a model
    file; several, separated by commas, are used as an ensemble. With --nbest or sampling each line of output holds the
    number of the source's line (of several files FILE:LINE), log p, and the target, separated by tabs. With
    --batch-size 1 each line is predicted before the next is read. Line breaks in a target are written as spaces;
    --json keeps them.

    A model of series reads tables as it was trained on, and writes a forecast of each column: CSV with series, step,
    mean and quantiles, or a JSON object a series.
    """
    if as_json and explain:
        raise click.UsageError("wanted --json or --explain, got both")
    names = input_files(files)
    model = load_models(models)
    search = given_settings(model, options)
    if model.config.model.predicts_vectors:
        for name, was_given in (("prefixed", prefixed), ("must-contain", must_contain), ("explain", explain)):
            if was_given:
                raise click.UsageError(f"--{name} is for texts; this is a model of series")
        from peephole.cli.forecasts import write_forecasts  # imports NumPy
        from peephole.model.series import SeriesModel

        assert isinstance(model, SeriesModel)
        write_forecasts(model, names, bad_lines=bad_lines, as_json=as_json, **search)
        return
    settings = model.config.with_values({f"search.{name}": value for name, value in search.items()}).search
    write: Callable[[str, Task, list[Prediction]], None] = LineWriter(
        several=settings.nbest > 1 or settings.temperature is not None, as_json=as_json, with_file=len(names) > 1
    )
    if explain:
        from peephole.cli.explain import Explainer  # imports rich

        write = Explainer()
    parse = make_prefixed_parser(model, settings) if prefixed else parse_source
    batches = FRAME_BATCHES_AT_A_TIME if isinstance(model.source_symbols, FrameSymbols) else BATCHES_AT_A_TIME
    size = 1 if settings.batch_size == 1 else settings.batch_size * batches
    report = Report(shown_name(names[0]), "line")
    printer = NoticePrinter(shown_name(names[0]))
    with line_counter() as add:
        for file in names:
            printer.name = shown_name(file)
            for part in in_parts(tasks_of(file, model, parse, skip=bad_lines == "skip", report=report), size):
                required = [must_contain] * len(part) if must_contain else None
                found = predict_part(
                    model, part, printer, must_contain=required, attention=as_json or explain, progress=add, **search
                )
                for task, predictions in zip(part, found, strict=True):
                    write(printer.name, task, predictions)
                sys.stdout.flush()
    printer.print_totals()
    for line in report.lines():
        print_note(line)


def tasks_of(file: str, model: Model, parse: Parse, *, skip: bool, report: Report) -> Iterator[Task]:
    """Yield the sources of an input file: its lines, or the file itself if it is what the model reads.

    Arguments and errors as in `read_tasks`; also a DataError for a file of another kind than the model reads.
    """
    how = model.source_symbols
    if not isinstance(how, FrameSymbols):
        return read_tasks(file, parse, skip=skip, report=report)

    def read(path: str) -> tuple[Any, tuple[str, ...]]:
        frames, _, changes = read_frame_source(how, path, model.config.frames.max_frames + 1)
        return frames, changes

    given = None if is_stream(Path(file)) else kind_of_file(file)
    if given == how.kind:
        frames, changes = read(file)
        return iter([Task(1, file, frames=frames, changes=changes)])
    if given is not None and Path(file).suffix.lower() != ".csv":  # which may be a list of names
        raise DataError(f"{file}: wanted a file of {how.kind}, or a list of their names, got one of {given}")
    return read_tasks(file, parse, skip=skip, report=report, read=read)


def make_prefixed_parser(model: Model, settings: SearchConfig) -> Parse:
    """Return the parser of lines with a source and a prefix that the model can predict from."""
    longest = model.config.data.max_length

    def check_prefix(source: str, prefix: str) -> None:
        read = read_sources(model.source_symbols, [source], Notices(), longest=longest)
        places = model.num_places
        read_prefixes(model.target_symbols, [prefix], read, settings, Notices(), first_index=0, places=places)

    return prefixed_parser(check_prefix)


def predict_part(model: Model, part: list[Task], printer: NoticePrinter, **settings: Any) -> Iterable[list[Prediction]]:
    """Return the predictions of some lines; a line with an error is predicted as an empty source."""
    notices = Notices()
    prefixes = [task.prefix or "" for task in part] if any(task.prefix is not None for task in part) else None
    found = model.predict(
        [task.source if task.frames is None else task.frames for task in part],
        prefixes=prefixes,
        first_index=part[0].line - 1,
        notices=notices,
        **settings,
    )
    bad = {task.line - 1 for task in part if task.error is not None}
    notices.texts = [notice for notice in notices.texts if notice.source_index not in bad]
    for task in part:
        if task.changes:
            length = len(task.frames)
            notices.texts.append(Notice("source", task.line - 1, (), length, length, "frames", task.changes))
    printer.take_all(notices, range(1, part[-1].line + 1))
    return found


class LineWriter:
    """Writes the predictions of one line to stdout.

    Args:
        several: a line of output holds number, log p and target.
        as_json: a line of output is a JSON object.
        with_file: the number of a line includes the name of its file.
    """

    def __init__(self, *, several: bool, as_json: bool, with_file: bool) -> None:
        self.several, self.as_json, self.with_file = several, as_json, with_file

    def __call__(self, file: str, task: Task, predictions: list[Prediction]) -> None:
        """Write all predictions; for a line with an error, what takes their place."""
        if self.as_json:
            where = {"file": file, "line": task.line} if self.with_file else {}
            sys.stdout.write(json.dumps(where | describe_task(task, predictions), ensure_ascii=False) + "\n")
            return
        number = f"{printable(file)}:{task.line}" if self.with_file else str(task.line)
        rows = [("nan", "")] if task.error else [(f"{p.log_prob:.4f}", one_line(p.text)) for p in predictions]
        if not self.several:
            sys.stdout.write(rows[0][1] + "\n")
            return
        for log_prob, text in rows:
            sys.stdout.write(f"{number}\t{log_prob}\t{text}\n")


def describe_task(task: Task, predictions: list[Prediction]) -> dict[str, Any]:
    """Return the JSON object of a line."""
    if task.error is not None:
        return {"error": task.error}
    return {"source": task.source, "predictions": [prediction.to_dict() for prediction in predictions]}
