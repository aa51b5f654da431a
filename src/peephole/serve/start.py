"""Start a process of a server: load the models, listen, answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping

from peephole.errors import ConfigError
from peephole.model import Model
from peephole.serve.app import create_app
from peephole.serve.logs import start_logging
from peephole.serve.models import Models, load_served
from peephole.serve.options import Setup
from peephole.serve.server import run
from peephole.serve.sockets import open_socket
from peephole.symbols import FrameSymbols


def serve(
    setup: Setup, print_note: Callable[[str], None] | None = None, on_listening: Callable[[], None] | None = None
) -> None:
    """Load the models and answer requests until SIGTERM or SIGINT.

    Args:
        setup: what to serve.
        print_note: called with each note of the models and with the server's address.
        on_listening: called in the event loop when requests are answered.

    Raises:
        PeepholeError: a model cannot be loaded, one with languages reads no texts, or the address cannot be used.
    """
    options = setup.options
    loaded = {source.name: load_served(source) for source in setup.sources}
    _check_languages(options.languages or {}, loaded)
    notes = [note for model in loaded.values() for note in model.notes]
    app = create_app(Models(setup.sources, options.limits, options.threads, loaded), options)
    listener = open_socket(setup.host, setup.port, shared=options.processes > 1)
    address, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(address).is_loopback:
        who = "everyone who can reach this machine" if options.tokens is None else "other machines"
        notes.append(f"listening at {address}: {who} can use the models, and the connection is not encrypted")
    place = f"http://{f'[{address}]' if ':' in address else address}:{port}/  ({', '.join(loaded)})"

    def listening() -> None:
        if print_note is not None:
            print_note(place)  # not before: who reads it connects at once
        if on_listening is not None:
            on_listening()

    if print_note is not None:
        for note in notes:
            print_note(note)
    start_logging(with_process=options.processes > 1)
    run(app, listener, options.limits.max_seconds, setup.grace, listening)


def _check_languages(names: Iterable[str], loaded: Mapping[str, Model]) -> None:
    """Check that the models with declared languages read texts.

    Raises:
        ConfigError: one reads files.
    """
    for name in names:
        how = loaded[name].source_symbols
        if isinstance(how, FrameSymbols):
            raise ConfigError(f"languages: wanted models of texts, got {name}, which reads files of {how.kind}")
