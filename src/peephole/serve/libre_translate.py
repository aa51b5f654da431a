"""LibreTranslate's protocol: /translate, /languages, /detect, /health.

Follows the API of LibreTranslate 1.6: fields as JSON or as a form, errors as {"error": …} with status 400, 403 for a
wrong `api_key`, which is a token of this server. Texts are translated line by line, and `format` is text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from peephole.model import Prediction
from peephole.serve import schema
from peephole.serve.context import Context, answer, check_input, with_status
from peephole.serve.languages import NAMES, detect_language
from peephole.serve.models import ServedModel
from peephole.serve.refusal import RefusalError
from peephole.serve.tokens import token_of
from peephole.symbols import Symbols

AUTO = "auto"
STATUSES = {413: 400, 422: 400}  # LibreTranslate's, for these of ours


class DetectedAnswer(BaseModel):
    """A language and how sure it is, in percent."""

    confidence: float
    language: str


class TranslateAnswer(BaseModel):
    """The translation of a text, or of each text of a list."""

    translatedText: str | list[str]
    alternatives: list[str] | list[list[str]] | None = None
    detectedLanguage: DetectedAnswer | list[DetectedAnswer] | None = None


class LanguageAnswer(BaseModel):
    """A source language and the languages into which it is translated."""

    code: str
    name: str
    targets: list[str]


def libre_translate_routes(context: Context) -> APIRouter:
    """Return the routes; translation models have declared languages."""
    router = APIRouter(tags=["LibreTranslate"], responses=REFUSALS)
    languages = dict(context.options.languages or {})
    of_pair = {pair: name for name, pair in languages.items()}
    text = schema.text_type(context.limits)
    only_text: Any = Literal["text"]
    config = ConfigDict(extra="ignore")
    Translate: Any = create_model(
        "TranslateRequest",
        __config__=config,
        q=(
            schema.text_or_list(text, schema.list_type(text)),
            Field(description="a text, or a list of texts", examples=["Hello"]),
        ),
        source=(str, Field(description="language of the text, or auto", examples=["en"])),
        target=(str, Field(description="language of the translation", examples=["it"])),
        format=(only_text, Field("text", description="only text")),
        alternatives=(int, Field(0, ge=0, lt=context.limits.max_hypotheses, description="further translations")),
        api_key=(str | None, Field(None, description="a token of this server")),
    )
    Detect: Any = create_model(
        "DetectRequest",
        __config__=config,
        q=(text, Field(description="a text", examples=["Hello"])),
        api_key=(str | None, Field(None, description="a token of this server")),
    )

    async def detect_in(texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Return the languages of each text, in a thread: many long texts take a while."""
        tables: dict[str, list[Symbols]] = {}
        for name, (source, _) in languages.items():
            served = context.models.get(name)
            check_input(served, files=False)
            tables.setdefault(source, []).append(served.model.source_symbols)
        return await asyncio.to_thread(lambda: [detect_language(text, tables) for text in texts])

    @with_status(STATUSES)
    async def translate(request: Request) -> Response:
        """Translate a text or a list of texts."""
        asked = await _read(request, Translate)
        _check_key(context, request, asked.api_key)
        texts = [asked.q] if isinstance(asked.q, str) else asked.q
        if not 1 <= len(texts) <= context.limits.max_batch:
            raise RefusalError(422, f"q: wanted 1 to {context.limits.max_batch} texts (max_batch), got {len(texts)}")
        most, count = context.limits.max_queue, len(texts) + sum(text.count("\n") for text in texts)
        if count > most:
            raise RefusalError(413, f"q: wanted at most {most} lines (max_queue), got {count}")
        if asked.source == AUTO:
            found = [detected[0] for detected in await detect_in(texts)] if languages else [("", 0.0)] * len(texts)
        else:
            found = [(asked.source, 1.0)] * len(texts)
        served = [_find(context, of_pair, source, asked.target) for source, _ in found]
        best = await _translate(context, request, served, [text.split("\n") for text in texts], asked.alternatives)
        translated = [_join(own, 0) for own in best]
        result: dict[str, Any] = {"translatedText": translated}
        if asked.alternatives:
            ranks = range(1, asked.alternatives + 1)
            result["alternatives"] = [[_join(own, rank) for rank in ranks] for own in best]
        if asked.source == AUTO:
            result["detectedLanguage"] = [_detected(*pair) for pair in found]
        if isinstance(asked.q, str):
            result = {name: values[0] for name, values in result.items()}
        return answer(result)

    @with_status(STATUSES)
    async def detect(request: Request) -> Response:
        """Return the languages that a text may be in, the most probable first."""
        asked = await _read(request, Detect)
        _check_key(context, request, asked.api_key)
        [found] = await detect_in([asked.q])
        return answer([_detected(*pair) for pair in found])

    async def list_languages() -> Response:
        """Return the languages."""
        sources = dict.fromkeys(source for source, _ in languages.values())
        return answer(
            [
                {
                    "code": code,
                    "name": NAMES.get(code, code),
                    "targets": [target for source, target in languages.values() if source == code],
                }
                for code in sources
            ]
        )

    async def health() -> Response:
        """Say that the server answers."""
        return answer({"status": "ok"})

    example = {"q": "Hello", "source": "en", "target": "it"}
    _add(router, "/translate", translate, TranslateAnswer, _body(Translate, example))
    _add(router, "/detect", detect, list[DetectedAnswer], _body(Detect, {"q": "Hello"}))
    _add(router, "/languages", list_languages, list[LanguageAnswer])
    _add(router, "/health", health, schema.HealthAnswer)
    return router


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorAnswer, "description": text}
    for status, text in {
        400: "wrong fields or values, languages without a model, or too long a text",
        403: "no token of this server",
        408: "the request did not arrive in time",
        413: "too large a body",
        415: "a compressed body",
        429: "the queue is full; try again after Retry-After seconds",
        503: "not ready, shutting down, or no room for the body",
        504: "not finished in time",
    }.items()
}


def _add(router: APIRouter, path: str, function: Any, result: Any, body: dict[str, Any] | None = None) -> None:
    router.add_api_route(
        path,
        function,
        methods=["GET" if body is None else "POST"],
        responses={200: {"model": result, "description": "the answer"}},
        response_class=Response,
        openapi_extra=body,
    )


def _body(kind: type[BaseModel], example: Any) -> dict[str, Any]:
    described = {"schema": kind.model_json_schema(), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": described}}}


async def _read(request: Request, kind: type[BaseModel]) -> Any:
    """Return the fields of a request, JSON or a form."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return schema.parse(kind, await request.body())
    try:
        async with request.form(max_files=0, max_fields=1000) as form:
            fields = {name: form.getlist(name) for name in form}
    except (HTTPException, ValueError) as error:
        raise RefusalError(422, f"body: {getattr(error, 'detail', 'wanted a form')}") from None
    single: dict[str, Any] = {name: values[-1] for name, values in fields.items()}
    if len(fields.get("q", ())) > 1:
        single["q"] = fields["q"]
    return schema.parse(kind, json.dumps(single).encode())


def _check_key(context: Context, request: Request, key: str | None) -> None:
    """Find out who the client is.

    Raises:
        RefusalError: 403, it has no token of this server.
    """
    tokens = context.options.tokens
    if tokens is None:
        return
    given = token_of(request.headers.get("authorization", "").encode()) if key is None else key.encode()
    client = None if given is None else tokens.client_of(given)
    if client is None:
        raise RefusalError(403, "Invalid API key")
    request.scope["client_name"] = client


def _find(context: Context, of_pair: Mapping[tuple[str, str], str], source: str, target: str) -> ServedModel:
    """Return the model of two languages.

    Raises:
        RefusalError: 422, there is none, or its file was replaced by a model that reads no texts.
    """
    if (source, target) not in of_pair:
        pairs = ", ".join(f"{one} to {other}" for one, other in of_pair) or "none"
        raise RefusalError(422, f"{source} to {target} is not supported; wanted one of: {pairs}")
    served = context.models.get(of_pair[source, target])
    check_input(served, files=False)
    return served


async def _translate(
    context: Context, request: Request, served: list[ServedModel], lines: list[list[str]], alternatives: int
) -> list[list[list[Prediction]]]:
    """Return the predictions of each line of each text, by the text's model; of blank lines none."""
    best: list[list[list[Prediction]]] = [[[] for _ in own] for own in lines]
    for model in dict.fromkeys(served):
        places = [
            (text, row)
            for text, own in enumerate(lines)
            for row, line in enumerate(own)
            if served[text] is model and line.strip()
        ]
        if not places:
            continue
        sources = [lines[text][row].strip() for text, row in places]
        context.note(request, model, sources)
        search = {} if not alternatives else {"nbest": alternatives + 1}
        if alternatives >= model.model.config.search.beam_size:
            search["beam_size"] = alternatives + 1
        for (text, row), found in zip(places, await context.predict(request, model, sources, search), strict=True):
            best[text][row] = found
    return best


def _join(lines: list[list[Prediction]], rank: int) -> str:
    """Return the translation of a text of this rank: that of each of its lines, or the last one if there are fewer."""
    return "\n".join(found[min(rank, len(found) - 1)].text if found else "" for found in lines)


def _detected(language: str, probability: float) -> dict[str, Any]:
    return {"confidence": round(100 * probability, 1), "language": language}
