"""The state of the server, for probes and for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from peephole.serve import schema
from peephole.serve.context import Context, answer
from peephole.serve.gate import Gate


def health_routes(context: Context, gate: Gate) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["health"])

    async def healthz() -> Response:
        """Say that the process answers: a liveness probe."""
        return answer({"status": "ok"})

    async def readyz() -> Response:
        """Say whether predictions are answered: a readiness probe; 503 while models load and after SIGTERM."""
        if gate.draining:
            return answer({"status": "shutting down"}, 503)
        return answer({"status": "ok"}) if context.models.ready else answer({"status": "loading"}, 503)

    async def metrics() -> Response:
        """Return counts, times and queues in the text format of Prometheus."""
        return Response(context.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    health = {"model": schema.HealthAnswer, "description": "the state"}
    router.add_api_route("/healthz", healthz, responses={200: health}, response_class=Response)
    router.add_api_route("/readyz", readyz, responses={200: health, 503: health}, response_class=Response)
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "the metrics"}
    router.add_api_route("/metrics", metrics, responses={200: text}, response_class=Response)
    return router
