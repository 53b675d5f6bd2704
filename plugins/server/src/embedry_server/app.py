"""The ASGI application and its routes."""

from collections.abc import Sequence
from typing import Any, Unpack

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from embedry import Options
from embedry_server import openapi
from embedry_server.answering import Answering
from embedry_server.computing import Computing
from embedry_server.embedding_routes import EmbeddingRoutes
from embedry_server.envelope import Envelope
from embedry_server.keys import Keys
from embedry_server.models import Models
from embedry_server.observing import Metrics
from embedry_server.operations import COMPUTED, Operation
from embedry_server.readiness import Readiness
from embedry_server.rerank_routes import RerankRoutes
from embedry_server.rerank_schemas import Rank, RerankAnswer, RerankRequest, TextsToRank
from embedry_server.schemas import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbedRequest,
    ModelCard,
    ModelList,
    Term,
    TextsRequest,
    TokenizeRequest,
    TokenOut,
)
from embedry_server.settings import Limits, UnnamedRole
from embedry_server.status_routes import StatusRoutes

_REFUSED = {
    400: "The request is invalid; the message states what to send.",
    404: "There is no such model.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "The queue is full; Retry-After states when to try again.",
    500: "The engine failed.",
    503: "The models are being loaded.",
    504: "The results were not ready within the server's deadline.",
}
_NOT_READY = {503: "The server cannot compute; the message states why."}


class App:
    """An ASGI application that serves models. Call `load` first; until then it answers 503."""

    def __init__(self, models: Models, *, keys: Keys, limits: Limits) -> None:
        self.computing = Computing(limits)
        self.readiness = Readiness(models, self.computing.queue, limits.deadline)
        metrics = Metrics(models, self.computing.queue)
        status = StatusRoutes(models, limits, self.computing.queue, metrics, self.readiness)
        answering = Answering(self.computing, self.readiness)
        operations = _operations(
            EmbeddingRoutes(models, self.computing, answering), RerankRoutes(models, self.computing, answering), status
        )
        status.openapi = openapi.document(operations)
        router = Router(
            [
                Route(each.path.replace("{name}", "{name:path}"), each.handler, methods=[each.method])
                for each in operations
            ],
            redirect_slashes=False,
        )
        table = {(each.method, each.path): each for each in operations}

        def operation_of(method: str, path: str) -> Operation | None:
            path = _MODEL if path.startswith("/v1/models/") else path
            return table.get(("GET" if method == "HEAD" else method, path))

        self._envelope = Envelope(
            router, keys=keys, metrics=metrics, readiness=self.readiness, operation_of=operation_of
        )

    def load(self) -> None:
        """Loads the models; may be called from any thread. Raises EmbedryError if one cannot be loaded."""
        self.readiness.load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._envelope(scope, receive, send)


def create_app(
    models: Sequence[str],
    *,
    unnamed_role: UnnamedRole | None = None,
    keys: Sequence[str] = (),
    limits: Limits | None = None,
    **options: Unpack[Options],
) -> App:
    """An ASGI application with its models loaded.

    Args:
        models: models of any kind, as `resolve` accepts them; NAME=MODEL sets another name, and MODEL:KIND selects one of
            several kinds.
        unnamed_role: the role of requests that do not state one, for models that encode queries and documents differently.
        keys: API keys; without keys, every client has access.
        limits: limits for one request and for the queue.
        **options: options of `resolve`, for all models.

    Raises:
        OptionError: two models have the same name, an option is not valid, or a reranker returns several scores.
        EmbedryError: a model cannot be found or loaded.
    """
    app = App(Models(models, unnamed_role=unnamed_role, **options), keys=Keys(keys), limits=limits or Limits())
    app.load()
    return app


_MODEL = "/v1/models/{name}"


def _operations(embedding: EmbeddingRoutes, ranking: RerankRoutes, status: StatusRoutes) -> list[Operation]:
    def post(path: str, handler: Any, summary: str, request: Any, answer: Any, **more: Any) -> Operation:
        return Operation(
            method="POST",
            path=path,
            handler=handler,
            summary=summary,
            request=request,
            answer=answer,
            errors=_REFUSED,
            **more,
        )

    def get(path: str, handler: Any, summary: str, answer: Any = dict, **more: Any) -> Operation:
        return Operation(method="GET", path=path, handler=handler, summary=summary, answer=answer, **more)

    openai, cohere, tei, about = "OpenAI", "Cohere and Jina", "text-embeddings-inference", "The server"
    return [
        post("/v1/embeddings", embedding.embeddings, "The vectors of texts.", EmbeddingsRequest, EmbeddingsAnswer, tag=openai, headers=COMPUTED),
        get("/v1/models", status.models, "The names of the models.", ModelList, tag=openai),
        get(_MODEL, status.model, "One of these names.", ModelCard, tag=openai, errors={404: "There is no such model."}),
        post("/v1/rerank", ranking.rerank_v1, "Documents, ranked by how well they answer a query.", RerankRequest, RerankAnswer, tag=cohere, headers=COMPUTED),
        post("/v2/rerank", ranking.rerank_v2, "The same as /v1/rerank.", RerankRequest, RerankAnswer, tag=cohere, headers=COMPUTED),
        post("/embed", embedding.embed, "The vectors of texts.", EmbedRequest, list[list[float]], tag=tei, is_tei=True, headers=COMPUTED),
        # Clients of Hugging Face's Inference Endpoints only know the address and send requests here.
        post("/", embedding.embed, "The same as /embed.", EmbedRequest, list[list[float]], tag=tei, is_tei=True, headers=COMPUTED),
        post("/embed_sparse", embedding.embed_sparse, "The terms of texts, and their weights.", TextsRequest, list[list[Term]], tag=tei, is_tei=True, headers=COMPUTED),
        post("/embed_all", embedding.embed_all, "The vectors of the tokens of texts.", TextsRequest, list[list[list[float]]], tag=tei, is_tei=True, headers=COMPUTED),
        post("/rerank", ranking.rerank, "Texts, ranked by how well they answer a query.", TextsToRank, list[Rank], tag=tei, is_tei=True, headers=COMPUTED),
        post("/tokenize", embedding.tokenize, "The tokens of texts.", TokenizeRequest, list[list[TokenOut]], tag=tei, is_tei=True),
        get("/info", status.info, "The first model.", tag=tei, is_tei=True),
        get("/health", status.ready, "Whether the server can compute.", tag=tei, is_tei=True, is_open=True, errors=_NOT_READY),
        get("/metrics", status.metrics, "Figures for Prometheus.", None, media_type="text/plain", tag=tei, is_tei=True),
        get("/health/live", status.live, "Whether the process responds.", tag=about, is_open=True),
        get("/health/ready", status.ready, "Whether the server can compute.", tag=about, is_open=True, errors=_NOT_READY),
        get("/ping", status.ready, "Whether the server can compute.", tag=about, is_open=True, errors=_NOT_READY),
        get("/status", status.status, "Metrics for the status page.", tag=about),
        get("/openapi.json", status.document, "This document.", tag=about, is_open=True),
        get("/docs", status.docs, "This document as a page.", None, media_type="text/html", tag=about, is_open=True),
        get("/", status.page, "The server as a page.", None, media_type="text/html", tag=about, is_open=True),
    ]  # fmt: skip
