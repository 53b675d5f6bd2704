"""EmbedryRanker and the sparse embedders in Haystack: what they compute, and pipelines that are saved and opened again."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before its import, which would write to the home folder

from haystack import Document, Pipeline
from haystack.components.retrievers import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.core.errors import DeserializationError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.retrievers.qdrant import QdrantHybridRetriever, QdrantSparseEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from embedry import (
    LazyEmbedder,
    ModelSpec,
    OptionError,
    SpaceError,
    TextTypeError,
    UnsupportedModelError,
    resolve,
    resolve_reranker,
    resolve_sparse,
)
from embedry_haystack import (
    EmbedryDocumentEmbedder,
    EmbedryRanker,
    EmbedrySparseDocumentEmbedder,
    EmbedrySparseTextEmbedder,
    EmbedryTextEmbedder,
)
from kind_models import registered
from kind_processes import registering

TEXTS = [
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
]
QUESTION = "When do I get my money back?"


def documents() -> list[Document]:
    return [Document(id=f"text-{place}", content=text, score=place / 10) for place, text in enumerate(TEXTS)]


def scores(found: dict[str, Any]) -> list[tuple[str, float]]:
    return [(document.id, document.score) for document in found["documents"]]


def terms(embedding: Any) -> dict[int, float]:
    return dict(zip(embedding.indices, embedding.values, strict=True))


# The ranker.


def test_the_best_documents_come_first_with_their_scores(reranker: ModelSpec) -> None:
    given = documents()
    expected = [(f"text-{place}", score) for place, score in resolve_reranker(reranker).rank(QUESTION, TEXTS)]
    assert [name for name, _ in expected] != [document.id for document in given]
    for top_k in (None, 3, 1, 100):
        ranker = EmbedryRanker(reranker.name, top_k=top_k)
        for found in (
            ranker.run(query=QUESTION, documents=given),
            asyncio.run(ranker.run_async(query=QUESTION, documents=given)),
            EmbedryRanker(reranker).run(query=QUESTION, documents=given, top_k=top_k),
        ):
            assert scores(found) == expected[:top_k]
            assert found["meta"] == {"model": "tiny-reranker"}
    assert given == documents()  # what it was given is as it was
    twice = EmbedryRanker(reranker).run(query=QUESTION, documents=[*given, *documents()])
    assert scores(twice) == expected
    assert EmbedryRanker(reranker).run(query=QUESTION, documents=[])["documents"] == []


def test_chosen_meta_fields_are_read_before_the_content(reranker: ModelSpec) -> None:
    given = [Document(content="Paid within 14 days.", meta={"title": "Refunds", "secret": "x"}), Document(content=None)]
    ranker = EmbedryRanker(reranker, meta_fields_to_embed=["title"], embedding_separator=" | ")
    found = {document.content: document.score for document in ranker.run(query=QUESTION, documents=given)["documents"]}
    pairs = [(QUESTION, "Refunds | Paid within 14 days."), (QUESTION, "")]
    assert [found["Paid within 14 days."], found[None]] == resolve_reranker(reranker).score(pairs).tolist()


def test_what_cannot_be_ranked_is_told(root: Path, reranker: ModelSpec, minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match="3 scores per pair"):
        EmbedryRanker(registered(root, "reranker", "bert, 3 labels", name="three", repo="acme/three"))
    with pytest.raises(UnsupportedModelError, match="resolve"):
        EmbedryRanker(minilm.name)
    with pytest.raises(OptionError, match="LazyEmbedder"):
        EmbedryRanker(minilm)
    with pytest.raises(OptionError, match="top_k"):
        EmbedryRanker(reranker).run(query=QUESTION, documents=documents(), top_k=0)
    with pytest.raises(TextTypeError):
        EmbedryRanker(reranker).run(query=None, documents=documents())
    with pytest.raises(TypeError, match=r"use Document\(content=...\) for a str"):
        EmbedryRanker(reranker).run(query=QUESTION, documents=TEXTS)
    with pytest.raises(TypeError, match="use EmbedrySparseTextEmbedder for a str"):
        EmbedrySparseDocumentEmbedder(registered(root, "sparse")).run(documents=TEXTS)


# Sparse embedders.


def test_queries_and_documents_have_the_prompts_of_their_roles(sparse: ModelSpec) -> None:
    model = resolve_sparse(sparse)
    query, stored = model.encode_query(TEXTS[:1]), model.encode_document(TEXTS)
    assert query[0][0].tolist() != stored[0][0].tolist()  # else the prompts would tell nothing
    text, document = EmbedrySparseTextEmbedder(sparse.name), EmbedrySparseDocumentEmbedder(sparse)
    for asked in (text.run(text=TEXTS[0]), asyncio.run(text.run_async(text=TEXTS[0]))):
        assert asked["sparse_embedding"].indices == query[0][0].tolist()
        assert asked["sparse_embedding"].values == pytest.approx(query[0][1].tolist(), abs=1e-6)
        assert asked["meta"] == {"model": "tiny-sparse"}
    given = documents()
    for made in (document.run(documents=given), asyncio.run(document.run_async(documents=given))):
        assert [each.content for each in made["documents"]] == TEXTS
        for place, each in enumerate(made["documents"]):
            assert each.sparse_embedding.indices == stored[place][0].tolist()
            assert each.sparse_embedding.values == pytest.approx(stored[place][1].tolist(), abs=1e-6)
    assert given == documents()  # a component must not change what it is given
    assert document.run(documents=[])["documents"] == []
    fields = EmbedrySparseDocumentEmbedder(sparse, meta_fields_to_embed=["title"], embedding_separator=" | ")
    (one,) = fields.run(documents=[Document(content="a text", meta={"title": "a title"})])["documents"]
    assert one.sparse_embedding.indices == model.encode_document(["a title | a text"])[0][0].tolist()


@pytest.mark.parametrize("kind", ["ranker", "text", "documents"])
def test_the_event_loop_runs_on_meanwhile(
    kind: str, reranker: ModelSpec, sparse: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    component: Any = {
        "ranker": EmbedryRanker, "text": EmbedrySparseTextEmbedder, "documents": EmbedrySparseDocumentEmbedder,
    }[kind](reranker if kind == "ranker" else sparse)  # fmt: skip
    inputs: Any = {
        "ranker": {"query": "a", "documents": documents()}, "text": {"text": "a"}, "documents": {"documents": documents()},
    }[kind]  # fmt: skip
    started, went_on, real = threading.Event(), threading.Event(), component._model._encode

    def waiting(*arguments: Any, **options: Any) -> Any:
        started.set()
        assert went_on.wait(20), "nothing else ran on the loop"
        return real(*arguments, **options)

    async def other() -> None:
        while not started.is_set():
            await asyncio.sleep(0.001)
        went_on.set()

    async def both() -> None:
        await asyncio.gather(component.run_async(**inputs), other())

    monkeypatch.setattr(component._model, "_encode", waiting)
    asyncio.run(both())


# Saved and opened again.


def test_a_component_loads_when_it_is_warmed_up_and_not_before(reranker: ModelSpec, sparse: ModelSpec) -> None:
    for component in (
        EmbedryRanker(reranker, options={"threads": 3}),
        EmbedrySparseTextEmbedder(sparse, options={"threads": 3}),
    ):
        component.to_dict()
        assert not component._model.loaded
        component.warm_up()
        assert component._model.loaded


def test_what_is_saved_opens_as_the_same_component(
    reranker: ModelSpec, sparse: ModelSpec, minilm: LazyEmbedder
) -> None:
    options = {"max_seq_length": 24}
    own = options | {"threads": 1}  # of the machine: saved where they were given to the component
    texts: dict[str, Any] = {"meta_fields_to_embed": ["title"], "embedding_separator": " | "}
    made: list[Any] = [
        EmbedryRanker(reranker.name, options=own, top_k=3, **texts),
        EmbedryRanker(resolve_reranker(reranker, **options), top_k=3, **texts),
        EmbedrySparseTextEmbedder(sparse, options=own),
        EmbedrySparseTextEmbedder(resolve_sparse(sparse, **options)),
        EmbedrySparseDocumentEmbedder(sparse.name, options=own, **texts),
        EmbedryTextEmbedder(resolve(minilm.name, normalize=False, **options)),
    ]
    for component in made:
        saved = json.loads(json.dumps(component.to_dict()))
        again = type(component).from_dict(saved)
        assert again.to_dict() == saved
        assert again._model is component._model
        assert again._model.max_seq_length == 24
    assert (again._model.spec.name, again._model.config.normalize) == (minilm.name, False)
    assert [EmbedryRanker.from_dict(made[0].to_dict()).top_k, made[0].to_dict()["init_parameters"]["top_k"]] == [3, 3]
    with pytest.raises(OptionError, match="already has its options"):
        EmbedryRanker(resolve_reranker(reranker), options={"threads": 1})


def test_a_model_that_changed_is_refused(root: Path, reranker: ModelSpec, sparse: ModelSpec) -> None:
    changed = {
        EmbedryRanker(reranker): registered(root, "reranker", "bert, Identity", name="other", repo="acme/other"),
        EmbedrySparseTextEmbedder(sparse): registered(root, "sparse", name="different", repo="acme/different"),
    }
    for component, spec in changed.items():
        saved = component.to_dict()
        saved["init_parameters"]["model"] = spec.name
        with pytest.raises(SpaceError, match="other files, chain or prompts"):
            type(component).from_dict(saved)


def searching(minilm: LazyEmbedder, reranker: ModelSpec, store: InMemoryDocumentStore) -> Pipeline:
    """Two searches, whose results the ranker puts together."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", EmbedryTextEmbedder(minilm.name))
    pipeline.add_component("near", InMemoryEmbeddingRetriever(store, top_k=3))
    pipeline.add_component("words", InMemoryBM25Retriever(store, top_k=2))
    pipeline.add_component("ranker", EmbedryRanker(reranker, top_k=3))
    pipeline.connect("embedder.embedding", "near.query_embedding")
    pipeline.connect("near.documents", "ranker.documents")
    pipeline.connect("words.documents", "ranker.documents")
    return pipeline


def test_a_pipeline_with_a_ranker_is_found_again_in_another_process(
    minilm: LazyEmbedder, reranker: ModelSpec, tmp_path: Path, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(EmbedryDocumentEmbedder(minilm.name).run(documents=documents())["documents"])
    store.save_to_disk(str(tmp_path / "store.json"))
    pipeline = searching(minilm, reranker, store)
    (tmp_path / "pipeline.yaml").write_text(pipeline.dumps())
    with pytest.raises(DeserializationError, match="allowed_modules"):
        Pipeline.loads(pipeline.dumps())
    inputs = {
        "embedder": {"text": QUESTION}, "words": {"query": "gift cards paid"}, "ranker": {"query": QUESTION},
    }  # fmt: skip
    here = [[each.content, each.score] for each in pipeline.run(inputs)["ranker"]["documents"]]
    assert len(here) == 3
    assert {text for text, _ in here} <= set(TEXTS)
    texts = [text for text, _ in here]
    ranked = resolve_reranker(reranker).rank(QUESTION, texts)
    assert [[texts[place], score] for place, score in ranked] == here
    result = fresh(
        f"{registering(reranker)}"
        "import pathlib\n"
        "from haystack import Pipeline\n"
        "from haystack.document_stores.in_memory import InMemoryDocumentStore\n"
        "store = InMemoryDocumentStore.load_from_disk('store.json')\n"
        "saved = pathlib.Path('pipeline.yaml').read_text()\n"
        "pipeline = Pipeline.loads(saved, allowed_modules=['embedry_haystack'])\n"
        f"found = pipeline.run({inputs!r})['ranker']['documents']\n"
        "print(json.dumps([[each.content, each.score] for each in found]))"
    )
    assert json.loads(result.stdout) == here


def hybrid(minilm: LazyEmbedder, sparse: ModelSpec, store: QdrantDocumentStore) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("dense", EmbedryTextEmbedder(minilm.name))
    pipeline.add_component("sparse", EmbedrySparseTextEmbedder(sparse))
    pipeline.add_component("retriever", QdrantHybridRetriever(document_store=store, top_k=3))
    pipeline.connect("dense.embedding", "retriever.query_embedding")
    pipeline.connect("sparse.sparse_embedding", "retriever.query_sparse_embedding")
    return pipeline


def test_a_store_of_terms_is_found_again_in_another_process(
    minilm: LazyEmbedder, sparse: ModelSpec, tmp_path: Path, fresh: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    store = QdrantDocumentStore(path="qdrant", embedding_dim=384, use_sparse_embeddings=True, progress_bar=False)
    dense = EmbedryDocumentEmbedder(minilm.name).run(documents=documents())["documents"]
    store.write_documents(EmbedrySparseDocumentEmbedder(sparse).run(documents=dense)["documents"])
    model = resolve_sparse(sparse)
    products = model.encode_query([QUESTION]).dot(model.encode_document(TEXTS))[0]
    asked = EmbedrySparseTextEmbedder(sparse).run(text=QUESTION)["sparse_embedding"]
    found = QdrantSparseEmbeddingRetriever(store).run(query_sparse_embedding=asked)["documents"]
    assert {each.content: each.score for each in found} == pytest.approx(
        dict(zip(TEXTS, products.tolist(), strict=True)), rel=1e-5
    )
    pipeline = hybrid(minilm, sparse, store)
    inputs = {"dense": {"text": QUESTION}, "sparse": {"text": QUESTION}}
    here = [[each.content, each.score] for each in pipeline.run(inputs)["retriever"]["documents"]]
    assert len(here) == 3
    (tmp_path / "pipeline.yaml").write_text(pipeline.dumps())
    store._client.close()
    result = fresh(
        f"{registering(sparse)}"
        "import pathlib\n"
        "from haystack import Pipeline\n"
        "saved = pathlib.Path('pipeline.yaml').read_text()\n"
        "allowed = ['embedry_haystack', 'haystack_integrations']\n"
        "pipeline = Pipeline.loads(saved, allowed_modules=allowed)\n"
        f"found = pipeline.run({inputs!r})['retriever']['documents']\n"
        "print(json.dumps([[each.content, each.score] for each in found]))\n"
        "pipeline.get_component('retriever')._document_store._client.close()"
    )
    assert json.loads(result.stdout) == here
