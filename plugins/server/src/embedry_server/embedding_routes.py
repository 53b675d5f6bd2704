"""The routes that give vectors: OpenAI's, and those of text-embeddings-inference."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from embedry import EmbedryError
from embedry_server import answers, roles, schemas
from embedry_server.bodies import Bodies
from embedry_server.computing import Computing, Read
from embedry_server.errors import ApiError, as_api_error
from embedry_server.models import Models
from embedry_server.observing import Observed
from embedry_server.readiness import Readiness


class EmbeddingRoutes:
    """Handlers of requests for vectors and for tokens."""

    def __init__(self, models: Models, computing: Computing, readiness: Readiness) -> None:
        self._models = models
        self._computing = computing
        self._bodies = Bodies(computing.limits.body_bytes)
        self._readiness = readiness
        self._openai = msgspec.json.Decoder(schemas.EmbeddingsRequest)
        self._tei = msgspec.json.Decoder(schemas.EmbedRequest)
        self._tokenize = msgspec.json.Decoder(schemas.TokenizeRequest)

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings."""

        def read(body: bytes) -> tuple[Read, Callable[..., bytes]]:
            asked = schemas.decoded(self._openai, body)
            listed = self._models.find(asked.model)
            role = self._models.role(listed, {field: getattr(asked, field) for field in roles.FIELDS})
            found = self._computing.read(
                listed.model,
                listed.model.view(asked.dimensions, asked.normalize),
                role,
                asked.input,
                truncate=_truncates(asked.truncate),
            )
            return found, partial(
                answers.embeddings, model=asked.model, tokens=found.tokens, as_base64=asked.encoding_format == "base64"
            )

        return await self._answer(request, read)

    async def embed(self, request: Request) -> Response:
        """POST /embed."""

        def read(body: bytes) -> tuple[Read, Callable[..., bytes]]:
            asked = schemas.decoded(self._tei, body)
            if asked.truncation_direction in ("Left", "left"):
                raise ApiError(
                    400,
                    "truncation_direction=Left is not possible: a text is cut at its end",
                    param="truncation_direction",
                )
            listed = self._models.find(asked.model)
            role = self._models.role(listed, {"prompt_name": asked.prompt_name})
            view = listed.model.view(asked.dimensions, asked.normalize)
            found = self._computing.read(listed.model, view, role, asked.inputs, truncate=_truncates(asked.truncate))
            return found, answers.rows

        return await self._answer(request, read)

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize."""
        self._readiness.check_open()
        async with self._bodies.received(request) as body:
            return await self._computing.off_loop(len(body), partial(self._tokens, body))

    def _tokens(self, body: bytes) -> Response:
        asked = schemas.decoded(self._tokenize, body)
        listed = self._models.find(asked.model)
        role = roles.stated(listed.model.embedder.spec, {"prompt_name": asked.prompt_name}, listed.role) or "unprompted"
        texts = self._computing.texts(asked.inputs)
        try:
            found = listed.model.embedder.tokenize(texts, role=role)
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

    async def _answer(self, request: Request, read: Callable[[bytes], tuple[Read, Callable[..., bytes]]]) -> Response:
        """Receives the body, reads it, computes it, and writes the answer."""
        computing = self._computing
        self._readiness.check_open()
        computing.queue.check()
        async with self._bodies.received(request) as body:
            begun = perf_counter()
            found, write = await computing.off_loop(len(body), partial(read, body))
        seconds = perf_counter() - begun
        observed: Observed = request.scope["embedry"]
        observed.read(found)
        computed = await computing.compute(request, found)
        observed.computed(computed)
        self._readiness.proven(found.model)
        content = await computing.off_loop(computed.vectors.nbytes, partial(write, computed.vectors))
        return answers.Json(content, headers=answers.headers(found, seconds, computed))


def _truncates(truncate: Any) -> bool:
    if truncate == "START":
        raise ApiError(
            400, 'truncate="START" is not possible: a text is cut at its end; send "END" or "NONE"', param="truncate"
        )
    return truncate not in (False, "NONE")
