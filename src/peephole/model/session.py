"""A session: a search of a model that sources join and leave at any step, for servers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel
from peephole.engine.session import PackedSession
from peephole.errors import ConfigError, PeepholeError, check_type, check_whole_number
from peephole.model.batches import read_work
from peephole.model.calibrated import CalibratedSession, divided_weights
from peephole.model.handle import Model
from peephole.model.language import find_language_model
from peephole.model.prediction import Prediction, empty_prediction, prediction_of
from peephole.model.reading import Notices, Source, new_notices
from peephole.model.search_choice import slow_search_reason

MOST_PLACES = 1 << 20

Result = list[Prediction] | float | PeepholeError
"""The predictions of a source as `Model.predict` returns them, the score of a pair, or why its search failed."""


class _Asked(NamedTuple):
    """What a ticket was added for."""

    source: Source
    is_pair: bool


class Session:
    """A search of a model that never ends: sources join at any step and leave when they are finished.

    Each result has the bits of `Model.predict` for its source alone, whoever else is in the session. Sources with
    different settings are extended together. Only those with another language model or another `search.ctc_weight` are
    extended one group after the other, and `search.calibration` is that of the model for all.

    Any thread may call its methods and read its properties. `step` alone takes long, and only `close` and another call
    of `step` wait for it.

        with Session(model, places=64) as session:
            ticket = session.add("hello", {"beam_size": 5, "nbest": 3})
            finished = {}
            while ticket not in finished:
                finished.update(session.step())
            finished[ticket]  # as model.predict(["hello"], beam_size=5, nbest=3)[0]

    Args:
        model: a model whose targets are texts, or an ensemble. Its weights are those of now.
        places: most hypotheses that are extended at the same time. A source takes `beam_size` of them, samples take
            `nbest`, a pair takes one.
        threads: CPU threads of a step; None: those of the model's settings, or all that this process may use.

    Raises:
        PeepholeError: the engine does not search this model, which `Model.predict` does; or not 1 to 2^20 places.
        ConfigError: an impossible number of threads.
        ArgumentError: an argument is something else.
    """

    def __init__(self, model: Model, *, places: int, threads: int | None = None) -> None:
        check_type("model", model, Model, "a Model")
        check_whole_number("places", places, 1, MOST_PLACES)
        given = {} if threads is None else {"threads": threads}
        config = model._search_config("session", given)
        _check_searchable(model)
        self.model, self.places = model, places

        def open_session(packed: Sequence[PackedModel]) -> PackedSession:
            return PackedSession(packed, places=places, threads=config.threads)

        description = model._description()
        self._calibration = config.calibration
        self._session: PackedSession | CalibratedSession = open_session(model._weights.packed(description))
        if config.calibration != 1:
            scaled = divided_weights(model._weights, description, config.calibration)
            self._session = CalibratedSession(self._session, open_session(scaled.packed(description)))
        self._asked: dict[int, _Asked] = {}
        self._empty: dict[int, bool] = {}  # tickets of empty sources, and whether their predictions have attention
        self._tickets = itertools.count()
        self._step_lock = threading.Lock()

    def add(
        self,
        source: Any,
        settings: Mapping[str, Any] | None = None,
        *,
        prefix: str | None = None,
        must_contain: Iterable[str] | None = None,
        language_model: Model | str | Path | None = None,
        attention: bool = True,
        index: int = 0,
        notices: Notices | None = None,
    ) -> int:
        """Add a source to be searched, and return its ticket; `step` returns it with the predictions.

        Args:
            source: one source, as in `Model.predict`.
            settings: settings of `peephole.config.SearchConfig`, as in `predict`. `threads` and `batch_size` are those
                of the session; they change no result.
            prefix: a text that the targets begin with.
            must_contain: texts that the targets must contain.
            language_model: as in `predict`.
            attention: whether predictions have their attention weights.
            index: number of the source in its caller's work, `first_index` of `predict`: with the seed it determines
                the random numbers of samples.
            notices: collects unknown symbols and a truncated or empty source; None: nothing is warned of.

        Raises:
            ConfigError: an unknown or impossible setting.
            PrefixError: the prefix is as long as the target may be.
            PeepholeError: the source needs more places than the session has, the session is closed, or an argument is
                not as described.
        """
        model, config = self.model, self._config("add", settings)
        check_type("attention", attention, bool, "True or False")
        check_type("index", index, int, "a whole number")
        if index < 0:
            raise PeepholeError(f"index: wanted at least 0, got {index}")
        prefixes = None if prefix is None else [prefix]
        contained = None if must_contain is None else [must_contain]
        work = read_work(model, [source], prefixes, contained, config, new_notices(notices), index)
        guide = find_language_model(model, language_model, config)
        guides = [] if guide is None else [(_packed_guide(guide), config.language_model_weight)]
        [read] = work.sources
        ticket = next(self._tickets)
        self._asked[ticket] = _Asked(read, is_pair=False)
        try:
            if not len(read.ids):
                self._session.counts()  # raises if the session is closed
                self._empty[ticket] = attention and model.config.model.context == "attention"
                return ticket
            self._session.add(
                ticket,
                read.ids,
                work.longest[0],
                config,
                prefix=work.prefixes[0] if work.prefixes else (),
                phrases=work.phrases[0] if work.phrases else (),
                example=index,
                attention=attention,
                guides=guides,
            )
        except BaseException:
            self._asked.pop(ticket, None)  # `close` in another thread may have dropped it
            raise
        return ticket

    def add_pair(
        self,
        source: Any,
        target: str | Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        notices: Notices | None = None,
    ) -> int:
        """Add a source and a target, and return a ticket; `step` returns it with log p(Y | X), (11), a float.

        Args:
            source: one source, not empty.
            target: a text, or a list of tokens.
            settings: as in `Model.score`.
            notices: as in `add`.

        Raises:
            ConfigError: an unknown or impossible setting.
            PeepholeError: the source is empty, the session is closed, or an argument is of another type.
        """
        config = self._config("add_pair", settings)
        _, [(read, ids)] = self.model._read_pairs("add_pair", [source], [target], new_notices(notices), settings or {})
        ticket = next(self._tickets)
        self._asked[ticket] = _Asked(read, is_pair=True)
        try:
            self._session.add_target(ticket, read.ids, ids, config)
        except BaseException:
            self._asked.pop(ticket, None)  # `close` in another thread may have dropped it
            raise
        return ticket

    def step(self) -> list[tuple[int, Result]]:
        """Extend all hypotheses by one symbol, after reading waiting sources where places are free.

        Returns:
            The tickets that are finished with their results; none, at once, if there is nothing to do. A result that is
            an exception says why the search for this source failed, for example because of weights that are not finite.

        Raises:
            PeepholeError: the session is closed, or memory is missing.
        """
        finished: list[tuple[int, Result]] = []
        with self._step_lock:
            for ticket in list(self._empty):
                attends = self._empty.pop(ticket, None)
                if attends is not None and self._asked.pop(ticket, None) is not None:
                    finished.append((ticket, [empty_prediction(attends)]))
            for ticket, found in self._session.step():
                asked = self._asked.pop(ticket, None)
                if asked is None:  # cancelled
                    continue
                if isinstance(found, PeepholeError):
                    finished.append((ticket, found))
                elif asked.is_pair:
                    finished.append((ticket, found[0].log_prob))
                else:
                    symbols = self.model.target_symbols
                    finished.append(
                        (ticket, [prediction_of(hypothesis, asked.source, symbols) for hypothesis in found])
                    )
        return finished

    def cancel(self, ticket: int) -> None:
        """Remove a source or a pair, whose places are free at once; no effect if it is finished or was never there."""
        if self._asked.pop(ticket, None) is not None and self._empty.pop(ticket, None) is None:
            self._session.cancel(ticket)

    @property
    def active(self) -> int:
        """The number of sources that are being searched."""
        return self._session.counts().active

    @property
    def waiting(self) -> int:
        """The number of sources that wait for a step to read them."""
        return self._session.counts().waiting + len(self._empty)

    @property
    def free(self) -> int:
        """The number of places that active sources leave."""
        return self._session.counts().free

    def close(self) -> None:
        """Release the memory of the session and drop all sources in it; waits for a step that is running."""
        self._session.close()
        self._asked.clear()
        self._empty.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _config(self, call: str, settings: Mapping[str, Any] | None) -> SearchConfig:
        check_type("settings", settings, (type(None), Mapping), "a table of settings")
        config = self.model._search_config(call, settings or {})
        if config.engine != "auto":
            raise ConfigError(f"{call}: wanted search.engine=auto in a session, got {config.engine!r}")
        if config.calibration != self._calibration:
            raise ConfigError(
                f"{call}: wanted search.calibration={self._calibration:g}, that of the session's model, got "
                f"{config.calibration:g}"
            )
        return config


def _check_searchable(model: Model) -> None:
    """Raise PeepholeError unless the engine searches the model."""
    name = model.name or "model"
    if model.config.model.predicts_vectors:
        raise PeepholeError(f"session: {name}: wanted a model whose targets are texts, got one of series")
    if model.config.search.engine != "auto":
        raise PeepholeError(f"session: {name}: wanted search.engine=auto, got {model.config.search.engine!r}")
    reason = slow_search_reason(model._weights, model.config, model.config.search)
    if not model._weights.fit_engine():
        reason = "its networks are on a GPU, or in float64"
    if reason is not None:
        raise PeepholeError(f"session: {name}: wanted a model that the engine can search: {reason}")


def _packed_guide(guide: Model) -> PackedModel:
    _check_searchable(guide)
    return guide._weights.packed(guide._description())[0]
