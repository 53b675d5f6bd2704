"""OpenTelemetry spans, if its API is installed; names follow the semantic conventions for HTTP and generative AI."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers

from embedry_server.observing import Observed

try:
    from opentelemetry import propagate, trace
except ImportError:
    trace = None  # type: ignore[assignment]


@contextmanager
def span(observed: Observed, method: str, headers: Headers) -> Iterator[None]:
    """A server span around the request, a child of the client's span if it sends one. Does nothing without the API."""
    if trace is None:
        yield
        return
    tracer = trace.get_tracer("embedry.server")
    parent = propagate.extract(dict(headers))
    with tracer.start_as_current_span(
        f"{method} {observed.route}".rstrip(), context=parent, kind=trace.SpanKind.SERVER
    ) as current:
        try:
            yield
        finally:
            if current.is_recording():
                for name, value in _attributes(observed, method).items():
                    current.set_attribute(name, value)


def _attributes(observed: Observed, method: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "http.request.method": method,
        "http.route": observed.route,
        "http.response.status_code": observed.status,
    }
    if observed.model:
        found |= {
            "gen_ai.operation.name": "rerank" if observed.kind == "reranker" else "embeddings",
            "gen_ai.request.model": observed.model,
            "gen_ai.usage.input_tokens": observed.tokens,
        }
        if observed.kind != "reranker":
            found["gen_ai.embeddings.dimension.count"] = observed.dims
    if observed.status >= 400:
        found["error.type"] = observed.code or str(observed.status)
    return found
