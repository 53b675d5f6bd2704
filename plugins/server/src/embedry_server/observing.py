"""What is known of requests: for Prometheus, for the log, and for the page that shows them as they come."""

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
    """What one request turned out to be, as it goes its way."""

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
        """Since it came."""
        return round(1e3 * (monotonic() - self.begun), 1)

    def read(self, read: Read) -> None:
        """Its texts were read."""
        self.model, self.role = read.model.name, read.role
        self.inputs, self.tokens = read.inputs, read.tokens
        self.kind, self.dims = read.model.kind, read.view.dims
        self.truncated = len(read.truncated)

    def computed(self, computed: Computed) -> None:
        """Its results are there."""
        self.queued, self.compute = computed.queued, computed.seconds

    def failed(self, error: "ApiError") -> None:
        """It is answered with an error."""
        self.code = error.code


class Recent:
    """The requests of the last seconds for which a model computed."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, float]] = deque()

    def add(self, seconds: float) -> None:
        """One more was answered, after so many seconds."""
        self._ended.append((monotonic(), seconds))
        self._forget()

    def figures(self) -> dict[str, float | None]:
        """Their rate, and the latencies in ms that half and 99 % of them stayed below; None without any."""
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
    """Counts requests. No label ever comes from what a client sends."""

    def __init__(self, models: Models, queue: Queue) -> None:
        self._models = models
        self._queue = queue
        self.recent = Recent()
        self.totals = {"total": 0, "refused": 0, "failed": 0}
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "embedry_requests",
            "Requests that were answered.",
            ["route", "model", "role", "code"],
            registry=self.registry,
        )
        self._seconds = self._histogram(
            "embedry_request_seconds", "From a request's first byte to its answer.", "route"
        )
        self._queue_seconds = self._histogram("embedry_queue_seconds", "Until the first text was computed.", "model")
        self._compute_seconds = self._histogram("embedry_compute_seconds", "From then to the last one.", "model")
        self._rejected = Counter(
            "embedry_rejected", "Requests that were refused for want of room.", ["reason"], registry=self.registry
        )
        self._truncated = Counter(
            "embedry_truncated", "Inputs longer than the model reads.", ["model"], registry=self.registry
        )
        self.registry.register(self)

    def add(self, observed: Observed) -> None:
        """A request was answered."""
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
        """What is read off when somebody looks."""
        tokens = CounterMetricFamily(
            "embedry_tokens", "Tokens computed, and with the padding of batches.", labels=["model", "kind"]
        )
        for model in self._models:
            real, padded = model.embedder.computed_tokens
            tokens.add_metric([model.name, "real"], real)
            tokens.add_metric([model.name, "padded"], padded)
        yield tokens
        yield GaugeMetricFamily(
            "embedry_queue_tokens", "Tokens of requests that are not answered yet.", self._queue.tokens
        )
        yield GaugeMetricFamily("embedry_oldest_seconds", "Age of the oldest request.", self._queue.oldest_seconds)
        yield InfoMetricFamily("embedry_build", "The server.", {"version": __version__})

    def _histogram(self, name: str, text: str, label: str) -> Histogram:
        return Histogram(name, text, [label], buckets=_SECONDS, registry=self.registry)
