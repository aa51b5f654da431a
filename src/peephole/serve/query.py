"""What a session is given for one source, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from peephole.model import Prediction


@dataclass(frozen=True, eq=False)
class Query:
    """One source to predict, or one pair to score.

    Attributes:
        source: a text, or an array of frames.
        rows: hypotheses that are extended at a time.
        target: of a pair, a text or a list of tokens; None to predict.
        index: its number in the request, which determines its random numbers in sampling.
        search: settings of `peephole.config.SearchConfig` that differ from the model's.
        prefix: what the target begins with; None for nothing.
        must_contain: texts that the target must contain.
        attention: whether predictions have their attention weights.
    """

    source: Any
    rows: int = 1
    target: Any = None
    index: int = 0
    search: Mapping[str, Any] = field(default_factory=dict)
    prefix: str | None = None
    must_contain: tuple[str, ...] = ()
    attention: bool = False


Outcome = list[Prediction] | float | Exception
"""The predictions of a source, best first, the score of a pair, or the error that it caused."""


@runtime_checkable
class PredictionSession(Protocol):
    """Predicts sources that are added while others are in work. One thread uses it."""

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
