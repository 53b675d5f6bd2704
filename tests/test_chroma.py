"""The Chroma embedding function: roles, distances, and collections that find their model and refuse another."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import chromadb
import numpy as np
import pytest
from chromadb.api import ClientAPI
from chromadb.api.types import Schema, VectorIndexConfig
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

from embedry import Normalize, Pooling, SpaceError, UnknownOptionError, UnsupportedModelError, register, resolve
from embedry.views import LazyEmbedder
from embedry_chroma import EmbedryEmbeddingFunction
from entries import COMMIT, registered

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "The shop opens at nine."]
QUESTION = "When do I get my money back?"


@pytest.fixture(autouse=True)
def _no_other_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chroma's own default model must never be asked for."""

    def refuse(*_: object) -> None:
        raise AssertionError("Chroma's default model was used")

    monkeypatch.setattr(ONNXMiniLM_L6_V2, "__call__", refuse)


@pytest.fixture
def client(tmp_path: Path) -> ClientAPI:
    return chromadb.PersistentClient(tmp_path / "store")


@pytest.fixture
def folder(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose queries and documents have different prompts, in a folder of this test."""
    made = checkpoint("bert", prompts={"query": "ask: ", "document": "a passage: "})
    return Path(shutil.copytree(made, tmp_path / "model"))


def filled(client: ClientAPI, function: EmbedryEmbeddingFunction) -> Any:
    collection = client.create_collection("notes", embedding_function=function)
    collection.add(ids=["0", "1", "2"], documents=TEXTS)
    return collection


def test_a_collection_finds_its_model_again_in_another_process(
    client: ClientAPI, minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    filled(client, EmbedryEmbeddingFunction(minilm.name))
    result = fresh(
        "import json, chromadb, embedry_chroma\n"
        "from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2\n"
        "ONNXMiniLM_L6_V2.__call__ = None\n"
        "collection = chromadb.PersistentClient('store').get_collection('notes')\n"
        f"found = collection.query(query_texts=[{QUESTION!r}], n_results=1)\n"
        "print(json.dumps([found['documents'], found['distances']]))"
    )
    documents, distances = json.loads(result.stdout)
    assert documents == [[TEXTS[0]]]
    cosine = minilm.encode_document(TEXTS[:1]) @ minilm.encode_query([QUESTION]).T
    assert distances[0][0] == pytest.approx(1 - cosine.item(), abs=1e-5)


def test_queries_and_documents_have_the_prompts_of_their_roles(client: ClientAPI, folder: Path) -> None:
    embedder = resolve(folder)
    queries, documents = embedder.encode_query(TEXTS), embedder.encode_document(TEXTS)
    assert np.abs(queries - documents).max() > 1e-3  # else the prompts would tell nothing
    collection = filled(client, EmbedryEmbeddingFunction(str(folder)))
    np.testing.assert_allclose(collection.get(include=["embeddings"])["embeddings"], documents, atol=1e-6)
    for opened in (collection, client.get_collection("notes")):
        found = opened.query(query_texts=TEXTS, n_results=3)
        for ids, distances, query in zip(found["ids"], found["distances"], queries, strict=True):
            expected = [1 - documents[int(one)] @ query for one in ids]
            np.testing.assert_allclose(distances, expected, atol=1e-5)


def test_making_one_loads_nothing(folder: Path) -> None:
    EmbedryEmbeddingFunction(str(folder)).get_config()
    assert not resolve(folder).loaded


def test_what_a_collection_keeps_is_the_space_and_nothing_of_the_machine(
    client: ClientAPI, minilm: LazyEmbedder
) -> None:
    function = EmbedryEmbeddingFunction(minilm.name, max_seq_length=64, threads=1)
    collection = client.create_collection("notes", embedding_function=function)
    kept = collection.configuration_json["embedding_function"]
    assert kept == {
        "type": "known",
        "name": "embedry",
        "config": {
            "space": {
                "model": minilm.name,
                "fingerprint": resolve(minilm.name, max_seq_length=64).fingerprint,
                "dims": 384,
                "max_seq_length": 64,
                "normalize": True,
                "precision": None,
            }
        },
    }
    opened = client.get_collection("notes").configuration["embedding_function"]
    assert isinstance(opened, EmbedryEmbeddingFunction)
    assert opened._embedder is resolve(minilm.name, max_seq_length=64)


OPENINGS: dict[str, Callable[[ClientAPI, EmbedryEmbeddingFunction], object]] = {
    "get": lambda client, other: client.get_collection("notes", embedding_function=other),
    "get by id": lambda client, other: client.get_collection_by_id(
        client.get_collection("notes").id, embedding_function=other
    ),
    "get or create": lambda client, other: client.get_or_create_collection("notes", embedding_function=other),
    "create": lambda client, other: client.create_collection("notes", embedding_function=other, get_or_create=True),
    "modify": lambda client, other: client.get_collection("notes").modify(configuration={"embedding_function": other}),
}


@pytest.mark.parametrize("way", OPENINGS)
def test_an_embedding_function_of_another_space_is_refused(way: str, client: ClientAPI, minilm: LazyEmbedder) -> None:
    client.create_collection("notes", embedding_function=EmbedryEmbeddingFunction(minilm.name))
    OPENINGS[way](client, EmbedryEmbeddingFunction(minilm.name, threads=1))
    with pytest.raises(SpaceError, match="max_seq_length 64 instead of 256"):
        OPENINGS[way](client, EmbedryEmbeddingFunction(minilm.name, max_seq_length=64))


def test_a_collection_made_with_a_schema_refuses_it_too(client: ClientAPI, minilm: LazyEmbedder) -> None:
    index = VectorIndexConfig(embedding_function=EmbedryEmbeddingFunction(minilm.name))
    client.create_collection("notes", schema=Schema().create_index(config=index), embedding_function=None)
    with pytest.raises(SpaceError, match="max_seq_length 64 instead of 256"):
        client.get_collection("notes", embedding_function=EmbedryEmbeddingFunction(minilm.name, max_seq_length=64))


def test_collections_of_others_open_as_ever(client: ClientAPI, minilm: LazyEmbedder) -> None:
    client.create_collection("plain", embedding_function=None).add(ids=["0"], embeddings=[[1.0, 0.0]])
    assert client.get_collection("plain", embedding_function=EmbedryEmbeddingFunction(minilm.name)).count() == 1
    assert client.get_collection("plain").query(query_embeddings=[[1.0, 0.0]])["ids"] == [["0"]]


def test_a_model_that_changed_is_refused(client: ClientAPI, folder: Path) -> None:
    filled(client, EmbedryEmbeddingFunction(str(folder)))
    file = folder / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("ask: ", "question: "))
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        client.get_collection("notes", embedding_function=EmbedryEmbeddingFunction(str(folder)))
    with pytest.raises(ValueError, match="other files, chain or prompts"):  # Chroma's own, around ours
        client.get_collection("notes").query(query_texts=[QUESTION])


@pytest.mark.parametrize(
    ("similarity", "normalize", "distances"),
    [
        ("cosine", True, ["cosine", "ip", "l2"]),
        ("cosine", False, ["cosine"]),
        ("dot", False, ["ip"]),
        ("euclidean", False, ["l2"]),
    ],
)
def test_distances_are_the_models_own(
    similarity: Any, normalize: bool, distances: list[str], client: ClientAPI, checkpoint: Callable[..., Path]
) -> None:
    name = f"compared-by-{similarity}-{normalize}"
    chain = (Pooling(mode="mean"), *(Normalize(),) * normalize)
    register(registered(checkpoint("bert"), name=name, similarity=similarity, chain=chain))
    function = EmbedryEmbeddingFunction(name)
    assert function.supported_spaces() == distances
    collection = client.create_collection("notes", embedding_function=function)
    assert collection.configuration_json["hnsw"]["space"] == distances[0]


def test_a_model_that_chroma_cannot_compare_is_refused(checkpoint: Callable[..., Path]) -> None:
    register(replace(registered(checkpoint("bert")), name="compared-by-manhattan", similarity="manhattan"))
    with pytest.raises(UnsupportedModelError, match="Chroma has only cosine, ip, l2"):
        EmbedryEmbeddingFunction("compared-by-manhattan")


def test_the_configuration_is_kept_where_only_the_options_find_the_files(
    client: ClientAPI, checkpoint: Callable[..., Path]
) -> None:
    spec = registered(checkpoint("bert"), name="elsewhere", repo="nobody/elsewhere", revision=COMMIT)
    register(replace(spec, folder=None, files=dict.fromkeys(spec.files)))
    function = EmbedryEmbeddingFunction("elsewhere", folder=str(checkpoint("bert")))
    collection = client.create_collection("notes", embedding_function=function)
    assert collection.configuration_json["embedding_function"]["config"] == function.get_config()


def test_a_configuration_is_checked(minilm: LazyEmbedder) -> None:
    function = EmbedryEmbeddingFunction(minilm.name)
    function.validate_config(function.get_config())
    for wrong in ({}, {"space": {"model": minilm.name}}):
        with pytest.raises(SpaceError, match="not a saved space"):
            function.validate_config(wrong)
    with pytest.raises(UnknownOptionError, match="devise"):
        EmbedryEmbeddingFunction(minilm.name, devise="cpu")
