"""`peephole serve`."""

from __future__ import annotations

import ipaddress
from dataclasses import fields
from typing import Any

import click

from peephole.cli.lines import print_note
from peephole.serve.limits import Limits


def limit_options(command: Any) -> Any:
    """Add an option for each limit."""
    for field in reversed(fields(Limits)):
        help = f"{field.metadata['help']}  [default: {field.default:,}]"
        command = click.option(f"--{field.name.replace('_', '-')}", field.name, metavar="N", help=help)(command)
    return command


@click.command()
@click.argument("models", metavar="[NAME=]MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the engine for each model.  [default: all]")
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
    from peephole.serve.app import create_app  # imports FastAPI
    from peephole.serve.context import Options
    from peephole.serve.languages import parse_languages
    from peephole.serve.logs import start_logging
    from peephole.serve.models import Models, ModelSource, load_served
    from peephole.serve.server import open_socket, run
    from peephole.serve.tokens import Tokens

    chosen = Limits.from_texts({name: value for name, value in limits.items() if value is not None})
    tokens = None if token_file is None else Tokens(token_file)
    sources = [ModelSource.parse(text) for text in models]
    pairs = parse_languages(languages, [source.name for source in sources])
    options = Options(chosen, threads, tokens, log_texts, pairs)
    loaded = {source.name: load_served(source) for source in sources}  # errors end the command here
    for model in loaded.values():
        for note in model.notes:
            print_note(note)
    app = create_app(Models(sources, chosen, threads, loaded), options)
    listener = open_socket(host, port)
    address, number = listener.getsockname()[:2]
    if not ipaddress.ip_address(address).is_loopback:
        who = "everyone who can reach this machine" if tokens is None else "other machines"
        print_note(f"listening at {address}: {who} can use the models, and the connection is not encrypted")
    print_note(f"http://{f'[{address}]' if ':' in address else address}:{number}/  ({', '.join(loaded)})")
    start_logging()
    run(app, listener, chosen.max_seconds, grace)
