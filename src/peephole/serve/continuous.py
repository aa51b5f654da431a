"""Sessions of a model: the engine's, where sources join and leave at every step, or batches."""

from __future__ import annotations

import logging

from peephole.errors import PeepholeError
from peephole.model import Model
from peephole.model.session import Session
from peephole.serve.batched import BatchedSession
from peephole.serve.query import Outcome, PredictionSession, Query

log = logging.getLogger("peephole.serve")


class ContinuousSession:
    """The engine's session: a step extends every hypothesis by one symbol.

    Args:
        model: a model that the engine searches.
        places: most hypotheses that are extended at a time.
        threads: of the engine; None: all cores.

    Raises:
        PeepholeError: the engine does not search this model.
    """

    def __init__(self, model: Model, places: int, threads: int | None = None) -> None:
        self._session = Session(model, places=places, threads=threads)

    def add(self, query: Query) -> int:
        """Take in a source; return its ticket."""
        if query.target is not None:
            return self._session.add_pair(query.source, query.target)
        return self._session.add(
            query.source,
            query.search,
            prefix=query.prefix,
            must_contain=query.must_contain or None,
            attention=query.attention,
            index=query.index,
        )

    def step(self) -> list[tuple[int, Outcome]]:
        """Extend all hypotheses by one symbol; return what is finished."""
        return list(self._session.step())

    def cancel(self, ticket: int) -> None:
        """Drop a source, whose places are free at once."""
        self._session.cancel(ticket)

    def close(self) -> None:
        """Release the memory."""
        self._session.close()


def open_session(model: Model, places: int, threads: int | None) -> PredictionSession:
    """Return a session of the engine, or one of batches for a model that the engine does not search."""
    try:
        return ContinuousSession(model, places, threads)
    except PeepholeError as reason:
        log.warning("requests wait for whole batches", extra={"reason": str(reason)})
        return BatchedSession(model, threads)
