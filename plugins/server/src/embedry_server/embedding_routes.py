"""The routes that return vectors: those of OpenAI and of text-embeddings-inference."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from embedry import EmbedryError
from embedry.chains import OF_TEXTS, Kind
from embedry.views import LazyTextModel
from embedry_server import answers, roles, schemas
from embedry_server.answering import Answering, Asked, truncates
from embedry_server.computing import Computing
from embedry_server.errors import as_api_error
from embedry_server.models import Models


class EmbeddingRoutes:
    """Handlers of requests for vectors and for tokens."""

    def __init__(self, models: Models, computing: Computing, answering: Answering) -> None:
        self._models = models
        self._computing = computing
        self._answering = answering
        self._openai = msgspec.json.Decoder(schemas.EmbeddingsRequest)
        self._tei = msgspec.json.Decoder(schemas.EmbedRequest)
        self._texts = msgspec.json.Decoder(schemas.TextsRequest)
        self._tokenize = msgspec.json.Decoder(schemas.TokenizeRequest)

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings."""

        def read(body: bytes) -> Asked:
            asked = schemas.decoded(self._openai, body)
            listed = self._models.find(asked.model, ("dense",))
            role = self._models.role(listed, {field: getattr(asked, field) for field in roles.FIELDS})
            view = listed.model.view(asked.dimensions, asked.normalize)
            truncate = truncates(asked.truncate)
            found = self._computing.read_texts(listed.model, view, role, asked.input, truncate=truncate)
            as_base64 = asked.encoding_format == "base64"
            return Asked(
                found, partial(answers.embeddings, model=asked.model, tokens=found.tokens, as_base64=as_base64)
            )

        return await self._answering.answer(request, read)

    async def embed(self, request: Request) -> Response:
        """POST /embed."""

        def read(body: bytes) -> Asked:
            asked = schemas.decoded(self._tei, body)
            return self._read(asked, "dense", answers.rows, asked.dimensions, asked.normalize)

        return await self._answering.answer(request, read)

    async def embed_sparse(self, request: Request) -> Response:
        """POST /embed_sparse."""

        def read(body: bytes) -> Asked:
            return self._read(schemas.decoded(self._texts, body), "sparse", answers.terms)

        return await self._answering.answer(request, read)

    async def embed_all(self, request: Request) -> Response:
        """POST /embed_all."""

        def read(body: bytes) -> Asked:
            return self._read(schemas.decoded(self._texts, body), "multi_vector", answers.token_rows)

        return await self._answering.answer(request, read)

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize."""
        return await self._answering.answer_at_once(request, self._tokens)

    def _read(self, asked: schemas.TextsRequest, kind: Kind, write: Callable[[Any], bytes], *options: Any) -> Asked:
        truncate = truncates(asked.truncate, asked.truncation_direction)
        listed = self._models.find(asked.model, (kind,))
        role = self._models.role(listed, {"prompt_name": asked.prompt_name})
        view = listed.model.view(*options)
        return Asked(self._computing.read_texts(listed.model, view, role, asked.inputs, truncate=truncate), write)

    def _tokens(self, body: bytes) -> Response:
        asked = schemas.decoded(self._tokenize, body)
        listed = self._models.find(asked.model, OF_TEXTS)
        model = cast("LazyTextModel[Any]", listed.model.embedder)
        role = roles.stated(model.spec, {"prompt_name": asked.prompt_name}, listed.role) or "unprompted"
        texts = self._computing.texts(asked.inputs)
        try:
            found = model.tokenize(texts, role=role)
        except EmbedryError as error:
            raise as_api_error(error) from error
        return answers.as_json(
            [
                [
                    {
                        "id": token.id,
                        "text": token.text,
                        "special": token.special,
                        "start": None if token.special else token.start,
                        "stop": None if token.special else token.end,
                    }
                    for token in tokens
                ]
                for tokens in found
            ]
        )
