"""How a server is run. This file imports no web framework, so that the parent of several processes stays small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peephole.serve.limits import Limits
from peephole.serve.models import ModelSource
from peephole.serve.tokens import Tokens


@dataclass(frozen=True)
class Options:
    """How a server is run.

    Attributes:
        limits: what it accepts.
        threads: of the engine for each model; None: all cores.
        tokens: who may send requests; None: everybody.
        log_texts: whether the log has the users' texts.
        languages: name of a model → its source and target language, for LibreTranslate's protocol.
        processes: that share the port; /metrics adds up what all of them counted.
    """

    limits: Limits = Limits()
    threads: int | None = None
    tokens: Tokens | None = None
    log_texts: bool = False
    languages: Mapping[str, tuple[str, str]] | None = None
    processes: int = 1


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
