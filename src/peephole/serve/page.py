"""The front page: a prediction from the inside, decoded anew by the server; and the traces that it draws."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from pydantic import Field, create_model
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from peephole import __version__
from peephole.inspect.assemble import assemble_page
from peephole.inspect.views import PAGE_LIMITS, Limits, describe_views, make_view, trace_for_page
from peephole.model import Model, Notices
from peephole.nn.schema import Architecture
from peephole.serve import schema
from peephole.serve.context import Context, answer, check_input
from peephole.serve.models import ServedModel
from peephole.serve.refusal import RefusalError
from peephole.symbols import SPECIALS

EXAMPLE_SYMBOLS = 6  # of the source that the page shows first
TRACE_COST = 10.0  # a trace's work, compared with a prediction's
PARTS_OF_CSP = ("img-src data:", "img-src data:; connect-src 'self'")
TOP = 5


def page_routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["page"])
    most = context.limits
    prefix = schema.text_or_list(schema.text_type(most), schema.tokens_type(most))
    Trace: Any = create_model(
        "TraceRequest",
        __base__=schema.Strict,
        model=(str | None, Field(None, description="name of the model; null: the server's first")),
        source=(str, Field(min_length=1, max_length=most.max_length, examples=["hello"])),
        prefix=(prefix, Field("", description="what the target begins with: a text, or symbols")),
        bend=(_bend() | None, Field(None, description="attention weights of a step in place of computed ones")),
        beam_size=(int | None, Field(None, ge=1, le=most.max_hypotheses, description="null: the model's")),
    )

    async def page(request: Request) -> Response:
        """Show a prediction from the inside; ?source=TEXT and ?model=NAME choose which."""
        served = context.models.get(request.query_params.get("model"))
        check_input(served, files=False)
        source = request.query_params.get("source") or _example(served.model)
        if len(source) > most.max_length:
            raise RefusalError(413, f"source: wanted at most {most.max_length} characters (max_length)")
        context.note(request, served, [source])
        [text] = await context.run(request, served, [(_drawing(served, source), TRACE_COST * len(source))])
        return HTMLResponse(text)

    async def trace(request: Request) -> Response:
        """Return everything of one prediction, as docs/traces.md describes it."""
        asked = schema.parse(Trace, await request.body())
        served = context.models.get(asked.model)
        check_input(served, files=False)
        context.note(request, served, [asked.source])
        [found] = await context.run(request, served, [(_tracing(served, asked), TRACE_COST * len(asked.source))])
        return answer(found)

    described: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
    described[200]["description"] = "the page"
    router.add_api_route("/", page, responses=described | schema.REFUSALS, response_class=Response)
    result = {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "the trace"}
    router.add_api_route(
        "/v1/trace",
        trace,
        methods=["POST"],
        responses={200: result, **schema.REFUSALS},
        response_class=Response,
        openapi_extra=schema.body_of(Trace, {"source": "hello"}),
    )
    return router


def _bend() -> Any:
    return create_model(
        "Bend",
        __base__=schema.Strict,
        step=(int, Field(ge=0, description="of the target, from 0")),
        weights=(schema.list_type(float), Field(min_length=1, description="one for each place of the source")),
    )


def _example(model: Model) -> str:
    """Return a source of the model's most frequent symbols."""
    table = model.source_symbols
    return table.join(table.tokens(range(len(SPECIALS), min(len(table), len(SPECIALS) + EXAMPLE_SYMBOLS))))


def _drawing(served: ServedModel, source: str) -> Callable[[], str]:
    """Return a function that makes the page, without gradients: they need PyTorch, and a second for each symbol."""

    def draw() -> str:
        model = served.model
        limits = Limits(PAGE_LIMITS.numbers, 0)
        how: dict[str, Any] = {"top": TOP, "notices": Notices(), "search": {}, "limits": limits}
        view = make_view(model, source, reference=None, why_not=None, **how) | {"model": 0}
        architecture = Architecture.of(model.config.model)
        about = f"{served.name}: {architecture.describe()}"
        data: Mapping[str, Any] = {
            "format": "peephole-page",
            "version": 1,
            "made_with": f"peephole {__version__}",
            "models": [{"name": served.name, "network": architecture.describe()}],
            "views": [view],
        }
        script = files("peephole.serve").joinpath("page.js").read_text(encoding="utf-8")
        text = assemble_page(describe_views([view]), about, "", data, script)
        described = html.escape(json.dumps(architecture.to_dict()), quote=True)
        place = f'<body id="server-model" data-name="{html.escape(served.name)}" data-architecture="{described}">'
        return text.replace(*PARTS_OF_CSP, 1).replace("<body>", place, 1)

    return draw


def _tracing(served: ServedModel, asked: Any) -> Callable[[], dict[str, Any]]:
    def trace() -> dict[str, Any]:
        model = served.model
        begin = asked.prefix if isinstance(asked.prefix, str) else model.target_symbols.join(asked.prefix)
        found = model.trace(
            asked.source,
            prefix=begin or None,
            bend=None if asked.bend is None else (asked.bend.step, asked.bend.weights),
            top=TOP,
            notices=Notices(),
            **({} if asked.beam_size is None else {"beam_size": asked.beam_size}),
        )
        return trace_for_page(found, PAGE_LIMITS.numbers)

    return trace
