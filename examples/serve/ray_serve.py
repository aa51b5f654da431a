"""Serve a model with Ray Serve, on this machine or on a cluster.

    pip install ../.. 'ray[serve]'
    serve run ray_serve:build model=/path/to/model.safetensors replicas=2
    curl http://127.0.0.1:8000/ -d '{"sources": ["hello", "world"], "settings": {"beam_size": 8}}'

Each replica takes a core. The sources of all its requests share the steps of one session of the engine, without waiting
for a batch, so `serve.batch` is not needed; every answer has the bits of `peephole predict`. Other deployments call
`await handle.predict.remote("hello")`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import peephole
from peephole.errors import PeepholeError
from peephole.model.session import Session


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=64)
class Predictor:
    """A replica: a model, its session, and the sources in work."""

    def __init__(self, model_file: str) -> None:
        self.session = Session(peephole.load(model_file), places=320, threads=1)
        self.futures: dict[int, asyncio.Future[Any]] = {}
        self.steps: asyncio.Task[None] | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer an HTTP request."""
        try:
            body = await request.json()
            work = [self.predict(source, body.get("settings")) for source in body["sources"]]
            return JSONResponse({"results": await asyncio.gather(*work)})
        except (PeepholeError, ValueError, TypeError, KeyError, AttributeError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 422)

    async def predict(self, source: str, settings: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the predictions of a source, best first."""
        ticket = self.session.add(source, settings, attention=False)
        future = self.futures[ticket] = asyncio.get_running_loop().create_future()
        if self.steps is None or self.steps.done():
            self.steps = asyncio.create_task(self.step())
        try:
            found = await future
        finally:
            if self.futures.pop(ticket, None):  # the client has left
                self.session.cancel(ticket)
        return [{"text": one.text, "log_prob": one.log_prob} for one in found]

    async def step(self) -> None:
        """Step until no source is in work, and give each result to its request."""
        while self.futures:
            for ticket, result in await asyncio.to_thread(self.session.step):
                future = self.futures.pop(ticket, None)
                if future is None or future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def build(arguments: dict[str, str]) -> Application:
    """Return the application of `serve run`: `model` is a file that every machine can read."""
    replicas = int(arguments.get("replicas", "1"))
    return Predictor.options(num_replicas=replicas).bind(arguments["model"])
