"""What a process of a server is started with, and its start: load the models, listen, answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from peephole.serve.app import create_app
from peephole.serve.context import Options
from peephole.serve.logs import start_logging
from peephole.serve.models import Models, ModelSource, load_served
from peephole.serve.server import open_socket, run


@dataclass(frozen=True)
class Setup:
    """What every process of a server is started with; it can be pickled.

    Attributes:
        sources: where the models come from.
        options: how the server is run.
        host: the address to listen at.
        port: its port; 0 takes a free one.
        grace: seconds after SIGTERM in which accepted requests are answered.
    """

    sources: tuple[ModelSource, ...]
    options: Options
    host: str
    port: int
    grace: float


def serve(
    setup: Setup, print_note: Callable[[str], None] | None = None, on_listening: Callable[[], None] | None = None
) -> None:
    """Load the models and answer requests until SIGTERM or SIGINT.

    Args:
        setup: what to serve.
        print_note: called with each note of the models and with the server's address.
        on_listening: called in the event loop when requests are answered.

    Raises:
        PeepholeError: a model cannot be loaded, or the address cannot be used.
    """
    options = setup.options
    loaded = {source.name: load_served(source) for source in setup.sources}
    notes = [note for model in loaded.values() for note in model.notes]
    app = create_app(Models(setup.sources, options.limits, options.threads, loaded), options)
    listener = open_socket(setup.host, setup.port, shared=options.processes > 1)
    address, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(address).is_loopback:
        who = "everyone who can reach this machine" if options.tokens is None else "other machines"
        notes.append(f"listening at {address}: {who} can use the models, and the connection is not encrypted")
    notes.append(f"http://{f'[{address}]' if ':' in address else address}:{port}/  ({', '.join(loaded)})")
    if print_note is not None:
        for note in notes:
            print_note(note)
    start_logging(with_process=options.processes > 1)
    run(app, listener, options.limits.max_seconds, setup.grace, on_listening)
