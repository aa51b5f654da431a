"""The web application: all protocols over the models of a server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peephole import __version__
from peephole.serve.context import Context, answer
from peephole.serve.gate import FAILURE, GONE, Gate
from peephole.serve.health import health_routes
from peephole.serve.libre_translate import libre_translate_routes
from peephole.serve.models import Models
from peephole.serve.native import native_routes
from peephole.serve.open_inference import open_inference_routes
from peephole.serve.options import Options
from peephole.serve.page import page_routes
from peephole.serve.refusal import RefusalError
from peephole.serve.request import ClientGoneError


def create_app(models: Models, options: Options) -> Gate:
    """Return the application, which loads the models when it starts.

    Args:
        models: the models.
        options: how the server is run.

    Returns:
        An ASGI application; `draining` makes it refuse new requests.
    """
    context = Context(models, options)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await models.start()
        tasks = [asyncio.create_task(models.watch()), asyncio.create_task(context.metrics.watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await models.close()

    handlers = {
        RefusalError: _tell_refusal,
        HTTPException: _tell_http_error,
        ClientGoneError: _tell_nobody,
        Exception: _tell_failure,
    }
    app = Starlette(lifespan=lifespan, exception_handlers=handlers)
    gate = Gate(app, options.limits, context.metrics, options.tokens)
    routers = (
        native_routes(context),
        open_inference_routes(context, gate),
        libre_translate_routes(context),
        page_routes(context),
        health_routes(context, gate),
    )
    app.router.routes = [*_fast_routes(routers), _description(routers)]
    return gate


def _fast_routes(routers: Iterable[APIRouter]) -> list[Route]:
    """Return the routes of FastAPI as Starlette's.

    FastAPI only describes them: the functions read and check their requests by themselves, and FastAPI's own work for
    each request takes longer than a short prediction.
    """
    return [_fast_route(route) for router in routers for route in router.routes if isinstance(route, APIRoute)]


def _fast_route(route: APIRoute) -> Route:
    takes_request = "request" in inspect.signature(route.endpoint).parameters

    async def call(request: Request) -> Response:
        request.scope["route"] = route
        given = {"request": request} if takes_request else {}
        found: Response = await route.endpoint(**given, **request.path_params)
        return found

    return Route(route.path, call, methods=list(route.methods or ()))


def _description(routers: Iterable[APIRouter]) -> Route:
    """Return the route of the description; there are no pages of it, which would load scripts from elsewhere."""
    api = FastAPI(title="peephole", summary="Sequence-to-sequence models", version=__version__)
    for router in routers:
        api.include_router(router)

    async def describe(request: Request) -> Response:
        request.scope["route"] = route
        return answer(api.openapi())

    route = Route("/openapi.json", describe)
    return route


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    found = answer({"error": error.message}, error.status)
    found.headers.update(error.headers)
    return found


async def _tell_http_error(request: Request, error: Exception) -> Response:
    """Tell about a path or a method that does not exist."""
    assert isinstance(error, HTTPException)
    found = answer({"error": str(error.detail)}, error.status_code)
    found.headers.update(error.headers or {})
    return found


async def _tell_nobody(request: Request, error: Exception) -> Response:
    """Return an answer that only the log shows: its client has left."""
    return Response(status_code=GONE)


async def _tell_failure(request: Request, error: Exception) -> Response:
    """Tell about a fault of the server; Starlette raises the error again after the answer, and the gate logs it."""
    return answer({"error": FAILURE}, 500)
