"""A session of the C++ engine: a search over packed models that sources join and leave at any step."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence
from typing import NamedTuple

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine import structures
from peephole.engine.enums import SearchKind, Status
from peephole.engine.packed import (
    MESSAGE_BYTES,
    PackedModel,
    PackedSearch,
    Source,
    generators,
    joined,
    search_fields,
    usable_cores,
)
from peephole.errors import PeepholeError
from peephole.search.hypothesis import Hypothesis

Answer = tuple[int, list[Hypothesis] | PeepholeError]
"""A ticket, and the hypotheses of its source, best first, or why the search for it failed."""


class Counts(NamedTuple):
    """What is in a session."""

    active: int
    """Sources that the models have read."""
    waiting: int
    """Sources that they have not."""
    free: int
    """Places that active sources leave."""


class _Given(NamedTuple):
    """What a ticket was added with, kept until its answer."""

    source: Source
    attention: bool
    search: PackedSearch


class PackedSession:
    """A search over one packed model, or over several whose probabilities are averaged, that never ends.

    What it finds for a source has the bits of `PackedSearch.find` for this source, whoever else is in the session.
    Sources with the same guides and the same share of CTC are extended together, whatever else their settings are;
    others step one after the other.

    Any thread may call its methods. `step` is the only one that takes long, and only `close` and other calls of `step`
    wait for it.

    Args:
        models: the models.
        places: most hypotheses that are extended at the same time. A source takes `beam_size` of them, samples take
            `nbest`, a given target takes one.
        threads: CPU threads of a step; None: all that this process may use.
    """

    def __init__(self, models: Sequence[PackedModel], *, places: int, threads: int | None = None) -> None:
        self._search = PackedSearch(models)
        library = engine.library()
        addresses = (ctypes.c_void_p * len(models))(*(model.address for model in models))
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        address = library.peephole_session_open(
            addresses, len(models), threads or usable_cores(), places, message, MESSAGE_BYTES
        )
        if address is None:
            raise _refusal(message)
        self._address: int | None = address
        self._close = weakref.finalize(self, _close, address, self._search.models)
        self._close.atexit = False  # another thread may still be in a step
        self._lock = threading.Lock()  # of short calls; `close` takes it, too
        self._step_lock = threading.Lock()
        self._given: dict[int, _Given] = {}
        self._cancelled: list[_Given] = []  # whose guides a step may still read

    def add(
        self,
        ticket: int,
        source: Source,
        max_length: int,
        config: SearchConfig,
        *,
        prefix: Sequence[int] = (),
        phrases: Sequence[Sequence[int]] = (),
        example: int = 0,
        attention: bool = True,
        guides: Sequence[tuple[PackedModel, float]] = (),
    ) -> None:
        """Add a source to be searched.

        Args:
            ticket: a number that no other source in the session has.
            source: symbol ids or frames, as `PackedSearch.find` takes them, not empty.
            max_length: most symbols of the target, </s> included.
            config: the search.
            prefix: symbol ids that the target begins with.
            phrases: symbol ids of phrases that the target must contain.
            example: for sampling, the number of the source in the caller's whole work.
            attention: whether hypotheses have their attention.
            guides: language models, and the weights of their log-probabilities beside the models'.

        Raises:
            PeepholeError: the session is closed or has fewer places than the source needs, or the request is invalid.
        """
        fields = search_fields(config, [max_length], [prefix] if prefix else None, [phrases] if phrases else None)
        if config.temperature is not None:
            fields |= generators(config.seed, [example])
        self._add(ticket, source, config, fields, attention, guides)

    def add_target(self, ticket: int, source: Source, target: Sequence[int], config: SearchConfig) -> None:
        """Add a given target, symbol ids without </s>, to be scored; its answer is a single hypothesis."""
        self._add(ticket, source, config, {"kind": SearchKind.FORCE} | joined("target", [target]), False, ())

    def _add(
        self,
        ticket: int,
        source: Source,
        config: SearchConfig,
        fields: dict[str, object],
        attention: bool,
        guides: Sequence[tuple[PackedModel, float]],
    ) -> None:
        search = PackedSearch(self._search.models, guides) if guides else self._search
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        with search.request([source], config, fields, attention=attention) as (request, _), self._lock:
            function = engine.library().peephole_session_add
            if function(self._open(), ticket, ctypes.byref(request), message, MESSAGE_BYTES) != Status.OK:
                raise _refusal(message)
            self._given[ticket] = _Given(source, attention, search)

    def step(self) -> list[Answer]:
        """Extend all hypotheses by one symbol, after reading waiting sources where places are free.

        Returns:
            The sources that are finished; none, at once, if there is nothing to do.

        Raises:
            PeepholeError: the session is closed, or memory is missing.
        """
        library = engine.library()
        answers = ctypes.POINTER(structures.Answers)()
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        with self._step_lock:
            cancelled, self._cancelled = self._cancelled, []
            status = library.peephole_session_step(self._open(), ctypes.byref(answers), message, MESSAGE_BYTES)
            del cancelled
            if status != Status.OK:
                raise _refusal(message)
            try:
                return self._read(answers.contents)
            finally:
                library.peephole_answers_release(answers)

    def _read(self, answers: structures.Answers) -> list[Answer]:
        count = answers.num_sources
        if not count:
            return []
        tickets = (ctypes.c_int64 * count).from_address(answers.tickets)[:]
        errors = answers.errors[:count]
        with self._lock:
            given = [self._given.pop(ticket, None) for ticket in tickets]
        found: list[list[Hypothesis]] = [[] for _ in tickets]
        sources = [() if one is None else one.source for one in given]
        attends = [one is not None and one.attention for one in given]
        for index, hypothesis in self._search.hypotheses(answers.result.contents, sources, attends):
            found[index].append(hypothesis)
        return [
            (ticket, hypotheses if error is None else PeepholeError(f"search: {error.decode(errors='replace')}"))
            for ticket, one, hypotheses, error in zip(tickets, given, found, errors, strict=True)
            if one is not None  # cancelled after the step
        ]

    def cancel(self, ticket: int) -> None:
        """Remove a source, whose places are free at once; no effect if it is not there."""
        with self._lock:
            given = self._given.pop(ticket, None)
            if given is not None:
                self._cancelled.append(given)
                engine.library().peephole_session_cancel(self._open(), ticket)

    def counts(self) -> Counts:
        """Return how many sources and free places there are."""
        numbers = [ctypes.c_int64() for _ in Counts._fields]
        with self._lock:
            engine.library().peephole_session_count(self._open(), *map(ctypes.byref, numbers))
        return Counts(*(number.value for number in numbers))

    def close(self) -> None:
        """Release the memory of the session and all sources in it; waits for a step that is running."""
        with self._step_lock, self._lock:
            self._address = None
            self._close()
            self._given.clear()
            self._cancelled.clear()

    def _open(self) -> int:
        if self._address is None:
            raise PeepholeError("session: it is closed")
        return self._address


def _close(address: int, models: Sequence[PackedModel]) -> None:
    """Close a session; `models` are kept until then."""
    engine.library().peephole_session_close(address)


def _refusal(message: ctypes.Array[ctypes.c_char]) -> PeepholeError:
    return PeepholeError(f"session: {message.value.decode(errors='replace')}")
