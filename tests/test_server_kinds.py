"""Models of other kinds behind the server: terms and the vectors of tokens, and which routes each kind has."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from embedry import (
    LateInteraction,
    ModelSpec,
    Normalize,
    OptionError,
    Pooling,
    SparseVectors,
    resolve,
    resolve_multi_vector,
    resolve_sparse,
)
from embedry.chains import KINDS
from embedry_server import create_app
from embedry_server.kinds import split
from embedry_server.models import Models
from kind_folders import WIDTH
from kind_models import registered

TEXTS = [
    "the early river",
    "",
    "seven clouds against the market, because of the music",
    "the early river",
    "ünïcödé \0 漢字",
]
LONG = "word " * 100

Client = httpx.AsyncClient


def named(root: Path, kind: Any, variant: str, name: str, **changes: Any) -> ModelSpec:
    return registered(root, kind, variant, name=name, repo=f"acme/{name}", **changes)


@pytest.fixture(scope="module")
def specs(root: Path) -> dict[str, ModelSpec]:
    """Their entries, by the name under which they are served."""
    tokens = registered(root, "multi_vector").chain
    pooled = {"chain": (Pooling(mode="mean"), Normalize()), "dims": WIDTH}
    found = [
        named(root, "sparse", "bert", "sparse"),
        named(root, "sparse", "router", "router"),
        named(root, "sparse", "bert, prompts", "prompted"),
        named(root, "multi_vector", "bert, expansion", "late"),
        named(root, "reranker", "bert", "reranker"),
        named(root, "multi_vector", "bert", "dense", **pooled),
        named(root, "multi_vector", "bert", "several", **pooled, other_chains=(tokens,)),
    ]
    return {spec.name: spec for spec in found}


@pytest.fixture(scope="module")
def app(specs: dict[str, ModelSpec]) -> Any:
    return create_app([*specs, "several:multi_vector"])


def client_of(app: Any) -> Client:
    return Client(transport=httpx.ASGITransport(app), base_url="http://server")


@pytest.fixture
async def client(app: Any) -> AsyncIterator[Client]:
    async with client_of(app) as client:
        yield client


async def ask(client: Client, path: str, inputs: Any = TEXTS, **fields: Any) -> httpx.Response:
    return await client.post(path, json={"inputs": inputs, **fields})


def the_same_terms(answer: httpx.Response, expected: SparseVectors) -> None:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found) == len(expected)
    for terms, (indices, values) in zip(found, expected, strict=True):
        assert [term["index"] for term in terms] == indices.tolist()
        np.testing.assert_allclose([term["value"] for term in terms], values, rtol=1e-5, atol=1e-6)


# Terms.


async def test_terms_and_weights_are_those_of_encode(client: Client, specs: dict[str, ModelSpec]) -> None:
    model = resolve_sparse(specs["sparse"])
    expected = model.encode_document(TEXTS)
    assert len(expected.indices) > 100
    for fields in ({}, {"model": "sparse"}, {"prompt_name": "query"}, {"model": "acme/sparse"}):
        the_same_terms(await ask(client, "/embed_sparse", **fields), expected)
    the_same_terms(await ask(client, "/embed_sparse", TEXTS[0]), expected[:1])
    answer = await ask(client, "/embed_sparse", [*TEXTS, LONG])
    assert answer.headers["embedry-truncated"] == "5"
    assert answer.headers["embedry-space"] == model.fingerprint
    assert set(answer.json()[0][0]) == {"index", "value"}


async def test_many_texts_are_read_and_answered_by_other_threads(client: Client, specs: dict[str, ModelSpec]) -> None:
    texts = [f"text {number} " * (number % 9 + 1) for number in range(300)]
    the_same_terms(await ask(client, "/embed_sparse", texts), resolve_sparse(specs["sparse"]).encode_document(texts))


@pytest.mark.parametrize("name", ["router", "prompted"])
async def test_queries_and_documents_are_told_apart(client: Client, specs: dict[str, ModelSpec], name: str) -> None:
    model = resolve_sparse(specs[name])
    one, other = (model.encode(TEXTS, role=role) for role in ("query", "document"))
    assert one.indices.tolist() != other.indices.tolist()
    for fields, expected in (
        ({"model": name, "prompt_name": "query"}, one),
        ({"model": f"{name}-query"}, one),
        ({"model": name, "prompt_name": "document"}, other),
        ({"model": f"{name}-passage"}, other),
    ):
        the_same_terms(await ask(client, "/embed_sparse", **fields), expected)
    answer = await ask(client, "/embed_sparse", model=name)
    assert answer.status_code == 400
    assert f"'{name}' reads queries and documents differently" in answer.json()["error"]
    assert 'Send prompt_name: "query" or "document"' in answer.json()["error"]


async def test_a_text_without_terms_is_an_empty_list(client: Client) -> None:
    answer = await ask(client, "/embed_sparse", ["", "river"], model="router-query")
    assert answer.json()[0] == []
    assert len(answer.json()[1]) == 1


# The vectors of tokens.


async def test_the_vectors_of_tokens_are_those_of_encode(client: Client, specs: dict[str, ModelSpec]) -> None:
    model = resolve_multi_vector(specs["late"])
    for role in ("query", "document"):
        expected = model.encode(TEXTS, role=role)
        for fields in ({"model": "late", "prompt_name": role}, {"model": f"late-{role}"}):
            answer = await ask(client, "/embed_all", **fields)
            assert answer.status_code == 200, answer.text
            assert [len(vectors) for vectors in answer.json()] == [len(vectors) for vectors in expected]
            for found, vectors in zip(answer.json(), expected, strict=True):
                np.testing.assert_allclose(found, vectors, atol=1e-5)
    assert {len(vectors) for vectors in model.encode(TEXTS, role="query")} == {24}, "queries are filled up"
    answer = await ask(client, "/embed_all", model="late")
    assert (answer.status_code, "reads queries and documents differently" in answer.text) == (400, True)


async def test_the_length_that_counts_is_that_of_the_role(client: Client, specs: dict[str, ModelSpec]) -> None:
    end = specs["late"].chain[-1]
    assert isinstance(end, LateInteraction)
    assert (end.query_length, end.document_length) == (24, 48)
    text = "word " * 30
    for role, status in (("query", 400), ("document", 200)):
        answer = await ask(client, "/embed_all", [text], model="late", prompt_name=role, truncate=False)
        assert answer.status_code == status
    answer = await ask(client, "/embed_all", [LONG], model="late", prompt_name="document", truncate=False)
    assert "1 of 1 inputs are longer than the 48 tokens" in answer.json()["error"]


# Errors.


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"inputs": []}, "there are no inputs"),
        ({"inputs": [1, 2]}, "token ids"),
        ({"inputs": ["a", None]}, "got `null`"),
        ({}, "missing required field `inputs`"),
        ({"inputs": LONG, "truncate": False}, "1 of 1 inputs are longer than the 64 tokens that 'sparse' reads"),
        ({"inputs": "a", "truncation_direction": "left"}, "truncation_direction=left is not supported"),
        ({"inputs": "a", "truncate": "START"}, 'send "END" or "NONE"'),
        ({"inputs": "a", "prompt_name": "nope"}, "prompt_name='nope' is no role of 'sparse'"),
        ({"inputs": ["a"] * 2049}, "2,049 inputs"),
    ],
)
async def test_what_cannot_be_honored_is_a_400_in_the_words_of_that_api(
    client: Client, fields: dict[str, Any], says: str
) -> None:
    answer = await client.post("/embed_sparse", json=fields)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")
    assert says in answer.json()["error"]


# Which routes a kind has.

ROUTES = {
    "dense": ["/v1/embeddings", "/embed", "/"],
    "reranker": ["/rerank", "/v1/rerank", "/v2/rerank"],
    "sparse": ["/embed_sparse"],
    "multi_vector": ["/embed_all"],
}
OF_KINDS = {"dense": "dense", "reranker": "reranker", "sparse": "sparse", "multi_vector": "late-query"}


async def test_every_kind_has_its_routes_and_no_others(client: Client) -> None:
    body = {"input": "a", "inputs": "a", "query": "a", "documents": ["a"], "texts": ["a"]}
    for kind, name in OF_KINDS.items():
        for other, paths in ROUTES.items():
            for path in paths:
                answer = await client.post(path, json=body | {"model": name})
                assert answer.status_code == (200 if kind == other else 400), (path, name, answer.text)
                assert kind == other or all(right in answer.text for right in ROUTES[kind] if right != "/")


async def test_the_tokens_of_texts_are_shown_for_all_kinds_that_read_texts(
    client: Client, specs: dict[str, ModelSpec]
) -> None:
    for name, model in (("sparse", resolve_sparse(specs["sparse"])), ("late", resolve_multi_vector(specs["late"]))):
        answer = await ask(client, "/tokenize", ["the early river"], model=name, prompt_name="query")
        (tokens,) = model.tokenize(["the early river"], role="query")
        assert [token["id"] for token in answer.json()[0]] == [token.id for token in tokens]


async def test_a_model_of_several_kinds_is_served_as_each_that_is_named(
    client: Client, specs: dict[str, ModelSpec]
) -> None:
    dense, tokens = resolve(specs["several"]), resolve_multi_vector(specs["several"])
    fields = {"prompt_name": "document"}
    for name in ("several", "acme/several"):
        found = (await ask(client, "/embed", model=name, **fields)).json()
        np.testing.assert_allclose(found, dense.encode_document(TEXTS), atol=1e-5)
        answer = await ask(client, "/embed_all", model=name, **fields)
        for vectors, expected in zip(answer.json(), tokens.encode_document(TEXTS), strict=True):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)
    cards = [(await client.get(f"/v1/models/{name}")).json() for name in ("several", "several:multi_vector")]
    assert [(card["kind"], card["root"], card["dims"]) for card in cards] == [
        ("dense", "several", WIDTH),
        ("multi_vector", "several:multi_vector", tokens.dims),
    ]
    assert cards[0]["space"] == dense.fingerprint
    assert cards[1]["space"] == tokens.fingerprint


async def test_all_kinds_are_listed_and_ready(client: Client, app: Any) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert {(each["root"], each["kind"]) for each in listed} == {
        ("sparse", "sparse"), ("router", "sparse"), ("prompted", "sparse"), ("late", "multi_vector"),
        ("reranker", "reranker"), ("dense", "dense"), ("several", "dense"), ("several:multi_vector", "multi_vector"),
    }  # fmt: skip
    assert [each["id"] for each in listed if each["root"] == "router"] == [
        "router-query",
        "router-passage",
        "router-unprompted",
    ]
    for name in app.readiness._proven:
        app.readiness._proven[name] -= 60
    before = dict(app.readiness._proven)
    assert (await client.get("/health/ready")).status_code == 200
    assert all(app.readiness._proven[name] - before[name] > 30 for name in before), "each has computed"
    info = (await client.get("/info")).json()
    assert (info["kind"], info["model_type"]) == ("sparse", {"embedding": {"pooling": "splade"}})


def test_a_kind_that_a_model_does_not_give_is_refused(root: Path) -> None:
    spec = named(root, "sparse", "bert", "sparse")
    with pytest.raises(OptionError, match="'sparse' does not support the kind dense, only sparse"):
        create_app([f"{spec.name}:dense"])
    renamed = create_app([f"mine={spec.name}:sparse"])
    assert [model.name for model in renamed.readiness._models] == ["mine"]


def test_a_kind_is_told_from_the_rest_of_a_name() -> None:
    for kind in KINDS:
        assert split(f"name:{kind}") == ("name", kind)
        assert split(f"C:/models/name:{kind}") == ("C:/models/name", kind)
        assert split(kind) == (kind, None)
    for name in ("name", "name:v1", "C:/models/name", "name:"):
        assert split(name) == (name, None)


def test_a_query_side_of_its_own_is_loaded_before_the_server_is_ready(root: Path) -> None:
    spec = named(root, "sparse", "router", "router")
    (served,) = Models([spec.name], threads=1)
    model = resolve_sparse(spec, threads=1)
    assert model._queries is not None
    assert not model._queries.loaded
    served.load()
    assert model.loaded
    assert model._queries.loaded
