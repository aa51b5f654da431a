"""Limits of a server: what it accepts, how much it holds, how long it works on a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from peephole.errors import ConfigError
from peephole.values import option, read_value


@dataclass(frozen=True)
class Limits:
    """Limits of a server; the command's options and their help are made from these fields."""

    max_length: int = option(2000, "most characters of a source, a target or a prefix", low=1, high=10**7)
    max_batch: int = option(256, "most sources of a request; a streamed one may have more", low=1, high=10**6)
    max_hypotheses: int = option(32, "largest beam_size and nbest of a request", low=1, high=10**4)
    max_attention: int = option(
        2_000_000, "most attention weights of an answer, or of a line of a streamed one", low=1, high=10**9
    )
    max_queue: int = option(2048, "most sources that wait for a model; above, requests get 429", low=1, high=10**7)
    max_body: int = option(8_000_000, "most bytes of a request's body", low=1000, high=10**10)
    max_bodies: int = option(256_000_000, "most bytes of all bodies held at a time", low=1000, high=10**12)
    max_seconds: float = option(
        30.0,
        "longest time to receive a request, to answer it, and to wait for a client that does not read",
        low=0.1,
        high=86400,
    )

    def __post_init__(self) -> None:
        if self.max_batch > self.max_queue:
            raise ConfigError(f"max_batch: wanted at most max_queue={self.max_queue}, got {self.max_batch}")
        if self.max_body > self.max_bodies:
            raise ConfigError(f"max_body: wanted at most max_bodies={self.max_bodies}, got {self.max_body}")

    @classmethod
    def from_texts(cls, values: Mapping[str, Any]) -> Limits:
        """Return limits from options as written on a command line.

        Raises:
            ConfigError: a value has another type or is out of range.

        >>> Limits.from_texts({"max_queue": "300"}).max_queue
        300
        """
        hints, known = get_type_hints(cls), {field.name: field for field in fields(cls)}
        return cls(
            **{name: read_value(hints[name], value, name, known[name].metadata) for name, value in values.items()}
        )
