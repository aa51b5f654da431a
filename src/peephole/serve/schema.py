"""Requests and answers of the server's own protocol: what is checked, and what OpenAPI describes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from peephole.config import SearchConfig
from peephole.errors import printable, shorten
from peephole.serve.limits import Limits
from peephole.serve.refusal import RefusalError

SETTINGS = (
    *("beam_size", "nbest", "length_penalty", "length_reward", "coverage_penalty", "ctc_weight"),
    *("min_length", "no_repeat_ngram", "diverse_groups", "diversity"),
    *("temperature", "top_k", "top_p", "seed"),
)
"""The search settings of a request. Others name files, or decide the memory and the time of the whole server."""
COUNTS_OF_HYPOTHESES = ("beam_size", "nbest", "diverse_groups")
CONFIG = ConfigDict(
    # Not "forbid": it makes an error of every unknown field, and a body may have hundreds of thousands
    extra="allow",
    strict=True,
    allow_inf_nan=False,
    json_schema_extra={"additionalProperties": False},
)


class Strict(BaseModel):
    """A request: unknown fields and values of other types are errors."""

    model_config = CONFIG

    @model_validator(mode="after")
    def _check_fields(self) -> Strict:
        for name in self.model_extra or ():
            raise PydanticCustomError("extra_forbidden", "{field}", {"field": unknown_field(name)})
        return self


def unknown_field(name: str) -> str:
    """Return the message about a field that a request may not have."""
    return f"{printable(shorten(name))}: Extra inputs are not permitted"


def text_type(limits: Limits) -> Any:
    """Return the type of a text."""
    return Annotated[str, StringConstraints(max_length=limits.max_length)]


def list_type(item: Any, max_length: int | None = None) -> Any:
    """Return the type of a list, of which only the first wrong item is an error: a body may have millions of them."""
    return Annotated[list[item], Field(fail_fast=True, max_length=max_length)]


def tokens_type(limits: Limits) -> Any:
    """Return the type of a list of texts that together are no longer than one text may be."""

    def check(texts: list[str]) -> list[str]:
        reason = too_long_together(texts, limits)
        if reason is not None:
            raise PydanticCustomError("too_long", "{reason}", {"reason": reason})
        return texts

    return Annotated[list_type(text_type(limits), max_length=limits.max_length), AfterValidator(check)]


def too_long_together(texts: Sequence[str], limits: Limits) -> str | None:
    """Return why texts are together longer than one text may be; None if they are not."""
    most, size = limits.max_length, sum(map(len, texts))
    return f"wanted at most {most} characters in all (max_length), got {size}" if size > most else None


def text_or_list(text: Any, texts: Any) -> Any:
    """Return the type of either; an error is of the one that was given, without the type's name in its position."""
    kinds: dict[type, str] = {str: "[text]", list: "[list]"}
    how = Discriminator(
        lambda value: kinds.get(type(value)),
        custom_error_type="text_or_list",
        custom_error_message="Input should be a text or a list of texts",
    )
    return Annotated[Annotated[text, Tag(kinds[str])] | Annotated[texts, Tag(kinds[list])], how]


class PredictionAnswer(BaseModel):
    """A target found for a source."""

    text: str
    tokens: list[str] = Field(description="the target's symbols, without </s>")
    log_prob: float | None = Field(description="log p(Y | X), natural logarithm, </s> included; null for −∞")
    symbol_log_probs: list[float | None] = Field(description="of each symbol; the last is that of </s> if finished")
    finished: bool = Field(description="false where the longest length was reached before </s>")
    source_tokens: list[str] = Field(description="the source's symbols that were read")
    unknown: list[str] = Field(description="source symbols that were not seen in training")
    truncated: bool = Field(description="whether only the beginning of the source was read")
    attention: list[list[float]] | None = Field(description="target symbols × source symbols; null unless requested")


class ResultAnswer(BaseModel):
    """A source with its predictions, best first; as a line of `peephole predict --json`."""

    source: str
    predictions: list[PredictionAnswer]


class PredictAnswer(BaseModel):
    """The predictions of a request, in the order of its sources."""

    model: str
    version: str = Field(description="beginning of the SHA-256 of the model file")
    results: list[ResultAnswer]


class ScoreAnswer(BaseModel):
    """log p(Y | X) of each pair."""

    model: str
    version: str
    log_probs: list[float | None]


class ErrorAnswer(BaseModel):
    """A request that was refused, or failed."""

    error: str


class SidesAnswer(BaseModel):
    """A symbol table."""

    kind: str
    size: int


class ModelAnswer(BaseModel):
    """A model of the server."""

    name: str
    version: str
    bytes: int
    input: str = Field(description="symbols, sound, image, numbers, or none for a language model")
    network: str
    source_symbols: SidesAnswer
    target_symbols: SidesAnswer
    languages: list[str] | None = Field(description="source and target language, where declared")


class ModelsAnswer(BaseModel):
    """All models of the server; the first answers requests without a name."""

    models: list[ModelAnswer]


class HealthAnswer(BaseModel):
    """The state of the server."""

    status: str


class Requests:
    """The types of requests, with a server's limits.

    Attributes:
        Predict: of /v1/predict.
        Settings: the settings of one with a file.
        Parameters: the search settings alone.
        Score: of /v1/score.
    """

    def __init__(self, limits: Limits) -> None:
        text, tokens = text_type(limits), tokens_type(limits)
        batch: dict[str, Any] = {"min_length": 1, "max_length": limits.max_batch}
        name: Any = (str | None, Field(None, description="name of the model; null: the server's first"))
        settings = _setting_fields(limits)
        common: dict[str, Any] = {
            "model": name,
            "attention": (bool, Field(False, description="whether predictions have their attention weights")),
        }
        sources: dict[str, Any] = {"description": "source texts", "examples": [["hello"]], "min_length": 1}
        own: dict[str, Any] = {
            "sources": (list_type(text), Field(**sources)),
            "prefixes": (
                list_type(text) | None,
                Field(None, description="what each target begins with, one a source"),
            ),
            "must_contain": (
                list_type(list_type(text, max_length=limits.max_length)) | None,
                Field(None, description="texts that each target must contain, a list for each source"),
            ),
            "stream": (
                bool,
                Field(
                    False,
                    description="answer with a line of JSON for each source as soon as it is predicted "
                    f"(application/x-ndjson); otherwise at most {limits.max_batch} sources are allowed",
                ),
            ),
        }
        self.Predict = create_model("PredictRequest", __base__=Strict, **own, **common, **settings)
        self.Settings = create_model("PredictSettings", __base__=Strict, **common, **settings)
        self.Parameters = create_model("Parameters", __base__=Strict, **settings)
        self.Score = create_model(
            "ScoreRequest",
            __base__=Strict,
            model=name,
            sources=(list_type(text), Field(**sources | batch)),
            targets=(
                list_type(text_or_list(text, tokens)),
                Field(**batch, description="one a source: a text, or a list of tokens", examples=[["HH AH L OW"]]),
            ),
        )


def _setting_fields(limits: Limits) -> dict[str, Any]:
    """Return the search settings as fields of a request; null: the model's own."""
    hints = get_type_hints(SearchConfig)
    found: dict[str, Any] = {}
    for field in fields(SearchConfig):
        if field.name in SETTINGS:
            low, high = field.metadata["low"], field.metadata["high"]
            if field.name in COUNTS_OF_HYPOTHESES:
                high = min(high, limits.max_hypotheses)
            bounds = {"ge": low, "le": high}
            kind = hints[field.name] | None
            found[field.name] = (
                kind,
                Field(None, description=field.metadata["help"] + "; null: the model's", **bounds),
            )
    return found


def search_settings(request: BaseModel) -> dict[str, Any]:
    """Return the search settings that a request has."""
    return {name: value for name in SETTINGS if (value := getattr(request, name)) is not None}


TOO_LARGE = {"string_too_long", "too_long"}


def parse(kind: type[BaseModel], body: bytes) -> Any:
    """Return a request.

    Raises:
        RefusalError: 413 for a text or a list that is too long, else 422.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> RefusalError:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = next((one for one in found if one["type"] in TOO_LARGE), found[0])
    where = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    message = f"{where}: {first['msg']}" if where else first["msg"]
    return RefusalError(413 if first["type"] in TOO_LARGE else 422, message)


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON, as `peephole predict --json` writes it; numbers that are not finite become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False).encode()


def json_list(items: Iterable[bytes]) -> bytes:
    """Return a list of values that are JSON already.

    >>> json_list([b"1", b'"a"'])
    b'[1, "a"]'
    """
    return b"[" + b", ".join(items) + b"]"


def json_object(fields: Mapping[str, bytes]) -> bytes:
    """Return an object of values that are JSON already.

    >>> json_object({"a": b"1", "b": b"[2]"})
    b'{"a": 1, "b": [2]}'
    """
    return b"{" + b", ".join(json_bytes(name) + b": " + value for name, value in fields.items()) + b"}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        401: "no token of this server",
        404: "no such model",
        408: "the request did not arrive in time",
        413: "too many sources, too long a text, too large a body, or too much attention",
        415: "a compressed body",
        422: "wrong fields or values",
        429: "the queue is full; try again after Retry-After seconds",
        503: "not ready, shutting down, or no room for the body",
        504: "not finished in time",
    }.items()
}
"""The refusals of a route of the server's own protocol, for OpenAPI."""


def body_of(kind: Any, example: Any, files: Any = None) -> dict[str, Any]:
    """Return the description of a request's body for OpenAPI."""
    schemas: dict[str, Any] = {
        "application/json": {"schema": kind.model_json_schema(), "example": example},
    }
    if files is not None:
        schemas["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                    "settings": {
                        "type": "string",
                        "description": "the other fields of a request, as JSON",
                        "examples": ['{"nbest": 3}'],
                    },
                },
                "required": ["file"],
            }
        }
    return {"requestBody": {"required": True, "content": schemas}}
