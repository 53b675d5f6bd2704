"""Collections of Qdrant with dense, sparse and multi-vector models: their scores, and opened again in another process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from qdrant_client import QdrantClient
from qdrant_client.models import (
    Distance,
    Fusion,
    FusionQuery,
    PointStruct,
    Prefetch,
    Rrf,
    RrfQuery,
    SparseVector,
    VectorParams,
)

from embedry import LazyEmbedder, ModelSpec, SpaceError, maxsim, resolve, resolve_multi_vector, resolve_sparse
from embedry_qdrant import collection_config, document_vectors, query_vectors, stored_models
from kind_models import registered
from kind_processes import registering

TEXTS = [
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
    "",
]
QUESTION = "When do I get my money back?"


@pytest.fixture
def specs(root: Path) -> list[ModelSpec]:
    """Queries and documents have different prompts."""
    return [registered(root, "sparse", "bert, prompts"), registered(root, "multi_vector", "bert, prompts")]


@pytest.fixture
def models(minilm: LazyEmbedder, specs: list[ModelSpec]) -> dict[str, Any]:
    return {"dense": minilm, "sparse": resolve_sparse(specs[0]), "tokens": resolve_multi_vector(specs[1])}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[QdrantClient]:
    opened = QdrantClient(path=str(tmp_path / "qdrant"))
    yield opened
    opened.close()


def fill(client: QdrantClient, models: Any, texts: list[str] = TEXTS) -> None:
    client.create_collection("notes", **collection_config(models))
    points = [
        PointStruct(id=place, vector=vectors, payload={"text": texts[place]})
        for place, vectors in enumerate(document_vectors(models, texts))
    ]
    client.upsert("notes", points)


def found(client: QdrantClient, name: str, query: Any, limit: int = 10) -> dict[int, float]:
    return {each.id: each.score for each in client.query_points("notes", query=query, using=name, limit=limit).points}  # type: ignore[misc]


def test_points_are_scored_as_the_models_compare_them(client: QdrantClient, models: dict[str, Any]) -> None:
    fill(client, models)
    queries = query_vectors(models, QUESTION)
    dense, sparse, tokens = models.values()
    expected = {
        "dense": (dense.encode_document(TEXTS) @ dense.encode_query([QUESTION])[0]).tolist(),
        "sparse": sparse.encode_query([QUESTION]).dot(sparse.encode_document(TEXTS))[0].tolist(),
        "tokens": maxsim(tokens.encode_query([QUESTION]), tokens.encode_document(TEXTS))[0].tolist(),
    }
    for name, scores in expected.items():
        got = found(client, name, queries[name])
        assert got == pytest.approx(dict(enumerate(scores)), rel=1e-4, abs=1e-5)
        assert list(got) == sorted(got, key=lambda place: -got[place])
    assert document_vectors(models, [QUESTION])[0]["sparse"] != queries["sparse"]  # else the prompts would tell nothing


def test_searches_are_fused_and_reordered_by_tokens(client: QdrantClient, models: dict[str, Any]) -> None:
    fill(client, models)
    queries = query_vectors(models, QUESTION)
    searches = [Prefetch(query=queries[name], using=name, limit=3) for name in ("dense", "sparse")]
    rankings = [list(found(client, name, queries[name], 3)) for name in ("dense", "sparse")]
    fused = client.query_points("notes", prefetch=searches, query=RrfQuery(rrf=Rrf(k=60)), limit=10).points
    scores = {
        place: sum(1 / (60 + ranking.index(place)) for ranking in rankings if place in ranking)  # Qdrant counts from 0
        for place in {*rankings[0], *rankings[1]}
    }
    assert {point.id: point.score for point in fused} == pytest.approx(scores, abs=1e-6)
    assert {
        point.id
        for point in client.query_points("notes", prefetch=searches, query=FusionQuery(fusion=Fusion.RRF)).points
    } == set(scores)
    reordered = client.query_points("notes", prefetch=searches, query=queries["tokens"], using="tokens", limit=2).points
    tokens = found(client, "tokens", queries["tokens"])
    assert [point.id for point in reordered] == [place for place in tokens if place in scores][:2]


def test_another_process_opens_the_collection_with_its_models_and_answers_the_same(
    client: QdrantClient, models: dict[str, Any], specs: list[ModelSpec], fresh: Callable[..., CompletedProcess[str]]
) -> None:
    fill(client, models)
    queries = query_vectors(models, QUESTION)
    here = {name: list(found(client, name, queries[name]).items()) for name in models}
    client.close()
    result = fresh(
        f"{registering(*specs)}"
        "from qdrant_client import QdrantClient\n"
        "from embedry_qdrant import query_vectors, stored_models\n"
        "client = QdrantClient(path='qdrant')\n"
        "models = stored_models(client, 'notes', threads=1)\n"
        f"queries = query_vectors(models, {QUESTION!r})\n"
        "points = {name: client.query_points('notes', query=queries[name], using=name).points for name in models}\n"
        "print(json.dumps({name: [[each.id, each.score] for each in points[name]] for name in models}))\n"
        "client.close()"
    )
    for name, scores in json.loads(result.stdout).items():
        assert [place for place, _ in scores] == [place for place, _ in here[name]]
        assert [score for _, score in scores] == pytest.approx([score for _, score in here[name]], rel=1e-5, abs=1e-5)


def test_the_models_are_those_of_the_spaces(client: QdrantClient, specs: list[ModelSpec], minilm: LazyEmbedder) -> None:
    shorter = {
        "dense": resolve(minilm.name, normalize=False, max_seq_length=64),
        "sparse": resolve_sparse(specs[0], max_seq_length=24),
        "tokens": resolve_multi_vector(specs[1], max_seq_length=24),
    }
    fill(client, shorter)
    assert stored_models(client, "notes") == shorter
    assert stored_models(client, "notes", threads=1)["sparse"].config.threads == 1


def test_a_model_that_changed_is_refused(client: QdrantClient, root: Path, minilm: LazyEmbedder) -> None:
    from embedry import registry

    fill(client, {"sparse": resolve_sparse(registered(root, "sparse"))})
    registry._collected.cache_clear()
    registered(root, "sparse", "bert, sum")
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        stored_models(client, "notes")
    client.create_collection("plain", VectorParams(size=4, distance=Distance.DOT))
    with pytest.raises(SpaceError, match="does not say which models made its vectors"):
        stored_models(client, "plain")


def test_a_vector_has_the_distance_of_its_model(client: QdrantClient, checkpoint: Callable[..., Path]) -> None:
    from dataclasses import replace

    spec = resolve(checkpoint("bert")).spec
    distances = {"cosine": "Cosine", "dot": "Dot", "euclidean": "Euclid", "manhattan": "Manhattan"}
    for similarity, distance in distances.items():
        model = resolve(replace(spec, similarity=similarity))  # type: ignore[arg-type]
        params = collection_config({"dense": model})["vectors_config"]["dense"]
        assert (params.distance.value, params.size, params.multivector_config) == (distance, 48, None)


def test_a_text_without_terms_has_no_sparse_vector(client: QdrantClient, root: Path) -> None:
    models = {"sparse": resolve_sparse(registered(root, "sparse", "router"))}
    fill(client, models)
    assert query_vectors(models, "")["sparse"] == SparseVector(
        indices=[], values=[]
    )  # its queries have no special tokens
    assert found(client, "sparse", query_vectors(models, "")["sparse"]) == {}
    kept = {"tokens": resolve_multi_vector(registered(root, "multi_vector", "bert, kept tokens"))}
    assert [list(vectors) for vectors in document_vectors(kept, ["", "the river ran"])] == [[], ["tokens"]]
    client.create_collection("other", **collection_config(kept))
    client.upsert("other", [PointStruct(id=0, vector=document_vectors(kept, [""])[0])])
    assert client.count("other").count == 1
    assert document_vectors(kept, []) == []


def test_making_a_collection_loads_nothing(specs: list[ModelSpec]) -> None:
    models = {"sparse": resolve_sparse(specs[0], threads=3), "tokens": resolve_multi_vector(specs[1], threads=3)}
    collection_config(models)
    assert not any(model.loaded for model in models.values())
