"""The Open Inference Protocol, version 2: /v2, health, metadata and inference.

A model of texts has the input `source`, BYTES of shape [N], and the optional input `prefix`; outputs are `target`,
BYTES, and `log_prob`, FP64, both of shape [N, nbest]. Search settings are parameters of a request. The binary tensor
data extension is supported, which Triton's clients use.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from peephole import __version__
from peephole.model import Prediction
from peephole.serve import schema
from peephole.serve.context import Context, Endpoint, answer, check_input, with_status
from peephole.serve.gate import Gate
from peephole.serve.models import ServedModel
from peephole.serve.refusal import RefusalError
from peephole.serve.schema import json_bytes
from peephole.serve.tensors import HEADER_LENGTH, InferRequest, read_infer_request, write_outputs

STATUSES = {422: 400}
INPUTS = ("source", "prefix")
MISSING = -sys.float_info.max  # log p in place of predictions that the search did not find


class TensorMetadata(BaseModel):
    """An input or an output; −1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class OutputTensor(BaseModel):
    """An output of an inference."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferAnswer(BaseModel):
    """The outputs of an inference."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class InputTensor(BaseModel):
    """An input: texts in the order of its shape."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str]


class RequestedOutput(BaseModel):
    """The name of an output."""

    name: str


class InferBody(BaseModel):
    """A request without binary parts."""

    id: str | None = None
    parameters: dict[str, int | float] | None = None
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None


def open_inference_routes(context: Context, gate: Gate) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=REFUSALS)

    async def server() -> Response:
        """Describe the server."""
        return answer({"name": "peephole", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live() -> Response:
        """Say that the process answers."""
        return answer({"live": True})

    async def ready() -> Response:
        """Say whether inference is answered."""
        is_ready = context.models.ready and not gate.draining
        return answer({"ready": is_ready}, 200 if is_ready else 503)

    async def model(request: Request, name: str, version: str | None) -> Response:
        """Describe a model."""
        served = _find(context, name, version)
        check_input(served, files=False)
        texts = {"datatype": "BYTES", "shape": [-1]}
        return answer(
            {
                "name": served.name,
                "versions": [served.version],
                "platform": "peephole",
                "inputs": [{"name": input, **texts} for input in INPUTS],
                "outputs": [
                    {"name": "target", "datatype": "BYTES", "shape": [-1, -1]},
                    {"name": "log_prob", "datatype": "FP64", "shape": [-1, -1]},
                ],
            }
        )

    async def model_ready(request: Request, name: str, version: str | None) -> Response:
        """Say whether a model answers."""
        return answer({"name": _find(context, name, version).name, "ready": True})

    async def infer(request: Request, name: str, version: str | None) -> Response:
        """Predict the targets of texts."""
        served = _find(context, name, version)
        check_input(served, files=False)
        length = request.headers.get(HEADER_LENGTH)
        asked = read_infer_request(await request.body(), length, context.limits.max_batch)
        sources, prefixes = _check_inputs(asked, context)
        for parameter in asked.parameters:
            if parameter not in schema.SETTINGS:
                raise RefusalError(422, schema.unknown_field(parameter))
        # Numbers that are not finite stay so, and are refused, which `json_bytes` would replace by null
        settings = schema.parse(context.requests.Parameters, json.dumps(dict(asked.parameters)).encode())
        search = schema.search_settings(settings)
        context.note(request, served, sources)
        found = await context.predict(request, served, sources, search, prefixes=prefixes)
        return _answer(served, asked, found)

    _add(router, "", server, ServerMetadata)
    _add(router, "/health/live", live, dict[str, bool])
    _add(router, "/health/ready", ready, dict[str, bool])
    described: tuple[tuple[str, Endpoint, Any, type[BaseModel] | None], ...] = (
        ("", model, ModelMetadata, None),
        ("/ready", model_ready, dict[str, Any], None),
        ("/infer", infer, InferAnswer, InferBody),
    )
    for end, function, result, body in described:
        _add(router, "/models/{name}" + end, _without_version(function), result, body)
        _add(router, "/models/{name}/versions/{version}" + end, _with_version(function), result, body)
    return router


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorAnswer, "description": text}
    for status, text in {
        400: "wrong inputs, outputs or parameters",
        401: "no token of this server",
        404: "no such model or version",
        408: "the request did not arrive in time",
        413: "too many texts, too long a text, or too large a body",
        415: "a compressed body",
        429: "the queue is full; try again after Retry-After seconds",
        503: "not ready, shutting down, or no room for the body",
        504: "not finished in time",
    }.items()
}


def _add(router: APIRouter, path: str, function: Any, result: Any, body: type[BaseModel] | None = None) -> None:
    extra = None
    if body is not None:
        example = {"inputs": [{"name": "source", "datatype": "BYTES", "shape": [1], "data": ["hello"]}]}
        content = {"schema": body.model_json_schema(), "example": example}
        extra = {"requestBody": {"required": True, "content": {"application/json": content}}}
    responses: dict[int | str, dict[str, Any]] = {200: {"model": result, "description": "the answer"}}
    if path == "/health/ready":
        responses[503] = {"model": result, "description": "not ready"}
    router.add_api_route(
        path,
        with_status(STATUSES)(function),
        methods=["GET" if body is None else "POST"],
        responses=responses,
        response_class=Response,
        openapi_extra=extra,
    )


def _without_version(function: Endpoint) -> Endpoint:
    """Return an endpoint of a path that names no version."""

    async def call(request: Request, name: str) -> Response:
        return await function(request, name, None)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


def _with_version(function: Endpoint) -> Endpoint:
    """Return an endpoint of a path that names a version."""

    async def call(request: Request, name: str, version: str) -> Response:
        return await function(request, name, version)

    call.__name__, call.__doc__ = f"{function.__name__}_of_version", function.__doc__
    return call


def _find(context: Context, name: str, version: str | None) -> ServedModel:
    served = context.models.get(name)
    if version is not None and version != served.version:
        raise RefusalError(404, f"version of {name}: wanted {served.version}, got {version!r}")
    return served


def _check_inputs(asked: InferRequest, context: Context) -> tuple[list[str], list[str] | None]:
    for name in asked.texts:
        if name not in INPUTS:
            raise RefusalError(422, f"inputs: wanted {' and '.join(INPUTS)}, got {name!r}")
    sources = asked.texts.get("source", [])
    if not sources:
        raise RefusalError(422, "inputs: wanted source with at least one text")
    longest = context.limits.max_length
    if any(len(text) > longest for texts in asked.texts.values() for text in texts):
        raise RefusalError(413, f"inputs: wanted texts of at most {longest} characters (max_length)")
    return sources, asked.texts.get("prefix")


def _answer(served: ServedModel, asked: InferRequest, found: list[list[Prediction]]) -> Response:
    width = max(map(len, found))
    shape = [len(found), width]
    targets = [predictions[i].text if i < len(predictions) else "" for predictions in found for i in range(width)]
    probabilities = [
        max(predictions[i].log_prob, MISSING) if i < len(predictions) else MISSING
        for predictions in found
        for i in range(width)
    ]
    columns: dict[str, tuple[str, list[int], list[Any]]] = {
        "target": ("BYTES", shape, targets),
        "log_prob": ("FP64", shape, probabilities),
    }
    outputs, rest = write_outputs(columns, asked)
    tree: dict[str, Any] = {"model_name": served.name, "model_version": served.version, "outputs": outputs}
    if asked.id is not None:
        tree["id"] = asked.id
    if not rest:
        return answer(tree)
    header = json_bytes(tree)
    return Response(header + rest, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(header))})
