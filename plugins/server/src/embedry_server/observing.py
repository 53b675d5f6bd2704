"""Metrics of requests: for Prometheus, the log and the status page."""

from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from embedry import __version__
from embedry_server.computing import Computed, Read
from embedry_server.models import Models
from embedry_server.queue import Queue

if TYPE_CHECKING:
    from embedry_server.errors import ApiError

_RECENT_SECONDS = 10.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)


class Observed:
    """The record of one request, filled in while it is processed."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.begun = monotonic()
        self.status = 0
        self.route = ""
        self.model = ""
        self.role = ""
        self.kind = ""
        self.dims = 0
        self.inputs = 0
        self.tokens = 0
        self.truncated = 0
        self.code: str | None = None
        self.queued: float | None = None
        self.compute: float | None = None

    @property
    def milliseconds(self) -> float:
        """Milliseconds since the request arrived."""
        return round(1e3 * (monotonic() - self.begun), 1)

    def read(self, read: Read) -> None:
        """The texts were tokenized."""
        self.model, self.role = read.model.name, read.role
        self.inputs, self.tokens = read.inputs, read.tokens
        self.kind, self.dims = read.model.kind, read.view.dims
        self.truncated = len(read.truncated)

    def computed(self, computed: Computed) -> None:
        """The results were computed."""
        self.queued, self.compute = computed.queued, computed.seconds

    def failed(self, error: "ApiError") -> None:
        """The response is an error."""
        self.code = error.code


class Recent:
    """The requests of the last seconds for which a model computed."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque()

    def add(self, seconds: float) -> None:
        """Records an answered request and its duration in seconds."""
        self._ended.append((monotonic(), seconds))
        self._forget()

    def figures(self) -> dict[str, float | None]:
        """The request rate, and the p50 and p99 latencies in ms; None without requests."""
        self._forget()
        latencies = sorted(seconds for _, seconds in self._ended)
        count = len(latencies)
        return {
            "per_second": round(count / _RECENT_SECONDS, 2),
            "p50_ms": round(1e3 * latencies[count // 2], 2) if count else None,
            "p99_ms": round(1e3 * latencies[min(count - 1, count * 99 // 100)], 2) if count else None,
        }

    def _forget(self) -> None:
        before = monotonic() - _RECENT_SECONDS
        while self._ended and self._ended[0][0] < before:
            self._ended.popleft()


class Metrics(Collector):
    """Counts requests. Labels never contain client input."""

    def __init__(self, models: Models, queue: Queue) -> None:
        self._models = models
        self._queue = queue
        self.recent = Recent()
        self.totals = {"total": 0, "refused": 0, "failed": 0}
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "embedry_requests",
            "Answered requests.",
            ["route", "model", "role", "code"],
            registry=self.registry,
        )
        self._seconds = self._histogram(
            "embedry_request_seconds", "Seconds from the first byte of a request to its response.", "route"
        )
        self._queue_seconds = self._histogram("embedry_queue_seconds", "Until the first text was computed.", "model")
        self._compute_seconds = self._histogram("embedry_compute_seconds", "From then to the last one.", "model")
        self._rejected = Counter(
            "embedry_rejected", "Requests rejected because the queue was full.", ["reason"], registry=self.registry
        )
        self._truncated = Counter(
            "embedry_truncated", "Inputs longer than the model's limit.", ["model"], registry=self.registry
        )
        self.registry.register(self)

    def add(self, observed: Observed) -> None:
        """Records an answered request."""
        seconds = monotonic() - observed.begun
        self._requests.labels(observed.route, observed.model, observed.role, str(observed.status)).inc()
        self._seconds.labels(observed.route).observe(seconds)
        if observed.queued is not None and observed.compute is not None:
            self._queue_seconds.labels(observed.model).observe(observed.queued)
            self._compute_seconds.labels(observed.model).observe(observed.compute)
            self.totals["total"] += 1
            self.recent.add(seconds)
        if observed.truncated:
            self._truncated.labels(observed.model).inc(observed.truncated)
        if observed.status == 429:
            self.totals["refused"] += 1
            self._rejected.labels(observed.code or "").inc()
        elif observed.status >= 500:
            self.totals["failed"] += 1

    def collect(self) -> Iterator[Metric]:
        """Collects metrics that are read on demand."""
        tokens = CounterMetricFamily(
            "embedry_tokens", "Tokens computed, and with the padding of batches.", labels=["model", "kind"]
        )
        for model in self._models:
            real, padded = model.embedder.computed_tokens
            tokens.add_metric([model.name, "real"], real)
            tokens.add_metric([model.name, "padded"], padded)
        yield tokens
        yield GaugeMetricFamily(
            "embedry_queue_tokens", "Tokens of accepted requests that are not answered yet.", self._queue.tokens
        )
        yield GaugeMetricFamily("embedry_oldest_seconds", "Age of the oldest request.", self._queue.oldest_seconds)
        yield InfoMetricFamily("embedry_build", "The server.", {"version": __version__})

    def _histogram(self, name: str, text: str, label: str) -> Histogram:
        return Histogram(name, text, [label], buckets=_SECONDS, registry=self.registry)
