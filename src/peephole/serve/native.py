"""The server's own protocol: /v1/predict, /v1/score, /v1/models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from peephole.model import Prediction
from peephole.nn.schema import Architecture
from peephole.serve import schema
from peephole.serve.context import Context, answer, check_input, client_of
from peephole.serve.models import ServedModel
from peephole.serve.query import Query
from peephole.serve.refusal import RefusalError, refusal_of
from peephole.serve.request import run_streamed
from peephole.serve.schema import json_bytes, json_list, json_object, parse
from peephole.serve.streaming import LinesResponse
from peephole.serve.uploads import read_upload
from peephole.serve.weights import WeightCount
from peephole.symbols import FrameSymbols

EXAMPLE = {
    "sources": ["hello", "world"],
    "nbest": 3,
}


def native_routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["peephole"], responses=schema.REFUSALS)
    requests = context.requests

    async def predict(request: Request) -> Response:
        """Predict the targets of sources: texts as JSON, or files of sound, images or numbers as multipart/form-data.

        A result is what a line of `peephole predict --json` is for the same source. With `stream` the answer has a
        line for each source, in their order, as soon as it is predicted; a source that fails has {"error": …}.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
            return await _predict_files(context, request)
        asked = parse(requests.Predict, await request.body())
        if not asked.stream and len(asked.sources) > context.limits.max_batch:
            raise RefusalError(
                413,
                f"sources: wanted at most {context.limits.max_batch} (max_batch) without stream, "
                f"got {len(asked.sources)}",
            )
        served = context.models.get(asked.model)
        check_input(served, files=False)
        context.note(request, served, asked.sources)
        search = schema.search_settings(asked)
        how = {"prefixes": asked.prefixes, "must_contain": asked.must_contain, "attention": asked.attention}
        if asked.stream:
            work = context.work(served, asked.sources, search, **how)
            outcomes = run_streamed(served.scheduler, work, client_of(request), context.limits.max_seconds)
            return await LinesResponse.start(_lines(outcomes, asked.sources, context, served))
        found = await context.predict(request, served, asked.sources, search, **how)
        return await _results(served, asked.sources, found)

    async def score(request: Request) -> Response:
        """Return log p(Y | X) of each target given its source, natural logarithms."""
        asked = parse(requests.Score, await request.body())
        if len(asked.sources) != len(asked.targets):
            raise RefusalError(422, f"targets: wanted {len(asked.sources)}, one a source, got {len(asked.targets)}")
        served = context.models.get(asked.model)
        check_input(served, files=False)
        context.note(request, served, asked.sources)
        work = [
            (Query(source, target=target), float(len(source) + len(target) + 2))
            for source, target in zip(asked.sources, asked.targets, strict=True)
        ]
        return answer(_head(served) | {"log_probs": await context.run(request, served, work)})

    async def models() -> Response:
        """Describe the models; the first answers requests without a name."""
        return answer({"models": [_describe(served, context) for served in context.models.all()]})

    predicted = {"content": {"application/json": {}, "application/x-ndjson": {"schema": {"type": "string"}}}}
    router.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        responses={200: {"model": schema.PredictAnswer, "description": "the predictions", **predicted}},
        response_class=Response,
        openapi_extra=schema.body_of(requests.Predict, EXAMPLE, files=requests.Settings),
    )
    router.add_api_route(
        "/score",
        score,
        methods=["POST"],
        responses={200: {"model": schema.ScoreAnswer, "description": "the probabilities"}},
        response_class=Response,
        openapi_extra=schema.body_of(requests.Score, {"sources": ["hello"], "targets": ["HH AH L OW"]}),
    )
    router.add_api_route(
        "/models",
        models,
        methods=["GET"],
        responses={200: {"model": schema.ModelsAnswer, "description": "the models"}},
        response_class=Response,
    )
    return router


async def _predict_files(context: Context, request: Request) -> Response:
    upload = await read_upload(request, context)
    served = context.models.get(upload.settings.model)
    check_input(served, files=True)
    context.note(request, served, upload.names)
    frames = await upload.frames(served.model)
    found = await context.predict(
        request, served, frames, schema.search_settings(upload.settings), attention=upload.settings.attention
    )
    return await _results(served, upload.names, found)


def _head(served: ServedModel) -> dict[str, Any]:
    return {"model": served.name, "version": served.version}


async def _results(served: ServedModel, sources: list[str], found: list[list[Prediction]]) -> Response:
    results = [await _result(source, predictions) for source, predictions in zip(sources, found, strict=True)]
    head = {name: json_bytes(value) for name, value in _head(served).items()}
    body = json_object(head | {"results": json_list(results)})
    return Response(body, media_type="application/json")


async def _result(source: str, predictions: list[Prediction]) -> bytes:
    """Return a result as JSON; others are answered between its predictions, which can be long."""
    written = []
    for prediction in predictions:
        written.append(json_bytes(prediction.to_dict()))
        await asyncio.sleep(0)
    return json_object({"source": json_bytes(source), "predictions": json_list(written)})


async def _lines(
    outcomes: AsyncGenerator[Any, None], sources: list[str], context: Context, served: ServedModel
) -> AsyncIterator[bytes]:
    """Yield the lines of a streamed answer; the first is not made before there is room for the request."""
    index = 0
    async with aclosing(outcomes):
        async for outcome in outcomes:
            try:
                WeightCount(context.limits.max_attention).add(outcome)
            except RefusalError as too_many:
                outcome = too_many
            if isinstance(outcome, Exception):
                refusal = refusal_of(outcome)
                reason = refusal.message if refusal else "the server failed"
                line = json_bytes({"source": sources[index], "error": reason})
            else:
                line = await _result(sources[index], outcome)
                context.metrics.sources.labels(served.name).inc()
            index += 1
            yield line + b"\n"


def _describe(served: ServedModel, context: Context) -> dict[str, Any]:
    model = served.model
    how = model.source_symbols
    languages = (context.options.languages or {}).get(served.name)
    kind = how.kind if isinstance(how, FrameSymbols) else "none" if model.is_language_model else "symbols"
    return {
        "name": served.name,
        "version": served.version,
        "bytes": model.num_bytes,
        "input": kind,
        "network": Architecture.of(model.config.model).describe(),
        "source_symbols": {"kind": how.kind, "size": len(how)},
        "target_symbols": {"kind": model.target_symbols.kind, "size": len(model.target_symbols)},
        "languages": None if languages is None else list(languages),
    }
