"""What a session is given for one source, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from peephole.model import Prediction


@dataclass(frozen=True, eq=False)
class Query:
    """One source to predict.

    Attributes:
        source: a text, or an array of frames.
        index: its number in the request, which determines its random numbers in sampling.
        search: settings of `peephole.config.SearchConfig` that differ from the model's.
        prefix: what the target begins with; None for nothing.
        must_contain: texts that the target must contain.
        attention: whether predictions have their attention weights.
    """

    source: Any
    index: int = 0
    search: Mapping[str, Any] = field(default_factory=dict)
    prefix: str | None = None
    must_contain: tuple[str, ...] = ()
    attention: bool = False


Outcome = list[Prediction] | Exception
"""The predictions of a source, best first, or the error that it caused."""


@runtime_checkable
class PredictionSession(Protocol):
    """Predicts sources that are added while others are in work. One thread uses it."""

    @property
    def active(self) -> int:
        """Return the number of sources that were added and not given back."""
        ...

    def add(self, query: Query) -> int:
        """Take in a source; return its ticket."""
        ...

    def step(self) -> list[tuple[int, Outcome]]:
        """Work for a while; return what is finished."""
        ...

    def cancel(self, ticket: int) -> None:
        """Drop a source, whose ticket is not given back."""
        ...

    def close(self) -> None:
        """Release the memory."""
        ...
