"""`peephole inspect`."""

from __future__ import annotations

import os
from typing import Any

import click

from peephole.cli.lines import print_note
from peephole.cli.notes import NoticePrinter
from peephole.cli.options import given_settings, load_models, setting_options
from peephole.cli.sources import check_argument
from peephole.errors import printable
from peephole.model import Notices

LARGE = 20_000_000  # bytes of a page, above which a note says why


@click.command()
@click.argument("model_file", metavar="MODEL")
@click.argument("source", metavar="TEXT")
@click.option("--reference", metavar="TARGET", help="The expected target: the page says where the prediction errs.")
@click.option("--why-not", metavar="TARGET", help="Another target: the page says why the prediction is not this one.")
@click.option("--compare", metavar="TEXT", help="A second source, shown beside the first.")
@click.option("--with", "other_file", metavar="MODEL", help="A second model, shown beside the first.")
@click.option("-o", "--output", default="page.html", show_default=True, help="The page.")
@click.option("--without-model", is_flag=True, help="A small page that shows the prediction and decodes nothing anew.")
@setting_options(
    "search.beam_size",
    "search.length_penalty",
    "search.ctc_weight",
    "search.diverse_groups",
    "search.min_length",
    "search.no_repeat_ngram",
    "search.engine",
    "search.threads",
)
def command(
    model_file: str,
    source: str,
    reference: str | None,
    why_not: str | None,
    compare: str | None,
    other_file: str | None,
    output: str,
    without_model: bool,
    **options: Any,
) -> None:
    """Show a prediction of MODEL for TEXT from the inside, on one HTML page that needs no server and no network.

    The page shows where the model looked, how probable each symbol was and what else it considered, the search with
    its lost branches, why it preferred this target to another one, what parts of the source mattered, gates, memory
    and peepholes. The engine and the model are inside: the source, the beginning of the target and its symbols can be
    edited, and the page decodes anew, offline. For a model of sound, images or numbers TEXT is the name of a file.
    """
    if compare is not None and other_file is not None:
        raise click.UsageError("wanted --compare or --with, got both")
    from peephole.inspect import make_page  # imports NumPy

    model = load_models(model_file)
    other = None if other_file is None else load_models(other_file)
    sources = {"TEXT": source, "--compare": compare} if model.config.model.input == "symbols" else {}  # else file names
    for name, text in {**sources, "--reference": reference, "--why-not": why_not}.items():
        if text is not None:
            check_argument(name, text)
    search = given_settings(model, options)
    notices = Notices()
    made = make_page(
        model, source, reference=reference, why_not=why_not, compare=compare, other=other, notices=notices, **search
    )
    printer = NoticePrinter("source")
    printer.take_all(notices, [1] * (1 + max((notice.source_index for notice in notices.texts), default=0)))
    made.save(output, with_models=not without_model)
    size = os.path.getsize(output)
    for view in made.views:
        target = view["trace"]["target"]
        click.echo(f"{printable(view['source'])} → {printable(target['text'])}\t{target['log_prob']:.4f}")
    hint = "; most of it is the model: --without-model makes a page that decodes nothing anew" if size > LARGE else ""
    print_note(f"{output}: {size / 1e6:.1f} MB{hint}")
