"""What /metrics reports, in the text format of Prometheus."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from peephole.serve.models import Models

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SECONDS_BETWEEN_READINGS = 1.0  # of the queues, for the processes of the same server


class Metrics:
    """The counts of a server.

    Several processes of a server write theirs into the files of a folder, which the environment variable
    PROMETHEUS_MULTIPROC_DIR names when `prometheus_client` is imported, and each of them reports the sums.

    Args:
        models: whose queues are reported.
        shared: whether there are several processes.
    """

    def __init__(self, models: Models, *, shared: bool = False) -> None:
        self._models, self._shared = models, shared
        self._registry = registry = CollectorRegistry()
        if not shared:
            ProcessCollector(registry=registry)
        self.requests = Counter("peephole_requests", "answered requests", ("route", "status"), registry=registry)
        self.seconds = Histogram(
            "peephole_request_seconds",
            "time from the request's head to the end of its answer",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.sources = Counter("peephole_sources", "predicted or scored sources", ("model",), registry=registry)

        def gauge(name: str, help: str, *labels: str) -> Gauge:
            return Gauge(name, help, labels, registry=registry, multiprocess_mode="livesum")

        self._waiting = gauge("peephole_waiting_sources", "sources in the queue", "model")
        self._active = gauge("peephole_active_sources", "sources in work", "model")
        self._loaded = gauge("peephole_model", "processes that answer with these weights", "model", "version")
        self._versions: set[tuple[str, str]] = set()

    async def watch(self) -> None:
        """Read the queues every second, for the process that is asked."""
        while self._shared:
            self._read_queues()
            await asyncio.sleep(SECONDS_BETWEEN_READINGS)

    def text(self) -> bytes:
        """Return all of them."""
        self._read_queues()
        if not self._shared:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client has no types there
        return generate_latest(together)

    def _read_queues(self) -> None:
        """Store what waits, what is in work, and which weights each model has."""
        for version in self._versions:
            self._loaded.labels(*version).set(0)
        for served in self._models.all():
            self._waiting.labels(served.name).set(served.scheduler.waiting)
            self._active.labels(served.name).set(served.scheduler.active)
            self._versions.add((served.name, served.version))
            self._loaded.labels(served.name, served.version).set(1)
