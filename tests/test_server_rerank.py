"""The routes that rank: the order and the scores of `rank` in the words of three APIs, what they count, and what they refuse."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import cohere
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from embedry import LazyReranker, OptionError, resolve_reranker
from embedry.backend import PairEncoder
from embedry.engine import Engine, assembled
from embedry_server import create_app
from embedry_server.app import App
from embedry_server.keys import Keys
from embedry_server.models import Models
from embedry_server.settings import Limits
from kind_models import registered
from serving import in_thread
from waiting import PATIENCE, asked, until

NAME = "tiny-reranker"
QUERY = "where does the river flow early"
DOCUMENTS = [
    "the early river of the valley",
    "",
    "seven clouds against the market, because of the music",
    "a station",
    "the early river of the valley",
    "ünïcödé \0 漢字",
    "music in the market",
]
LONG = "word " * 100
"""More than the 64 tokens that the model reads of a pair."""

Client = httpx.AsyncClient


@pytest.fixture(scope="module")
def reranker(root: Path) -> LazyReranker:
    return resolve_reranker(registered(root, "reranker"))


@pytest.fixture(scope="module")
def app(root: Path, reranker: LazyReranker) -> App:
    """A dense model, the reranker, and one whose queries have two prompts."""
    other = {"name": "tasked", "repo": "acme/tasked"}
    registered(root, "reranker", "saved bert, prompt", **other)
    registered(root, "reranker")
    return create_app(["all-MiniLM-L6-v2", NAME, "tasked"])


def client_of(app: Any) -> Client:
    return Client(transport=httpx.ASGITransport(app), base_url="http://server")


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    async with client_of(app) as client:
        yield client


async def ask(client: Client, documents: Any = DOCUMENTS, *, path: str = "/v1/rerank", **fields: Any) -> httpx.Response:
    texts = {"texts" if path == "/rerank" else "documents": documents}
    return await client.post(path, json={"model": NAME, "query": QUERY, **texts, **fields})


def ranked(answer: httpx.Response) -> list[tuple[int, float]]:
    """The positions and scores of an answer in either form."""
    assert answer.status_code == 200, answer.text
    found = answer.json()
    if isinstance(found, list):
        return [(each["index"], each["score"]) for each in found]
    return [(each["index"], each["relevance_score"]) for each in found["results"]]


def alike(found: Sequence[tuple[int, float]], expected: Sequence[tuple[int, float]]) -> None:
    assert [position for position, _ in found] == [position for position, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)


def pairs(documents: Sequence[str] = DOCUMENTS, query: str = QUERY) -> list[tuple[str, str]]:
    return [(query, document) for document in documents]


# Order and scores.


async def test_the_order_and_the_scores_are_those_of_rank(client: Client, reranker: LazyReranker) -> None:
    expected = reranker.rank(QUERY, DOCUMENTS)
    assert len({round(score, 4) for _, score in expected}) == len(DOCUMENTS) - 1, "two documents are equal"
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        found = ranked(await ask(client, path=path))
        alike(found, expected)
        assert found[0][1] > found[-1][1]
    # Equal documents stay in the order in which they came.
    assert [position for position, _ in found if position in (0, 4)] == [0, 4]


async def test_raw_scores_are_the_logits(client: Client, reranker: LazyReranker) -> None:
    logits = reranker.logits(pairs())[:, 0]
    found = ranked(await ask(client, path="/rerank", raw_scores=True))
    alike(found, [(position, float(logits[position])) for position, _ in reranker.rank(QUERY, DOCUMENTS)])
    shown = ranked(await ask(client, path="/rerank", raw_scores=False))
    np.testing.assert_allclose(
        [score for _, score in shown], [1 / (1 + np.exp(-logit)) for _, logit in found], atol=1e-6
    )


async def test_texts_come_back_where_they_are_asked_for(client: Client) -> None:
    for fields, has in (({}, False), ({"return_text": False}, False), ({"return_text": True}, True)):
        for each in (await ask(client, path="/rerank", **fields)).json():
            assert each.get("text") == (DOCUMENTS[each["index"]] if has else None)
            assert ("text" in each) == has
    for path in ("/v1/rerank", "/v2/rerank"):
        for fields, has in (({}, False), ({"return_documents": False}, False), ({"return_documents": True}, True)):
            for each in (await ask(client, path=path, **fields)).json()["results"]:
                assert each.get("document") == ({"text": DOCUMENTS[each["index"]]} if has else None)
                assert ("document" in each) == has


async def test_documents_are_texts_or_objects_with_a_text(client: Client, reranker: LazyReranker) -> None:
    objects = [{"text": text, "title": "ignored"} if at % 2 else text for at, text in enumerate(DOCUMENTS)]
    answer = await ask(client, objects, return_documents=True)
    alike(ranked(answer), reranker.rank(QUERY, DOCUMENTS))
    assert {each["document"]["text"] for each in answer.json()["results"]} == set(DOCUMENTS)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_top_n_is_how_many_there_are_at_most(client: Client, reranker: LazyReranker, path: str) -> None:
    for most in (1, 3, len(DOCUMENTS), 1000):
        alike(ranked(await ask(client, path=path, top_n=most)), reranker.rank(QUERY, DOCUMENTS, top_k=most))
    alike(ranked(await ask(client, path=path, top_n=None)), reranker.rank(QUERY, DOCUMENTS))


async def test_a_large_request_is_read_and_answered_by_other_threads_and_is_right(
    client: Client, reranker: LazyReranker
) -> None:
    documents = [f"{number} rivers " * (number % 9 + 1) for number in range(2048)]
    found = ranked(await ask(client, documents, return_documents=True))
    scores = reranker.score(pairs(documents))
    np.testing.assert_allclose([score for _, score in found], scores[[position for position, _ in found]], atol=1e-5)
    assert sorted(position for position, _ in found) == list(range(2048))
    assert (np.diff([score for _, score in found]) <= 0).all()


# What is counted.


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_usage_counts_the_tokens_of_all_pairs(client: Client, reranker: LazyReranker, path: str) -> None:
    answer = await ask(client, path=path)
    tokens = sum(reranker.count_tokens(pairs()))
    found = answer.json()
    assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert found["meta"] == {
        "api_version": {"version": path[2]},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": tokens},
    }
    assert (found["model"], found["id"]) == (NAME, answer.headers["x-request-id"])
    for count, units in ((100, 1), (101, 2)):
        assert (await ask(client, ["a"] * count, path=path)).json()["meta"]["billed_units"] == {"search_units": units}


async def test_what_is_cut_does_not_count_and_the_header_says_where(client: Client, reranker: LazyReranker) -> None:
    assert "embedry-truncated" not in (await ask(client)).headers
    documents = ["one", LONG, "two", LONG + "other"]
    answer = await ask(client, documents)
    assert answer.headers["embedry-truncated"] == "1, 3"
    assert answer.headers["embedry-role"] == "query"
    assert answer.headers["embedry-space"] == reranker.fingerprint
    counts = reranker.count_tokens(pairs(documents))
    assert answer.json()["usage"]["total_tokens"] == sum(min(count, 64) for count in counts)
    alike(ranked(answer), reranker.rank(QUERY, documents))


async def test_a_query_that_is_cut_is_said_too(client: Client, reranker: LazyReranker) -> None:
    (alone,) = reranker.count_tokens([("", "")])
    full = "word " * (64 - alone - 1)  # with one more token it is as long as the model reads
    for path in ("/rerank", "/v1/rerank"):
        for query, cut in ((full, "1"), (LONG, "0, 1, 2")):
            answer = await ask(client, ["a", "a station", ""], path=path, query=query)
            assert answer.headers["embedry-truncated"] == cut
            refused = await ask(client, ["a", "a station", ""], path=path, query=query, truncate=False)
            assert refused.status_code == 400
    assert reranker.count_tokens([(full, "a")]) == [64]


@pytest.mark.parametrize("truncate", [False, "NONE"])
async def test_longer_pairs_are_refused_where_the_request_forbids_to_cut_them(client: Client, truncate: Any) -> None:
    answer = await ask(client, ["one", LONG], truncate=truncate)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "documents", "context_length_exceeded")
    assert (
        "1 of 2 documents, with their query, are longer than the 64 tokens that 'tiny-reranker' reads"
        in error["message"]
    )
    assert (await ask(client, ["one"], truncate=truncate)).status_code == 200


async def test_a_document_may_be_as_long_as_max_tokens_per_doc_says(client: Client, reranker: LazyReranker) -> None:
    (around,) = reranker.count_tokens([("", "")])
    longest = max(reranker.count_tokens(pairs(query=""))) - around
    assert 4 < longest < 30
    for most in (longest, longest + 1, 63, 64, 4096):
        answer = await ask(client, path="/v2/rerank", max_tokens_per_doc=most)
        alike(ranked(answer), reranker.rank(QUERY, DOCUMENTS))
    error = (await ask(client, path="/v2/rerank", max_tokens_per_doc=longest - 1)).json()["error"]
    assert error["param"] == "max_tokens_per_doc"
    assert f"max_tokens_per_doc={longest - 1} is not supported: document 2 has more tokens" in error["message"]


async def test_a_request_has_no_more_tokens_than_the_limit(root: Path, reranker: LazyReranker) -> None:
    registered(root, "reranker")
    tokens = sum(reranker.count_tokens(pairs()))
    for limit, status in ((tokens, 200), (tokens - 1, 400)):
        app = create_app([NAME], limits=Limits(tokens=limit, queue_tokens=limit))
        async with client_of(app) as client:
            answer = await ask(client)
            assert answer.status_code == status
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("too_many_tokens", "documents")
    assert f"have {tokens:,} tokens, and a request may have {limit:,}" in answer.json()["error"]["message"]


async def test_a_long_query_with_many_documents_is_refused_before_they_are_put_together(
    root: Path, reranker: LazyReranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(root, "reranker")
    async with client_of(create_app([NAME], limits=Limits(tokens=1000, queue_tokens=1000))) as client:
        monkeypatch.setattr(LazyReranker, "prepare", None)
        error = (await ask(client, ["a"] * 100, query=LONG)).json()["error"]
    assert error["code"] == "too_many_tokens"
    assert "the inputs have 6,400 tokens, and a request may have 1,000" in error["message"]


# What a request may say.


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"documents": []}, "documents", "there are no inputs; send at least one text"),
        ({"documents": "a"}, "documents", "Expected `array`, got `str`"),
        ({"documents": ["a", 5]}, "documents", "got `int`"),
        ({"documents": ["a", None]}, "documents", "got `null`"),
        ({"documents": [{"title": "a"}]}, "documents", "missing required field `text`"),
        ({"documents": [{"text": 5}]}, "documents", "Expected `str`, got `int`"),
        ({"documents": ["a"] * 2049}, "documents", "2,049 inputs, and a request may have 2,048"),
        ({"query": None}, "query", "Expected `str`, got `null`"),
        ({"query": ["a"]}, "query", "Expected `str`, got `array`"),
        ({"top_n": 0}, "top_n", ">= 1"),
        ({"top_n": -1}, "top_n", ">= 1"),
        ({"top_n": 1.5}, "top_n", "got `float`"),
        ({"return_documents": 1}, "return_documents", "got `int`"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", ">= 1"),
        ({"max_chunks_per_doc": 10}, "max_chunks_per_doc", "a document is not split"),
        ({"rank_fields": ["title", "text"]}, "rank_fields", "rank_fields=title, text is not supported"),
        ({"rank_fields": []}, "rank_fields", "ranked by their text"),
        ({"relevant_spans": {"mode": "enabled"}}, "relevant_spans", "ranked as a whole"),
        ({"instruction": "judge"}, "instruction", "see prompt_name"),
        ({"truncate_prompt_tokens": 9}, "truncate_prompt_tokens", "see truncate"),
        ({"max_tokens_per_query": 9}, "max_tokens_per_query", "see truncate"),
        ({"truncation_side": "left"}, "truncation_side", "cut at its end"),
        ({"truncate": "START"}, "truncate", "START"),
        (
            {"prompt_name": "document"},
            "prompt_name",
            "prompt_name='document' is no role of 'tiny-reranker'; it has query",
        ),
        ({"prompt_name": "nope"}, "prompt_name", "prompt_name='nope' is no role"),
        ({"model": 5}, "model", "got `int`"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_what_cannot_be_honored_is_a_400_that_names_the_field(
    client: Client, path: str, fields: dict[str, Any], param: str, says: str
) -> None:
    answer = await ask(client, path=path, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert says in error["message"]


async def test_null_and_unknown_fields_are_ignored_and_so_is_what_asks_for_the_usual(
    client: Client, reranker: LazyReranker
) -> None:
    names = (
        "top_n return_documents truncate prompt_name max_tokens_per_doc rank_fields max_chunks_per_doc relevant_spans "
        "instruction truncate_prompt_tokens max_tokens_per_query truncation_side"
    )
    nothing: dict[str, Any] = dict.fromkeys(names.split())
    usual: dict[str, Any] = {
        "rank_fields": ["text"],
        "truncation_side": "right",
        "truncate": "END",
        "prompt_name": "query",
    }
    for fields in (nothing, usual, {"priority": 3, "user": "me", "unknown": {"a": [1]}}):
        alike(ranked(await ask(client, **fields)), reranker.rank(QUERY, DOCUMENTS))


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"query": QUERY}, 400, "missing required field `texts`"),
        ({"texts": ["a"]}, 400, "missing required field `query`"),
        ({"query": QUERY, "texts": []}, 400, "there are no inputs"),
        ({"query": QUERY, "texts": [{"text": "a"}]}, 400, "Expected `str`, got `object`"),
        (
            {"query": QUERY, "texts": ["a"], "truncation_direction": "Left"},
            400,
            "truncation_direction=Left is not supported",
        ),
        ({"query": QUERY, "texts": [LONG], "truncate": False}, 400, "longer than the 64 tokens"),
        (
            {"query": QUERY, "texts": ["a"], "model": "nope"},
            404,
            "there is no model 'nope' here; there is: tiny-reranker, tasked",
        ),
    ],
)
async def test_errors_of_the_other_route_are_in_its_words(client: Client, body: Any, status: int, says: str) -> None:
    answer = await client.post("/rerank", json=body)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "error_type"})
    assert answer.json()["error_type"] == "validation"
    assert says in answer.json()["error"]


async def test_bodies_that_are_no_request_are_refused(client: Client) -> None:
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        for body in (b"", b"{", b"[]", b'{"query": "\\ud800", "documents": ["a"], "texts": ["a"]}', DEEP.encode()):
            assert (await client.post(path, content=body)).status_code == 400


async def test_a_query_has_the_prompt_of_its_task(client: Client, root: Path) -> None:
    tasked = resolve_reranker(registered(root, "reranker", "saved bert, prompt"))
    assert tasked.spec.prompts == {"query": "query: ", "other": "x"}
    for fields, role in (
        ({"model": "tasked"}, "query"),
        ({"model": "tasked", "prompt_name": "query"}, "query"),
        ({"model": "tasked", "prompt_name": "other"}, "other"),
        ({"model": "tasked-other"}, "other"),
    ):
        for path in ("/rerank", "/v1/rerank"):
            answer = await ask(client, path=path, **fields)
            assert answer.headers["embedry-role"] == role
            alike(ranked(answer), tasked.rank(QUERY, DOCUMENTS, role=role))
    assert (await ask(client, model="tasked-document")).status_code == 404


# The models.


async def test_the_first_reranker_is_asked_where_none_is_named(client: Client, reranker: LazyReranker) -> None:
    for path, field in (("/rerank", "texts"), ("/v1/rerank", "documents"), ("/v2/rerank", "documents")):
        answer = await client.post(path, json={"query": QUERY, field: DOCUMENTS})
        alike(ranked(answer), reranker.rank(QUERY, DOCUMENTS))
    assert answer.json()["model"] == NAME


async def test_the_wrong_route_names_the_right_ones(client: Client) -> None:
    for path in ("/rerank", "/v1/rerank"):
        answer = await ask(client, path=path, model="all-MiniLM-L6-v2")
        assert answer.status_code == 400
        assert "'all-MiniLM-L6-v2' is a dense model; send this request to /v1/embeddings or /embed" in answer.text
    for path, field in (
        ("/v1/embeddings", "input"),
        ("/embed", "inputs"),
        ("/embed_sparse", "inputs"),
        ("/tokenize", "inputs"),
    ):
        answer = await client.post(path, json={field: "a", "model": NAME})
        assert answer.status_code == 400
        assert "'tiny-reranker' is a reranker; send this request to /rerank, /v1/rerank or /v2/rerank" in answer.text
    answer = await client.post("/v1/embeddings", json={"input": "a", "model": NAME})
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("model", "wrong_route")


async def test_the_model_is_described_as_what_it_is(client: Client, reranker: LazyReranker, root: Path) -> None:
    card = (await client.get(f"/v1/models/{NAME}")).json()
    expected = {
        "root": NAME, "kind": "reranker", "role": None, "roles": ["query"], "dims": 1, "dimensions": [1],
        "max_input_tokens": 64, "space": reranker.fingerprint,
    }  # fmt: skip
    assert {name: card[name] for name in expected} == expected
    listed = (await client.get("/v1/models")).json()["data"]
    assert [(each["id"], each["kind"]) for each in listed] == [
        ("all-MiniLM-L6-v2", "dense"), (NAME, "reranker"), ("tasked", "reranker"),
    ]  # fmt: skip
    assert listed[2]["roles"] == ["query", "other"]
    status = (await client.get("/status")).json()["models"]
    assert [each["kind"] for each in status] == ["dense", "reranker", "reranker"]
    registered(root, "reranker")
    async with client_of(create_app([NAME])) as alone:
        info = (await alone.get("/info")).json()
        assert (info["kind"], info["model_id"], info["max_input_length"]) == ("reranker", "acme/tiny-reranker", 64)
        assert info["model_type"] == {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
        answer = await alone.post("/embed", json={"inputs": "a"})
        assert answer.status_code == 404
        assert "no model here that is a dense model; there is: tiny-reranker (a reranker)" in answer.text


def test_a_reranker_with_several_scores_is_refused_at_the_start(root: Path) -> None:
    spec = registered(root, "reranker", "bert, 3 labels")
    with pytest.raises(OptionError, match="gives 3 scores per pair, so it cannot rank, and no route serves it"):
        create_app([spec.name])


async def test_metrics_and_spans_tell_of_rerankers(app: App) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    with pytest.MonkeyPatch.context() as patch:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        patch.setattr(trace, "get_tracer", provider.get_tracer)
        async with client_of(app) as client:
            tokens = (await ask(client)).json()["usage"]["total_tokens"]
            text = (await client.get("/metrics")).text
    attributes = exporter.get_finished_spans()[0].attributes
    assert attributes is not None
    assert attributes["gen_ai.operation.name"] == "rerank"
    assert attributes["gen_ai.usage.input_tokens"] == tokens
    assert "gen_ai.embeddings.dimension.count" not in attributes
    labels = f'code="200",model="{NAME}",role="query",route="/v1/rerank"'
    assert any(line.startswith(f"embedry_requests_total{{{labels}}}") for line in text.splitlines())
    assert float(text.split(f'embedry_tokens_total{{kind="real",model="{NAME}"}} ')[1].split()[0]) > 0


# An engine that stands in for a real one.


class Pairs(PairEncoder):
    """A pair's logit is 30 for each of its tokens, so many scores are shown as 1; it may be held."""

    batch_tokens = 64
    info: dict[str, str] = {}  # noqa: RUF012  the contract's
    error: Exception | None = None

    def __init__(self) -> None:
        self.batches = 0
        self.entered = Event()
        self.allowed = Semaphore(10**6)

    def forward(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], segments: NDArray[np.int32], /
    ) -> NDArray[np.float32]:
        self.batches += 1
        self.entered.set()
        assert self.allowed.acquire(timeout=PATIENCE)
        if self.error is not None:
            raise self.error
        logits: NDArray[np.float32] = 30 * mask.sum(axis=1, keepdims=True).astype(np.float32)
        return logits

    def hold(self) -> None:
        """Computes nothing more until `allowed` is released."""
        self.allowed = Semaphore(0)
        self.entered.clear()


@pytest.fixture
def engine() -> Pairs:
    return Pairs()


@pytest.fixture
def exact(root: Path, reranker: LazyReranker, engine: Pairs) -> App:
    """A server over that engine."""
    registered(root, "reranker")
    models = Models([NAME])
    (served,) = models
    loaded = reranker.engine.load()
    config = replace(reranker.config)
    served.embedder = LazyReranker(
        config, Engine(config.engine, assembled(config.engine, loaded.folder, loaded.model, engine))
    )
    served._views = {(None, None): served.embedder}
    served._spaces = {served.embedder: reranker.fingerprint}
    app = App(models, keys=Keys(), limits=Limits())
    app.load()
    return app


async def test_documents_are_ordered_by_their_logits_where_their_scores_are_equal(exact: App) -> None:
    documents = ["one", "one two three", "two", "one two", "three"]
    async with client_of(exact) as client:
        for path in ("/rerank", "/v1/rerank"):
            assert ranked(await ask(client, documents, path=path)) == [(1, 1.0), (3, 1.0), (0, 1.0), (2, 1.0), (4, 1.0)]
        raw = ranked(await ask(client, documents, path="/rerank", raw_scores=True))
        assert [score % 30 for _, score in raw] == [0] * 5
        assert raw[0][1] == raw[2][1] + 60


async def test_an_engine_that_fails_is_an_error_of_that_request_and_of_readiness(exact: App, engine: Pairs) -> None:
    async with client_of(exact) as client:
        engine.error = RuntimeError("the card is gone")
        assert (await ask(client)).status_code == 500
        exact.readiness._proven[NAME] -= 60
        answer = await client.get("/health/ready")
        assert (answer.status_code, "the card is gone" in answer.text) == (503, True)
        engine.error = None
        assert (await client.get("/health/ready")).status_code == 200
        assert (await ask(client)).status_code == 200


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


@pytest.mark.parametrize(
    ("path", "field"), [("/rerank", "texts"), ("/v1/rerank", "documents"), ("/v2/rerank", "documents")]
)
def test_the_work_of_clients_that_have_gone_is_not_computed(exact: App, engine: Pairs, path: str, field: str) -> None:
    with in_thread(exact) as url:
        engine.hold()
        first = asked(lambda: httpx.post(url + path, json={"query": "a", field: ["b"]}, timeout=60, trust_env=False))
        assert engine.entered.wait(PATIENCE)
        before = engine.batches
        gone = [connected(url) for _ in range(10)]
        for number, connection in enumerate(gone):
            body = json.dumps({"query": QUERY, field: [f"{LONG} {number} {again}" for again in range(4)]}).encode()
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
        until(lambda: exact.computing.queue.in_flight == 11)
        for connection in gone:
            connection.close()
        until(lambda: exact.computing.queue.in_flight == 1)
        engine.allowed.release(1000)
        assert first.result(PATIENCE).status_code == 200
        assert engine.batches == before, "none of forty long documents"
        assert exact.computing.queue.tokens == 0
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        assert f'embedry_requests_total{{code="499",model="{NAME}",role="query",route="{path}"}} 10.0' in text


# Clients.


async def test_clients_that_ask_together_get_what_each_would_get_alone(app: App, reranker: LazyReranker) -> None:
    words = ["river", "early", "market", "cloud", "music", "seven"]
    requests = [
        (
            f"{words[number % 6]} {number}",
            [f"{words[(number + at) % 6]} " * (at % 5 + 1) for at in range(number % 7 + 1)],
        )
        for number in range(60)
    ]
    expected = [reranker.score(pairs(documents, query)) for query, documents in requests]
    with in_thread(app) as url:
        async with Client(base_url=url, timeout=60, trust_env=False) as client:
            answers = await asyncio.gather(
                *(ask(client, documents, query=query) for query, documents in requests),
                *(ask(client, documents, query=query, path="/rerank") for query, documents in requests),
            )
    for answer, scores, (query, documents) in zip(answers, 2 * expected, 2 * requests, strict=True):
        found = dict(ranked(answer))
        np.testing.assert_allclose([found[at] for at in range(len(documents))], scores, atol=1e-6)
        if isinstance(answer.json(), dict):
            assert answer.json()["usage"]["total_tokens"] == sum(reranker.count_tokens(pairs(documents, query)))


@pytest.fixture(scope="module")
def url(app: App) -> Iterator[str]:
    with in_thread(app) as url:
        yield url


def test_coheres_clients_get_them(url: str, reranker: LazyReranker) -> None:
    expected = reranker.rank(QUERY, DOCUMENTS, top_k=3)
    with httpx.Client(trust_env=False) as connections:
        first = cohere.Client(api_key="none", base_url=url, httpx_client=connections)
        answer = first.rerank(model=NAME, query=QUERY, documents=DOCUMENTS, top_n=3, return_documents=True)
        objects = first.rerank(query=QUERY, documents=[{"text": text} for text in DOCUMENTS], rank_fields=["text"])
        second = cohere.ClientV2(api_key="none", base_url=url, httpx_client=connections)
        newer = second.rerank(model=NAME, query=QUERY, documents=DOCUMENTS, top_n=3, max_tokens_per_doc=4096)
        with pytest.raises(cohere.BadRequestError, match="max_chunks_per_doc is not supported"):
            first.rerank(model=NAME, query=QUERY, documents=DOCUMENTS, max_chunks_per_doc=10)
        with pytest.raises(cohere.NotFoundError, match="there is no model 'nobody' here"):
            second.rerank(model="nobody", query=QUERY, documents=DOCUMENTS)
    alike([(each.index, each.relevance_score) for each in answer.results], expected)
    assert [each.document and each.document.text for each in answer.results] == [DOCUMENTS[at] for at, _ in expected]
    alike([(each.index, each.relevance_score) for each in objects.results], reranker.rank(QUERY, DOCUMENTS))
    alike([(each.index, each.relevance_score) for each in newer.results], expected)
    for meta in (answer.meta, newer.meta):
        assert meta is not None
        assert meta.billed_units is not None
        assert meta.billed_units.search_units == 1
        assert meta.tokens is not None
        assert meta.tokens.input_tokens == sum(reranker.count_tokens(pairs()))


@contextmanager
def lite_llm() -> Iterator[Any]:
    """The library, which is kept from asking for prices."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LITELLM_")]:
            patch.delenv(name)
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # which it sets
        import litellm

        patch.setattr(litellm, "suppress_debug_info", True)
        yield litellm


@pytest.mark.filterwarnings("ignore:Items .* are using the `ReadOnly` qualifier:UserWarning")  # of its own types
@pytest.mark.parametrize(
    ("provider", "path"), [("cohere", "/v1/rerank"), ("cohere", "/v2/rerank"), ("jina_ai", ""), ("huggingface", "")]
)
def test_litellm_gets_them_in_the_form_of_each_api(url: str, reranker: LazyReranker, provider: str, path: str) -> None:
    expected = reranker.rank(QUERY, DOCUMENTS)
    with lite_llm() as litellm:
        answer = litellm.rerank(
            model=f"{provider}/{NAME}", query=QUERY, documents=DOCUMENTS, return_documents=True,
            api_base=url + path, api_key="none",
        )  # fmt: skip
    alike([(each["index"], each["relevance_score"]) for each in answer.results], expected)
    assert [each["document"]["text"] for each in answer.results] == [DOCUMENTS[at] for at, _ in expected]
