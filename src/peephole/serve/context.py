"""What the functions of all protocols share: the server's parts, and the way from a request to its results."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from peephole.config import SearchConfig
from peephole.errors import PeepholeError
from peephole.model import Prediction
from peephole.model.reading import longest_target
from peephole.serve.metrics import Metrics
from peephole.serve.models import Models, ServedModel
from peephole.serve.options import Options
from peephole.serve.query import Query
from peephole.serve.refusal import RefusalError, refusal_of
from peephole.serve.request import Work, run_all
from peephole.serve.schema import Requests, json_bytes, too_long_together
from peephole.serve.weights import WeightCount
from peephole.symbols import FrameSymbols

Endpoint = Callable[..., Awaitable[Response]]


class Context:
    """The parts of a running server."""

    def __init__(self, models: Models, options: Options) -> None:
        self.models, self.options, self.limits = models, options, options.limits
        self.requests = Requests(options.limits)
        self.metrics = Metrics(models, shared=options.processes > 1)

    async def predict(
        self,
        request: Request,
        served: ServedModel,
        sources: Sequence[Any],
        search: Mapping[str, Any],
        *,
        prefixes: Sequence[str] | None = None,
        must_contain: Sequence[Sequence[str]] | None = None,
        attention: bool = False,
    ) -> list[list[Prediction]]:
        """Return the predictions of each source of a request.

        Raises:
            RefusalError: see `peephole.serve.request.run_all`; 422 also for settings that the model refuses, 413
                for more attention weights than an answer may have.
            ClientGoneError: the client has left.
        """
        work = self.work(served, sources, search, prefixes=prefixes, must_contain=must_contain, attention=attention)
        return await self.run(request, served, list(work), WeightCount(self.limits.max_attention).add)

    async def run(
        self,
        request: Request,
        served: ServedModel,
        work: Sequence[tuple[Work, float]],
        check: Callable[[Any], None] | None = None,
    ) -> list[Any]:
        """Return the results of some work; arguments and errors as those of `peephole.serve.request.run_all`."""
        gone = functools.partial(wait_until_gone, request)
        found = await run_all(served.scheduler, work, client_of(request), gone, self.limits.max_seconds, check)
        self.metrics.sources.labels(served.name).inc(len(work))
        return found

    def work(
        self,
        served: ServedModel,
        sources: Sequence[Any],
        search: Mapping[str, Any],
        *,
        prefixes: Sequence[str] | None = None,
        must_contain: Sequence[Sequence[str]] | None = None,
        attention: bool = False,
    ) -> Iterator[tuple[Query, float]]:
        """Return an iterator over a query for each source, with its cost: hypotheses × estimated symbols.

        Raises:
            RefusalError: 422, the model refuses the settings, or another number of prefixes than of sources; 413, the
                texts that a target must contain are too long.
        """
        try:
            settings = served.model.config.with_values(
                {f"search.{name}": value for name, value in search.items()}, "request"
            ).searching()
        except PeepholeError as error:
            raise refusal_of(error) or error from None
        for name, given in (("prefixes", prefixes), ("must_contain", must_contain)):
            if given is not None and len(given) != len(sources):
                raise RefusalError(422, f"{name}: wanted {len(sources)}, one a source, got {len(given)}")
        for index, texts in enumerate(must_contain or ()):
            reason = too_long_together(texts, self.limits)
            if reason is not None:
                raise RefusalError(413, f"must_contain.{index}: {reason}")
        if prefixes is not None and served.model.is_language_model:
            raise RefusalError(422, "prefixes: a language model continues its sources; wanted none, got some")
        rows = settings.beam_size if settings.temperature is None else settings.nbest
        return (
            (
                Query(
                    source,
                    rows,
                    index=index,
                    search=search,
                    prefix=None if prefixes is None else prefixes[index],
                    must_contain=() if must_contain is None else tuple(must_contain[index]),
                    attention=attention,
                ),
                float(rows * _symbols(source, "" if prefixes is None else prefixes[index], settings)),
            )
            for index, source in enumerate(sources)
        )

    def note(self, request: Request, served: ServedModel, sources: Sequence[Any], **more: Any) -> None:
        """Put the model and the number of sources into the request's line of the log; texts only if asked for."""
        details = {"model": served.name, "version": served.version, "sources": len(sources), **more}
        if self.options.log_texts:
            details["texts"] = [source for source in sources if isinstance(source, str)]
        request.scope["log_details"] = details


def _symbols(source: Any, prefix: str, settings: SearchConfig) -> int:
    """Return the estimated symbols of a source and its target: characters or frames, and the least of the target."""
    return len(source) + 1 + min(max(settings.min_length, len(prefix)), longest_target(len(source), settings))


def client_of(request: Request) -> str:
    """Return the name of the client, which the gate found out."""
    client: str = request.scope["client_name"]
    return client


async def wait_until_gone(request: Request) -> None:
    """Return when the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def check_input(served: ServedModel, *, files: bool) -> None:
    """Check that a model reads what a request has.

    Raises:
        RefusalError: 422, it reads texts and got files, or the other way round.
    """
    how = served.model.source_symbols
    if isinstance(how, FrameSymbols) != files:
        wanted = f"files of {how.kind}, as multipart/form-data" if isinstance(how, FrameSymbols) else "texts, as JSON"
        raise RefusalError(422, f"model {served.name}: wanted {wanted}, got {'files' if files else 'texts'}")


def answer(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(json_bytes(value), status, media_type="application/json")


def with_status(statuses: Mapping[int, int]) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that changes the status of refusals to that of another protocol."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def call(*args: Any, **kwargs: Any) -> Response:
            try:
                return await endpoint(*args, **kwargs)
            except RefusalError as refusal:
                refusal.status = statuses.get(refusal.status, refusal.status)
                raise

        return call

    return decorate
