"""What /metrics reports, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from peephole.serve.models import Models

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counts of a server.

    Args:
        models: whose queues are reported.
    """

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Queues(models))
        self.requests = Counter("peephole_requests", "answered requests", ("route", "status"), registry=self._registry)
        self.seconds = Histogram(
            "peephole_request_seconds",
            "time from the request's head to the end of its answer",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.sources = Counter("peephole_sources", "predicted or scored sources", ("model",), registry=self._registry)

    def text(self) -> bytes:
        """Return all of them."""
        return generate_latest(self._registry)


class _Queues(Collector):
    """Reads the queues when they are asked for."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what waits, what is in work, and which weights each model has."""
        waiting = GaugeMetricFamily("peephole_waiting_sources", "sources in the queue", labels=("model",))
        active = GaugeMetricFamily("peephole_active_sources", "sources in work", labels=("model",))
        loaded = GaugeMetricFamily("peephole_model", "1 for each loaded model", labels=("model", "version"))
        for served in self._models.all():
            waiting.add_metric([served.name], served.scheduler.waiting)
            active.add_metric([served.name], served.scheduler.active)
            loaded.add_metric([served.name, served.version], 1)
        yield from (waiting, active, loaded)
