"""`peephole serve`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from peephole.cli.lines import print_note
from peephole.serve.limits import Limits


def limit_options(command: Any) -> Any:
    """Add an option for each limit."""
    for field in reversed(fields(Limits)):
        text = field.metadata["help"]
        help = f"{text[0].upper()}{text[1:]}.  [default: {field.default:,}]"
        command = click.option(f"--{field.name.replace('_', '-')}", field.name, metavar="N", help=help)(command)
    return command


@click.command()
@click.argument("models", metavar="[NAME=]MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processes that share the port, each with all models, and with queue and limits of its own.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads of the engine for each model.  [default: all cores, divided by the processes]",
)
@click.option("--token-file", metavar="FILE", help="A token a line; a request must have one of them.")
@click.option(
    "--languages",
    metavar="[NAME=]FROM:TO",
    multiple=True,
    help="Languages of a model, such as en:it, for LibreTranslate's protocol; can be repeated.",
)
@click.option("--log-texts", is_flag=True, help="Write the sources of requests into the log.")
@click.option("--grace", default=60.0, show_default=True, help="Seconds to answer accepted requests after SIGTERM.")
@limit_options
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    processes: int,
    threads: int | None,
    token_file: str | None,
    languages: tuple[str, ...],
    log_texts: bool,
    grace: float,
    **limits: str | None,
) -> None:
    """Answer requests over HTTP with one or more models: POST /v1/predict {"sources": ["hello"]}.

    Clients of the Open Inference Protocol (version 2) and of LibreTranslate work, too. /openapi.json describes all.

    MODEL is a model file; several, separated by commas, are an ensemble. Its name in requests is that of the file
    without the ending, or NAME. The first model answers requests without a name. A file that changes is loaded while
    the old model goes on answering. Logs are lines of JSON on stderr.
    """
    from peephole.serve.languages import parse_languages
    from peephole.serve.models import ModelSource, check_names
    from peephole.serve.options import Options, Setup
    from peephole.serve.tokens import Tokens

    chosen = Limits.from_texts({name: value for name, value in limits.items() if value is not None})
    tokens = None if token_file is None else Tokens(token_file)
    sources = tuple(ModelSource.parse(text) for text in models)
    check_names(sources)
    pairs = parse_languages(languages, [source.name for source in sources])
    options = Options(chosen, threads, tokens, log_texts, pairs, processes)
    setup = Setup(sources, options, host, port, grace)
    if processes == 1:
        from peephole.serve.start import serve  # imports FastAPI

        serve(setup, print_note)
    else:
        from peephole.serve.processes import serve_together  # imports prometheus-client

        serve_together(setup, print_note)
