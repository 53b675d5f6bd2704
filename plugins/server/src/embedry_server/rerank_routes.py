"""The rerank routes: those of text-embeddings-inference, and of Cohere, Jina and vLLM."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from embedry import LazyReranker
from embedry.errors import some
from embedry_server import schemas
from embedry_server.answering import Answering, Asked, truncates
from embedry_server.computing import Computing, Read
from embedry_server.errors import ApiError
from embedry_server.models import Models
from embedry_server.rerank_schemas import RerankRequest, TextsToRank

_NOT_POSSIBLE = {
    "max_chunks_per_doc": "a document is not split; split it yourself, or leave the field out",
    "relevant_spans": "a document is ranked as a whole; leave the field out",
    "instruction": "a query has the prompt that the model's entry names, see prompt_name; leave the field out",
    "truncate_prompt_tokens": "a pair is cut where it is longer than the model reads, see truncate; leave the field out",
    "max_tokens_per_query": "a pair is cut where it is longer than the model reads, see truncate; leave the field out",
}
"""Fields of those APIs -> why they cannot be honored."""

_OF_A_SEARCH_UNIT = 100
"""Documents that Cohere bills together."""


class RerankRoutes:
    """Handlers of rerank requests."""

    def __init__(self, models: Models, computing: Computing, answering: Answering) -> None:
        self._models = models
        self._computing = computing
        self._answering = answering
        self._tei = msgspec.json.Decoder(TextsToRank)
        self._cohere = msgspec.json.Decoder(RerankRequest)

    async def rerank(self, request: Request) -> Response:
        """POST /rerank."""

        def read(body: bytes) -> Asked:
            asked = schemas.decoded(self._tei, body)
            truncate = truncates(asked.truncate, asked.truncation_direction)
            found = self._read(asked, asked.texts, "texts", truncate=truncate)
            texts = asked.texts if asked.return_text else None
            return Asked(found, partial(_ranks, found, texts, raw=bool(asked.raw_scores)), _characters(texts))

        return await self._answering.answer(request, read)

    async def rerank_v1(self, request: Request) -> Response:
        """POST /v1/rerank."""
        return await self._rerank(request, "1")

    async def rerank_v2(self, request: Request) -> Response:
        """POST /v2/rerank."""
        return await self._rerank(request, "2")

    async def _rerank(self, request: Request, version: str) -> Response:
        def read(body: bytes) -> Asked:
            asked = schemas.decoded(self._cohere, body)
            _check_possible(asked)
            texts = [each if isinstance(each, str) else each.text for each in asked.documents]
            found = self._read(asked, texts, "documents", truncate=truncates(asked.truncate))
            if asked.max_tokens_per_doc is not None:
                _check_lengths(found, texts, asked.max_tokens_per_doc)
            facts = {
                "id": request.scope["embedry"].identity,
                "model": asked.model or found.model.name,
                **_usage(found, version),
            }
            documents = texts if asked.return_documents else None
            return Asked(found, partial(_results, found, documents, asked.top_n, facts), _characters(documents))

        return await self._answering.answer(request, read)

    def _read(self, asked: TextsToRank | RerankRequest, texts: Sequence[str], field: str, *, truncate: bool) -> Read:
        listed = self._models.find(asked.model, ("reranker",))
        role = self._models.role(listed, {"prompt_name": asked.prompt_name})
        return self._computing.read_pairs(listed.model, role, asked.query, texts, field, truncate=truncate)


def _check_possible(asked: RerankRequest) -> None:
    for field, why in _NOT_POSSIBLE.items():
        if getattr(asked, field) is not None:
            raise ApiError(400, f"{field} is not supported: {why}", param=field)
    if asked.rank_fields not in (None, ["text"]):
        raise ApiError(
            400,
            f"rank_fields={some(asked.rank_fields, 3)} is not supported: documents are ranked by their text; put the "
            'fields into it, and send ["text"]',
            param="rank_fields",
        )
    if asked.truncation_side == "left":
        raise ApiError(400, "truncation_side=left is not supported: a text is cut at its end", param="truncation_side")


def _check_lengths(read: Read, documents: Sequence[str], most: int) -> None:
    """Raises ApiError if a document has more than `most` tokens and would not be truncated to them."""
    view = _reranker(read)
    if most >= view.max_seq_length:
        return
    long = [at for at, count in enumerate(read.prepared.tokens or ()) if count > most]
    around, *counts = view.count_tokens([("", ""), *(("", documents[at]) for at in long)], role=read.role)
    over = [at for at, count in zip(long, counts, strict=True) if count - around > most]
    if over:
        raise ApiError(
            400,
            f"max_tokens_per_doc={most} is not supported: document {over[0]} has more tokens, and a document is cut only where a "
            f"pair has more than the {view.max_seq_length} tokens that {read.model.name!r} reads; shorten it, or leave the field out",
            param="max_tokens_per_doc",
        )


def _reranker(read: Read) -> LazyReranker:
    return cast("LazyReranker", read.view)


def _characters(texts: Sequence[str] | None) -> int:
    return sum(map(len, texts or ()))


def _ranks(read: Read, texts: Sequence[str] | None, logits: NDArray[np.float32], *, raw: bool) -> bytes:
    """The response body of text-embeddings-inference."""
    return _as_json(
        [
            {
                "index": at,
                "score": logits[at, 0] if raw else score,
                **({"text": texts[at]} if texts is not None else {}),
            }
            for at, score in _reranker(read).ranked(logits)
        ]
    )


def _results(
    read: Read, documents: Sequence[str] | None, top_n: int | None, facts: dict[str, Any], logits: NDArray[np.float32]
) -> bytes:
    """The response body of Cohere's API, with the additional fields of Jina and vLLM."""
    results = [
        {
            "index": at,
            "relevance_score": score,
            **({"document": {"text": documents[at]}} if documents is not None else {}),
        }
        for at, score in _reranker(read).ranked(logits, top_n)
    ]
    return _as_json({"results": results, **facts})


def _usage(read: Read, version: str) -> dict[str, Any]:
    return {
        "usage": {"prompt_tokens": read.tokens, "total_tokens": read.tokens},
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"search_units": -(-read.inputs // _OF_A_SEARCH_UNIT)},
            "tokens": {"input_tokens": read.tokens},
        },
    }


def _as_json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
