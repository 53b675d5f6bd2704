"""The ASGI application: its routes, and what they share."""

from collections.abc import Sequence
from typing import Any, Unpack

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from embedry import Options
from embedry_server import openapi
from embedry_server.computing import Computing
from embedry_server.embedding_routes import EmbeddingRoutes
from embedry_server.envelope import Envelope
from embedry_server.keys import Keys
from embedry_server.models import Models
from embedry_server.observing import Metrics
from embedry_server.operations import COMPUTED, Operation
from embedry_server.readiness import Readiness
from embedry_server.schemas import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbedRequest,
    ModelCard,
    ModelList,
    TokenizeRequest,
    TokenOut,
)
from embedry_server.settings import Limits, UnnamedRole
from embedry_server.status_routes import StatusRoutes

_REFUSED = {
    400: "The request is not valid; the message says what to send.",
    404: "There is no such model.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "There is no room for the request now; Retry-After says when to try again.",
    500: "The engine failed.",
    503: "The models are being loaded.",
    504: "The vectors were not ready within the server's deadline.",
}
_NOT_READY = {503: "It cannot compute; the message says why."}


class App:
    """An ASGI application that serves models. `load` them before it is asked for vectors; until then it answers 503."""

    def __init__(self, models: Models, *, keys: Keys, limits: Limits) -> None:
        self.computing = Computing(limits)
        self.readiness = Readiness(models, self.computing.queue, limits.deadline)
        metrics = Metrics(models, self.computing.queue)
        status = StatusRoutes(models, limits, self.computing.queue, metrics, self.readiness)
        embedding = EmbeddingRoutes(models, self.computing, self.readiness)
        operations = _operations(embedding, status)
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
        """Loads the models. In any thread. Raises EmbedryError if one cannot be loaded."""
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
        models: each what `resolve` takes, or NAME=MODEL to give it another name.
        unnamed_role: the role of requests that state none, for models whose queries and documents have different prompts.
        keys: who may ask; everybody without any.
        limits: what a request may ask for, and how much may wait.
        **options: those of `resolve`, for all models.

    Raises:
        OptionError: two models have one name, or an option is impossible.
        EmbedryError: a model cannot be found or loaded.
    """
    app = App(Models(models, unnamed_role=unnamed_role, **options), keys=Keys(keys), limits=limits or Limits())
    app.load()
    return app


_MODEL = "/v1/models/{name}"


def _operations(embedding: EmbeddingRoutes, status: StatusRoutes) -> list[Operation]:
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

    openai, tei, about = "OpenAI", "text-embeddings-inference", "The server"
    return [
        post("/v1/embeddings", embedding.embeddings, "The vectors of texts.", EmbeddingsRequest, EmbeddingsAnswer, tag=openai, headers=COMPUTED),
        get("/v1/models", status.models, "The names under which vectors can be asked for.", ModelList, tag=openai),
        get(_MODEL, status.model, "One of these names.", ModelCard, tag=openai, errors={404: "There is no such model."}),
        post("/embed", embedding.embed, "The vectors of texts.", EmbedRequest, list[list[float]], tag=tei, is_tei=True, headers=COMPUTED),
        # Where the clients of Hugging Face's Inference Endpoints ask, which are given no more than the address.
        post("/", embedding.embed, "The same as /embed.", EmbedRequest, list[list[float]], tag=tei, is_tei=True, headers=COMPUTED),
        post("/tokenize", embedding.tokenize, "The tokens of texts.", TokenizeRequest, list[list[TokenOut]], tag=tei, is_tei=True),
        get("/info", status.info, "The first model.", tag=tei, is_tei=True),
        get("/health", status.ready, "Whether it can compute.", tag=tei, is_tei=True, is_open=True, errors=_NOT_READY),
        get("/metrics", status.metrics, "Figures for Prometheus.", None, media_type="text/plain", tag=tei, is_tei=True),
        get("/health/live", status.live, "Whether the process answers.", tag=about, is_open=True),
        get("/health/ready", status.ready, "Whether it can compute.", tag=about, is_open=True, errors=_NOT_READY),
        get("/ping", status.ready, "Whether it can compute.", tag=about, is_open=True, errors=_NOT_READY),
        get("/status", status.status, "Figures for the page.", tag=about),
        get("/openapi.json", status.document, "This document.", tag=about, is_open=True),
        get("/docs", status.docs, "This document as a page.", None, media_type="text/html", tag=about, is_open=True),
        get("/", status.page, "The server as a page.", None, media_type="text/html", tag=about, is_open=True),
    ]  # fmt: skip
