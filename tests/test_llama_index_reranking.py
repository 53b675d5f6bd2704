"""EmbedryRerank and EmbedrySparse in LlamaIndex: what they compute, and how they are saved and opened again."""

import asyncio
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from pydantic import ValidationError
from qdrant_client import QdrantClient

from embedry import (
    LazyEmbedder,
    ModelSpec,
    OptionError,
    SpaceError,
    UnsupportedModelError,
    resolve_reranker,
    resolve_sparse,
)
from embedry_llama_index import EmbedryEmbedding, EmbedryRerank, EmbedrySparse
from kind_models import registered
from kind_processes import registering

TEXTS = [
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
]
QUESTION = "When do I get my money back?"


def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=f"node-{place}", text=text), score=place / 10)
        for place, text in enumerate(TEXTS)
    ]


def ids(found: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(each.node.node_id, each.score) for each in found]


# The reranker.


def test_the_best_nodes_come_first_with_their_scores(reranker: ModelSpec) -> None:
    given = nodes()
    expected = [(f"node-{place}", score) for place, score in resolve_reranker(reranker).rank(QUESTION, TEXTS)]
    assert [name for name, _ in expected] != [each.node.node_id for each in given]
    for top_n in (None, 3, 1, 100):
        rerank = EmbedryRerank(reranker.name, top_n=top_n)
        assert ids(rerank.postprocess_nodes(given, query_str=QUESTION)) == expected[:top_n]
        waited = rerank.apostprocess_nodes(given, query_bundle=QueryBundle(QUESTION))
        assert ids(asyncio.run(waited)) == expected[:top_n]
    assert given == nodes()  # what it was given is as it was
    assert len(EmbedryRerank(reranker).postprocess_nodes(given, query_str=QUESTION)) == 2
    assert EmbedryRerank(reranker).postprocess_nodes([], query_str=QUESTION) == []
    with pytest.raises(ValueError, match="no query"):
        EmbedryRerank(reranker).postprocess_nodes(given)


def test_the_score_of_the_search_is_kept_where_it_is_asked_for(reranker: ModelSpec) -> None:
    given = nodes()
    found = EmbedryRerank(reranker, top_n=None, keep_retrieval_score=True).postprocess_nodes(given, query_str=QUESTION)
    assert {each.node.node_id: each.node.metadata for each in found} == {
        f"node-{place}": {"retrieval_score": place / 10} for place in range(4)
    }
    assert all(each.node.metadata == {} for each in given)


def test_metadata_that_is_embedded_is_read(reranker: ModelSpec) -> None:
    node = TextNode(text="Paid within 14 days.", metadata={"title": "Refunds", "secret": "x"})
    node.excluded_embed_metadata_keys = ["secret"]
    (found,) = EmbedryRerank(reranker).postprocess_nodes([NodeWithScore(node=node)], query_str=QUESTION)
    text = "title: Refunds\n\nPaid within 14 days."
    assert found.score == resolve_reranker(reranker).score([(QUESTION, text)])[0]


def test_a_retriever_is_reranked(minilm: LazyEmbedder, reranker: ModelSpec) -> None:
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=EmbedryEmbedding(minilm.name))
    found = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    best = EmbedryRerank(reranker, top_n=2).postprocess_nodes(found, query_str=QUESTION)
    texts = [each.text for each in found]
    expected = [(texts[place], score) for place, score in resolve_reranker(reranker).rank(QUESTION, texts, top_k=2)]
    assert [(each.text, each.score) for each in best] == expected


SAVED: dict[str, tuple[Callable[[EmbedryRerank], Any], Callable[[Any], EmbedryRerank]]] = {
    "dict": (EmbedryRerank.to_dict, EmbedryRerank.from_dict),
    "json": (EmbedryRerank.to_json, EmbedryRerank.from_json),
    "pickle": (pickle.dumps, pickle.loads),
}


@pytest.mark.parametrize("way", SAVED)
def test_what_is_saved_opens_as_the_same_reranker(way: str, reranker: ModelSpec) -> None:
    save, reopen = SAVED[way]
    shorter = resolve_reranker(reranker, max_seq_length=24)
    for made in (
        EmbedryRerank(reranker.name, top_n=7, options={"max_seq_length": 24}, keep_retrieval_score=True),
        EmbedryRerank(shorter, top_n=7, keep_retrieval_score=True),
    ):
        again = reopen(save(made))
        assert again._reranker is shorter
        assert again.to_dict() == made.to_dict()
        assert (again.model_name, again.top_n, again.keep_retrieval_score) == ("tiny-reranker", 7, True)
    assert EmbedryRerank.from_json(made.to_json(), options={"threads": 1})._reranker.config.threads == 1


def test_a_reranker_is_found_again_in_another_process(
    reranker: ModelSpec, fresh: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    rerank = EmbedryRerank(reranker, top_n=3)
    (tmp_path / "rerank.json").write_text(rerank.to_json())
    result = fresh(
        f"{registering(reranker)}"
        "import pathlib\n"
        "from llama_index.core.schema import NodeWithScore, TextNode\n"
        "from embedry_llama_index import EmbedryRerank\n"
        "rerank = EmbedryRerank.from_json(pathlib.Path('rerank.json').read_text())\n"
        f"nodes = [NodeWithScore(node=TextNode(text=text)) for text in {TEXTS!r}]\n"
        f"found = rerank.postprocess_nodes(nodes, query_str={QUESTION!r})\n"
        "print(json.dumps([[each.text, each.score] for each in found]))"
    )
    here = rerank.postprocess_nodes(nodes(), query_str=QUESTION)
    assert json.loads(result.stdout) == [[each.text, each.score] for each in here]
    assert len(here) == 3


def test_a_model_that_changed_is_refused(root: Path, reranker: ModelSpec) -> None:
    saved = EmbedryRerank(reranker).to_dict()
    changed = registered(root, "reranker", "bert, Identity", name="changed", repo="acme/changed")
    with pytest.raises(SpaceError, match="other files, chain or prompts"):
        EmbedryRerank.from_dict(saved | {"model_name": changed.name})


def test_what_cannot_rank_is_refused(root: Path, reranker: ModelSpec, minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match="3 scores per pair"):
        EmbedryRerank(registered(root, "reranker", "bert, 3 labels", name="three", repo="acme/three"))
    with pytest.raises(UnsupportedModelError, match="resolve"):
        EmbedryRerank(minilm.name)
    with pytest.raises(OptionError, match="already has its options"):
        EmbedryRerank(resolve_reranker(reranker), options={"threads": 1})
    with pytest.raises(ValidationError, match="top_n"):
        EmbedryRerank(reranker, top_n=0)


# Sparse vectors.


def test_the_functions_give_terms_and_weights(sparse: ModelSpec) -> None:
    model = resolve_sparse(sparse)
    for given in (sparse.name, sparse, model):
        made = EmbedrySparse(given)
        assert made.embedder is model
        for function, vectors in (
            (made.sparse_doc_fn, model.encode_document(TEXTS)),
            (made.sparse_query_fn, model.encode_query(TEXTS)),
        ):
            indices, values = function(TEXTS)
            assert [dict(zip(*each, strict=True)) for each in zip(indices, values, strict=True)] == [
                dict(zip(vectors[place][0].tolist(), vectors[place][1].tolist(), strict=True)) for place in range(4)
            ]
            assert {type(indices[0][0]), type(values[0][0])} == {int, float}
    assert made.sparse_doc_fn(TEXTS) != made.sparse_query_fn(TEXTS)  # else the prompts would tell nothing
    assert made.sparse_doc_fn([]) == ([], [])
    with pytest.raises(OptionError, match="already has its options"):
        EmbedrySparse(model, threads=1)


def hybrid(client: QdrantClient, model: LazyEmbedder, sparse: ModelSpec) -> tuple[QdrantVectorStore, VectorStoreIndex]:
    functions = EmbedrySparse(sparse)
    store = QdrantVectorStore(
        "notes", client=client, enable_hybrid=True,
        sparse_doc_fn=functions.sparse_doc_fn, sparse_query_fn=functions.sparse_query_fn,
    )  # fmt: skip
    embedding = EmbedryEmbedding(model.name)
    return store, VectorStoreIndex.from_vector_store(store, embed_model=embedding)


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_a_store_finds_by_the_products_of_terms(
    minilm: LazyEmbedder, sparse: ModelSpec, tmp_path: Path, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    store, index = hybrid(client, minilm, sparse)
    embedding = EmbedryEmbedding(minilm.name)
    VectorStoreIndex(
        [TextNode(text=text) for text in TEXTS],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=embedding,
    )
    query = VectorStoreQuery(query_str=QUESTION, similarity_top_k=4, sparse_top_k=4, mode=VectorStoreQueryMode.SPARSE)
    found = store.query(query)
    model = resolve_sparse(sparse)
    products = model.encode_query([QUESTION]).dot(model.encode_document(TEXTS))[0]
    scores = {node.get_content(): score for node, score in zip(found.nodes, found.similarities, strict=True)}
    assert scores == pytest.approx(dict(zip(TEXTS, products.tolist(), strict=True)), rel=1e-5)

    retriever = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=4, sparse_top_k=4, hybrid_top_k=3)
    here = [[each.text, each.score] for each in retriever.retrieve(QUESTION)]
    assert len(here) == 3
    client.close()
    result = fresh(
        f"{registering(sparse)}"
        "from llama_index.core import VectorStoreIndex\n"
        "from llama_index.vector_stores.qdrant import QdrantVectorStore\n"
        "from qdrant_client import QdrantClient\n"
        "from embedry_llama_index import EmbedryEmbedding, EmbedrySparse\n"
        f"sparse = EmbedrySparse({sparse.name!r})\n"
        "client = QdrantClient(path='qdrant')\n"
        "store = QdrantVectorStore('notes', client=client, enable_hybrid=True,\n"
        "    sparse_doc_fn=sparse.sparse_doc_fn, sparse_query_fn=sparse.sparse_query_fn)\n"
        f"index = VectorStoreIndex.from_vector_store(store, embed_model=EmbedryEmbedding({minilm.name!r}))\n"
        "retriever = index.as_retriever(vector_store_query_mode='hybrid', similarity_top_k=4, sparse_top_k=4,\n"
        "    hybrid_top_k=3)\n"
        f"print(json.dumps([[each.text, each.score] for each in retriever.retrieve({QUESTION!r})]))\n"
        "client.close()"
    )
    again = json.loads(result.stdout)
    assert [text for text, _ in again] == [text for text, _ in here]
    assert [score for _, score in again] == pytest.approx([score for _, score in here], abs=1e-5)
