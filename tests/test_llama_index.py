"""EmbedryEmbedding in LlamaIndex: roles, laziness, and indexes and models that are saved and opened again."""

import asyncio
import copy
import json
import pickle
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from embedry import OptionError, SpaceError, UnknownOptionError, resolve
from embedry.views import LazyEmbedder
from embedry_llama_index import EmbedryEmbedding

TEXTS = ["Refunds are paid within 14 days.", "We ship to most of Europe.", "The shop opens at nine."]


@pytest.fixture
def folder(checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose queries and documents have different prompts, in a folder of this test."""
    made = checkpoint("bert", prompts={"query": "ask: ", "document": "a passage: "})
    return Path(shutil.copytree(made, tmp_path / "model"))


def test_an_index_is_found_again_in_another_process(
    minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    model = EmbedryEmbedding(minilm.name)
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=model)
    index.storage_context.persist(tmp_path / "index")
    (tmp_path / "model.json").write_text(model.to_json())
    result = fresh(
        "import json, pathlib\n"
        "from llama_index.core import StorageContext, load_index_from_storage\n"
        "from embedry_llama_index import EmbedryEmbedding\n"
        "model = EmbedryEmbedding.from_json(pathlib.Path('model.json').read_text())\n"
        "index = load_index_from_storage(StorageContext.from_defaults(persist_dir='index'), embed_model=model)\n"
        "(found,) = index.as_retriever(similarity_top_k=1).retrieve('When do I get my money back?')\n"
        "print(json.dumps([found.text, found.score]))"
    )
    text, score = json.loads(result.stdout)
    assert text == TEXTS[0]
    expected = minilm.encode_document(TEXTS[:1]) @ minilm.encode_query(["When do I get my money back?"]).T
    assert score == pytest.approx(expected.item(), abs=1e-5)


def test_queries_and_texts_have_the_prompts_of_their_roles(folder: Path) -> None:
    model, embedder = EmbedryEmbedding(str(folder)), resolve(folder)
    query, documents = embedder.encode_query(TEXTS[:1])[0], embedder.encode_document(TEXTS)
    assert np.abs(query - documents[0]).max() > 1e-3  # else the prompts would tell nothing

    async def asked() -> tuple[list[float], list[float], list[list[float]]]:
        return (
            await model.aget_query_embedding(TEXTS[0]),
            await model.aget_text_embedding(TEXTS[0]),
            await model.aget_text_embedding_batch(TEXTS),
        )

    waited = asyncio.run(asked())
    for got in (model.get_query_embedding(TEXTS[0]), waited[0]):
        np.testing.assert_allclose(got, query, atol=1e-6)
    for got in (model.get_text_embedding(TEXTS[0]), waited[1]):
        np.testing.assert_allclose(got, documents[0], atol=1e-6)
    for many in (model.get_text_embedding_batch(TEXTS), waited[2]):
        np.testing.assert_allclose(many, documents, atol=1e-6)


def test_making_and_saving_one_loads_nothing(folder: Path) -> None:
    EmbedryEmbedding(str(folder)).to_json()
    assert not resolve(folder).loaded


def test_texts_come_to_embedry_in_one_call(minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def encode(texts: list[str], *, role: str) -> Any:
        calls.append(len(texts))
        return np.zeros((len(texts), 384), dtype=np.float32)

    monkeypatch.setattr(minilm, "encode", encode)
    EmbedryEmbedding(minilm.name).get_text_embedding_batch([f"text {number}" for number in range(1000)])
    assert calls == [1000]


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.aget_query_embedding("a text"),
        lambda model: model.aget_text_embedding("a text"),
        lambda model: model.aget_text_embedding_batch(["a text", "another"]),
    ],
)
def test_the_event_loop_runs_on_while_vectors_are_computed(
    ask: Callable[[EmbedryEmbedding], Awaitable[Any]], minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, went_on, encode = threading.Event(), threading.Event(), minilm._encode

    def waiting(*arguments: Any) -> Any:
        started.set()
        assert went_on.wait(20), "nothing else ran on the loop"
        return encode(*arguments)

    async def other() -> None:
        while not started.is_set():
            await asyncio.sleep(0.001)
        went_on.set()

    async def both() -> None:
        await asyncio.gather(ask(EmbedryEmbedding(minilm.name)), other())

    monkeypatch.setattr(minilm, "_encode", waiting)
    asyncio.run(both())


SAVED: dict[str, tuple[Callable[[EmbedryEmbedding], Any], Callable[[Any], EmbedryEmbedding]]] = {
    "dict": (EmbedryEmbedding.to_dict, EmbedryEmbedding.from_dict),
    "json": (EmbedryEmbedding.to_json, EmbedryEmbedding.from_json),
    "pickle": (pickle.dumps, pickle.loads),
}


@pytest.mark.parametrize("way", SAVED)
def test_what_is_saved_opens_as_the_same_model(way: str, minilm: LazyEmbedder) -> None:
    save, reopen = SAVED[way]
    options = {"max_seq_length": 64, "normalize": False}
    model = EmbedryEmbedding(minilm.name, options=options, embed_batch_size=7)
    again = reopen(save(model))
    assert again.to_dict() == model.to_dict()
    assert again.to_dict()["class_name"] == "EmbedryEmbedding"
    assert again.space["fingerprint"] == resolve(minilm.name, **options).fingerprint
    assert again.get_query_embedding("a text") == model.get_query_embedding("a text")


def test_a_copy_shares_the_model(minilm: LazyEmbedder) -> None:
    assert copy.deepcopy(EmbedryEmbedding(minilm.name))._embedder is minilm


@pytest.mark.parametrize("way", SAVED)
def test_a_model_that_changed_is_refused(way: str, folder: Path) -> None:
    save, reopen = SAVED[way]
    saved = save(EmbedryEmbedding(str(folder)))
    reopen(saved)
    file = folder / "config_sentence_transformers.json"
    file.write_text(file.read_text().replace("ask: ", "question: "))
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        reopen(saved)


def test_an_ingestion_cache_knows_the_model(minilm: LazyEmbedder) -> None:
    nodes = [TextNode(text="a text", id_="1")]
    hashes = {
        get_transformation_hash(nodes, EmbedryEmbedding(minilm.name, options=options))
        for options in ({}, {}, {"max_seq_length": 64})
    }
    assert len(hashes) == 2


def test_what_cannot_be_right_is_refused_when_it_is_made(minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match="a query would get a document's vector"):
        EmbedryEmbedding(minilm.name, embeddings_cache=SimpleKVStore())
    with pytest.raises(UnknownOptionError, match="devise"):
        EmbedryEmbedding(minilm.name, options={"devise": "cpu"})
