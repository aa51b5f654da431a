"""The web application: all protocols over the models of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from peephole import __version__
from peephole.serve.context import Context, Options, answer
from peephole.serve.gate import Gate
from peephole.serve.health import health_routes
from peephole.serve.libre_translate import libre_translate_routes
from peephole.serve.models import Models
from peephole.serve.native import native_routes
from peephole.serve.open_inference import open_inference_routes
from peephole.serve.page import page_routes
from peephole.serve.refusal import RefusalError


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
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await models.start()
        watch = asyncio.create_task(models.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await models.close()

    # Without pages of documentation: they load scripts from elsewhere, and /openapi.json says the same.
    app = FastAPI(
        title="peephole",
        summary="Sequence-to-sequence models",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(RefusalError, _tell_refusal)
    app.add_exception_handler(HTTPException, _tell_http_error)
    app.add_exception_handler(RequestValidationError, _tell_http_error)
    gate = Gate(app, options.limits, context.metrics, options.tokens)
    app.include_router(native_routes(context))
    app.include_router(open_inference_routes(context, gate))
    app.include_router(libre_translate_routes(context))
    app.include_router(page_routes(context))
    app.include_router(health_routes(context, gate))
    return gate


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    found = answer({"error": error.message}, error.status)
    found.headers.update(error.headers)
    return found


async def _tell_http_error(request: Request, error: Exception) -> Response:
    """Tell about a path or a method that does not exist."""
    if isinstance(error, HTTPException):
        found = answer({"error": str(error.detail)}, error.status_code)
        found.headers.update(error.headers or {})
        return found
    return answer({"error": str(error)}, 422)
