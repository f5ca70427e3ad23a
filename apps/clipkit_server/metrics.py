"""What Prometheus is told: rates, sizes of batches, what waits, and how long each stage takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "OPTIONS"))

Waiting = Callable[[], Mapping[tuple[str, str], int]]
"""What waits now, in items, by model and kind."""


class Metrics:
    """The counters of one server, in a registry of their own. Safe for several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("clipkit_requests", "Requests answered.", ("route", "method", "status"))
        self.refused = self._counter("clipkit_refused", "Requests not taken on, and why.", ("reason",))
        self.inputs = self._counter("clipkit_inputs", "Inputs that went through a model.", ("kind",))
        self.latency = self._histogram(
            "clipkit_request_seconds", "From the first byte asked to the last answered.", ("route",), _SECONDS
        )
        self.stages = self._histogram(
            "clipkit_stage_seconds",
            "Stages of a request: decode (pictures), queue (until its first batch), model (a batch).",
            ("stage", "kind"),
            _SECONDS,
        )
        self.batches = self._histogram("clipkit_batch_items", "Inputs in a batch.", ("kind",), _SIZES)
        self.loaded = Gauge("clipkit_models_loaded", "Models in memory.", registry=self._registry)
        self.busy = Gauge("clipkit_requests_in_flight", "Requests under way.", registry=self._registry)

    def watch_queue(self, waiting: Waiting) -> None:
        """Tells with each scrape what `waiting` gives."""
        self._registry.register(_Queue(waiting))

    def waited(self, kind: str, seconds: float) -> None:
        """A request's first item of that kind has waited so long."""
        self.stages.labels("queue", kind).observe(seconds)

    def ran(self, kind: str, items: int, seconds: float) -> None:
        """A batch went through the model."""
        self.batches.labels(kind).observe(items)
        self.inputs.labels(kind).inc(items)
        self.stages.labels("model", kind).observe(seconds)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is a template, so that there are few."""
        self.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.latency.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        exposition: bytes = generate_latest(self._registry)
        return exposition

    def _counter(self, name: str, told: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, told, labels, registry=self._registry)

    def _histogram(
        self, name: str, told: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, told, labels, registry=self._registry, buckets=buckets)


class _Queue:
    """Asked when it is scraped: to count at each item would cost more than it tells."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "clipkit_queue_items", "Inputs that wait for a model.", labels=("model", "kind")
        )
        for (model, kind), count in self._waiting().items():
            family.add_metric((model, kind), count)
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()
