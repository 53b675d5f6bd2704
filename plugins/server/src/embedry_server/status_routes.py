"""The routes about the server: models, health, metrics and pages."""

from importlib.resources import files
from time import monotonic, time
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from embedry import ModelSpec, Pooling, __version__
from embedry_server import answers, roles
from embedry_server.errors import ApiError
from embedry_server.models import Listed, Models, ServedModel
from embedry_server.observing import Metrics
from embedry_server.queue import Queue
from embedry_server.readiness import Readiness
from embedry_server.settings import Limits

_SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class StatusRoutes:
    """Handlers of requests about the server."""

    def __init__(self, models: Models, limits: Limits, queue: Queue, metrics: Metrics, readiness: Readiness) -> None:
        self._models = models
        self._limits = limits
        self._queue = queue
        self._metrics = metrics
        self._readiness = readiness
        self._started, self._created = monotonic(), int(time())
        self.openapi: dict[str, Any] = {}

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return answers.as_json({"object": "list", "data": [self._card(listed) for listed in self._models.listed()]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}."""
        return answers.as_json(self._card(self._models.find(request.path_params["name"])))

    async def info(self, request: Request) -> Response:
        """GET /info, of the first model."""
        model = self._models.find(None).model
        embedder = model.embedder
        return answers.as_json(
            {
                "model_id": embedder.spec.repo or embedder.name,
                "model_sha": embedder.spec.revision,
                "model_dtype": embedder.info.get("precision", "float32"),
                "model_type": _type(embedder.spec),
                "kind": model.kind,
                "max_concurrent_requests": None,
                "max_input_length": embedder.max_seq_length,
                "max_batch_tokens": self._limits.queue_tokens,
                "max_client_batch_size": self._limits.inputs,
                "auto_truncate": True,
                "version": __version__,
            }
        )

    async def live(self, request: Request) -> Response:
        """GET /health/live: the process responds."""
        return answers.as_json({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready: the models can compute."""
        reason = await self._readiness.reason()
        if reason is not None:
            raise ApiError(503, reason, code="not_ready", headers={"retry-after": "1"})
        return answers.as_json({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def status(self, request: Request) -> Response:
        """GET /status, for the status page."""
        queue = self._queue
        return answers.as_json(
            {
                "version": __version__,
                "ready": await self._readiness.reason() is None,
                "draining": self._readiness.is_draining,
                "uptime_seconds": round(monotonic() - self._started, 1),
                "models": [await self._state(model) for model in self._models],
                "requests": {**self._metrics.totals, "in_flight": queue.in_flight, **self._metrics.recent.figures()},
                "queue": {
                    "tokens": queue.tokens,
                    "limit": queue.limit,
                    "oldest_seconds": round(queue.oldest_seconds, 2),
                    "tokens_per_second": queue.tokens_per_second and round(queue.tokens_per_second),
                },
            }
        )

    async def document(self, request: Request) -> Response:
        """GET /openapi.json."""
        return answers.as_json(self.openapi)

    async def page(self, request: Request) -> Response:
        """GET /."""
        return _page("index.html")

    async def docs(self, request: Request) -> Response:
        """GET /docs."""
        return _page("docs.html")

    def _card(self, listed: Listed) -> dict[str, Any]:
        model = listed.model
        return {
            "id": listed.id,
            "object": "model",
            "created": self._created,
            "owned_by": "embedry",
            "root": model.name,
            "kind": model.kind,
            "role": listed.role,
            "roles": roles.names(model.embedder.spec),
            "dims": model.embedder.dims,
            "dimensions": model.lengths,
            "max_input_tokens": model.embedder.max_seq_length,
            "space": model.space,
        }

    async def _state(self, model: ServedModel) -> dict[str, Any]:
        embedder = model.embedder
        info = embedder.info
        return {
            "name": model.name,
            "kind": model.kind,
            "ready": await self._readiness.reason_of(model) is None,
            "dims": embedder.dims,
            "dimensions": model.lengths,
            "max_seq_length": embedder.max_seq_length,
            "roles": roles.names(embedder.spec),
            "needs_role": model.needs_role,
            "similarity": embedder.spec.similarity,
            "backend": info["backend"],
            "device": info["device"],
            "space": model.space,
        }


def _type(spec: ModelSpec) -> dict[str, Any]:
    """The type of the model in text-embeddings-inference."""
    if spec.kind == "reranker":
        return {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    pooling = next((module.mode for module in spec.chain if isinstance(module, Pooling)), "none")
    return {"embedding": {"pooling": "splade" if spec.kind == "sparse" else pooling}}


def _page(name: str) -> Response:
    content = (files("embedry_server") / "pages" / name).read_bytes()
    return Response(content, media_type="text/html", headers=_SECURITY)
