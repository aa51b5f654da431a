"""A session that predicts all sources that wait in one call of `Model.predict`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

from peephole.model import Model, Notices
from peephole.serve.query import Outcome, Query


class BatchedSession:
    """Predicts what was added since the last step in one batch for each kind of settings.

    The engine computes the same bits in any batch, so a prediction does not depend on the other sources.

    Args:
        model: the model.
        threads: of the engine; None: all cores.
    """

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.model = model
        self._threads = {} if threads is None else {"threads": threads}
        self._tickets = count()
        self._added: dict[int, Query] = {}

    def add(self, query: Query) -> int:
        """Take in a source; return its ticket."""
        ticket = next(self._tickets)
        self._added[ticket] = query
        return ticket

    def cancel(self, ticket: int) -> None:
        """Drop a source."""
        self._added.pop(ticket, None)

    def close(self) -> None:
        """Drop all sources."""
        self._added.clear()

    def step(self) -> list[tuple[int, Outcome]]:
        """Predict all sources; return each with its predictions or its error."""
        groups: dict[object, list[int]] = {}
        for ticket, query in self._added.items():
            groups.setdefault(_batch_key(ticket, query), []).append(ticket)
        added, self._added = self._added, {}
        return [
            pair
            for tickets in groups.values()
            for pair in zip(tickets, self._predict([added[ticket] for ticket in tickets]), strict=True)
        ]

    def _predict(self, queries: list[Query]) -> Iterator[Outcome]:
        """Yield the outcome of each query of a batch; of one with an error each is predicted by itself."""
        first = queries[0]
        sources = [query.source for query in queries]
        has_prefix, has_phrases = first.prefix is not None, bool(first.must_contain)
        try:
            if first.target is not None:
                targets = [query.target for query in queries]
                yield from self.model.score(sources, targets, notices=Notices(), **self._threads)
                return
            yield from self.model.predict(
                sources,
                prefixes=[query.prefix or "" for query in queries] if has_prefix else None,
                must_contain=[query.must_contain for query in queries] if has_phrases else None,
                attention=first.attention,
                first_index=first.index,
                notices=Notices(),
                **{**first.search, **self._threads},
            )
        except Exception as error:
            if len(queries) == 1:
                yield error
            else:
                for query in queries:
                    yield from self._predict([query])


def _batch_key(ticket: int, query: Query) -> object:
    """Return what the queries of a batch have in common; a query that samples is alone."""
    alone = ticket if query.search.get("temperature") is not None else None
    search = json.dumps(query.search, sort_keys=True)
    return search, query.target is None, query.attention, query.prefix is None, not query.must_contain, alone
