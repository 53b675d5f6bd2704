"""Rerankers in LangChain, and hybrid search in the vector store: fused, filtered, reranked, opened again."""

import asyncio
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from pydantic import ValidationError

from embedry import (
    LazyEmbedder,
    ModelSpec,
    OptionError,
    SpaceError,
    UnsupportedModelError,
    resolve_reranker,
    resolve_sparse,
)
from embedry_langchain import EmbedryCrossEncoder, EmbedryEmbeddings, EmbedryReranker, create_vector_store
from embedry_langchain.filters import FilterError
from embedry_langchain.hybrid import fused
from kind_models import registered
from kind_processes import registering

TEXTS = [
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
    "Whoever wants cash back asks within 14 days.",
    "Orders to Norway take a week to ship.",
]
QUESTION = "When do I get my money back in cash?"


def chunks() -> list[Document]:
    return [
        Document(id=f"chunk-{number}", page_content=text, metadata={"page": number, "odd": number % 2 == 1})
        for number, text in enumerate(TEXTS)
    ]


def store_of(minilm: LazyEmbedder, path: Path | None = None, **options: Any) -> Any:
    store = create_vector_store(EmbedryEmbeddings(minilm), path, **options)
    store.add_documents(chunks())
    return store


def texts_of(documents: Any) -> list[str]:
    return [document.page_content for document in documents]


def by_cosine(minilm: LazyEmbedder, places: list[int], question: str = QUESTION) -> list[int]:
    cosines = minilm.encode_document([TEXTS[place] for place in places]) @ minilm.encode_query([question])[0]
    return [places[at] for at in np.argsort(-cosines)]


def by_product(spec: ModelSpec, places: list[int], question: str = QUESTION) -> list[int]:
    model = resolve_sparse(spec)
    products = (
        model.encode_document([TEXTS[place] for place in places]).to_dense()
        @ model.encode_query([question]).to_dense()[0]
    )
    return [places[at] for at in np.argsort(-products, kind="stable") if products[at] > 0]


def rrf(*rankings: list[int]) -> list[tuple[int, float]]:
    scores = {
        place: sum(1 / (60 + ranking.index(place) + 1) for ranking in rankings if place in ranking)
        for place in dict.fromkeys(place for ranking in rankings for place in ranking)
    }
    return sorted(scores.items(), key=lambda item: -item[1])


# Rerankers.


def test_the_best_documents_come_first_with_their_scores(reranker: ModelSpec) -> None:
    given = chunks()
    expected = resolve_reranker(reranker).rank(QUESTION, TEXTS)
    assert [place for place, _ in expected] != list(range(len(TEXTS)))  # else the order would tell nothing
    for top_n in (None, 3, 1, 100):
        compressor = EmbedryReranker(reranker.name, top_n=top_n)
        for found in (
            compressor.compress_documents(given, QUESTION),
            asyncio.run(compressor.acompress_documents(given, QUESTION)),
        ):
            wanted = expected[:top_n]
            assert [document.id for document in found] == [f"chunk-{place}" for place, _ in wanted]
            for document, (place, score) in zip(found, wanted, strict=True):
                assert document.metadata == {"page": place, "odd": place % 2 == 1, "relevance_score": score}
                assert document.page_content == TEXTS[place]
    assert given == chunks()  # what it was given is as it was
    assert EmbedryReranker(reranker).compress_documents([], QUESTION) == []
    assert len(EmbedryReranker(reranker).compress_documents(given, QUESTION)) == 3


def test_a_cross_encoder_gives_the_scores_of_its_pairs(reranker: ModelSpec) -> None:
    model = EmbedryCrossEncoder(reranker.name)
    pairs = [(QUESTION, text) for text in TEXTS]
    assert model.score(pairs) == resolve_reranker(reranker).score(pairs).tolist()
    assert model.score([]) == []
    theirs = CrossEncoderReranker(model=model, top_n=2).compress_documents(chunks(), QUESTION)
    ours = EmbedryReranker(reranker, top_n=2).compress_documents(chunks(), QUESTION)
    assert texts_of(theirs) == texts_of(ours)


def test_a_retriever_is_reranked(minilm: LazyEmbedder, reranker: ModelSpec) -> None:
    store = store_of(minilm)
    retriever = ContextualCompressionRetriever(
        base_compressor=EmbedryReranker(reranker, top_n=2),
        base_retriever=store.as_retriever(search_type="hybrid", search_kwargs={"k": 4}),
    )
    found = texts_of(store.hybrid_search(QUESTION, k=4))
    expected = [found[place] for place, _ in resolve_reranker(reranker).rank(QUESTION, found, top_k=2)]
    assert texts_of(retriever.invoke(QUESTION)) == expected
    assert texts_of(asyncio.run(retriever.ainvoke(QUESTION))) == expected


def test_a_model_is_given_in_any_form(reranker: ModelSpec) -> None:
    model = resolve_reranker(reranker)
    for given in (reranker.name, reranker, model):
        assert EmbedryReranker(given).reranker is model
        assert EmbedryCrossEncoder(given).reranker is model
    assert EmbedryReranker(reranker, max_seq_length=32).reranker is resolve_reranker(reranker, max_seq_length=32)
    again = pickle.loads(pickle.dumps(EmbedryReranker(reranker, top_n=5)))
    assert (again.top_n, again.reranker) == (5, model)


def test_what_cannot_rank_is_refused(root: Path, reranker: ModelSpec, minilm: LazyEmbedder) -> None:
    three = registered(root, "reranker", "bert, 3 labels", name="three", repo="acme/three")
    for make in (EmbedryReranker, EmbedryCrossEncoder):
        with pytest.raises(OptionError, match="3 scores per pair"):
            make(three)
        with pytest.raises(UnsupportedModelError, match="resolve"):
            make(minilm.name)
        with pytest.raises(OptionError, match="already has its options"):
            make(resolve_reranker(reranker), threads=1)
    for top_n in (0, True, 2.5):
        with pytest.raises(ValidationError, match="top_n"):
            EmbedryReranker(reranker, top_n=top_n)
    with pytest.raises(OptionError, match="3 scores per pair"):
        store_of(minilm).hybrid_search(QUESTION, reranker=three)


# Hybrid search.


def test_ranks_are_fused_by_their_reciprocals() -> None:
    a, b, c, d = ({"id": name} for name in "abcd")
    assert fused([[a, b, c], [c, a]]) == [
        (a, 1 / 61 + 1 / 62),
        (c, 1 / 63 + 1 / 61),
        (b, 1 / 62),
    ]
    assert fused([[b], [a], [c, d]]) == [(b, 1 / 61), (a, 1 / 61), (c, 1 / 61), (d, 1 / 62)]  # equal: earlier searches
    assert fused([[], [d]]) == [(d, 1 / 61)]
    assert fused([]) == []


def test_vectors_and_words_are_fused(minilm: LazyEmbedder) -> None:
    store = store_of(minilm)
    # The stem of a word counts, "cash" in both; of the two the shorter text is the better one by BM25.
    words = [3, 4]
    found = store.hybrid_search_with_score("cash", k=6)
    expected = rrf(by_cosine(minilm, list(range(6)), "cash"), words)
    assert [(document.metadata["page"], score) for document, score in found] == expected
    assert found[0][0] == chunks()[expected[0][0]]
    alone = store.hybrid_search_with_score("cash", searches=["text"])
    assert [(document.metadata["page"], score) for document, score in alone] == rrf(words)


def test_vectors_and_terms_are_fused(minilm: LazyEmbedder, sparse: ModelSpec) -> None:
    store = store_of(minilm, sparse=sparse.name)
    dense, terms = by_cosine(minilm, list(range(6))), by_product(sparse, list(range(6)))
    assert dense != terms
    for searches in (None, ["dense", "sparse"]):
        found = store.hybrid_search_with_score(QUESTION, k=6, searches=searches)
        assert [(document.metadata["page"], score) for document, score in found] == rrf(dense, terms)
    found = store.hybrid_search_with_score("cash", k=6, searches=["text", "dense", "sparse"])
    expected = rrf([3, 4], by_cosine(minilm, list(range(6)), "cash"), by_product(sparse, list(range(6)), "cash"))
    assert [(document.metadata["page"], score) for document, score in found] == expected
    found = store.hybrid_search_with_score(QUESTION, k=2, fetch_k=1)  # each search finds at least k
    assert [(document.metadata["page"], score) for document, score in found] == rrf(dense[:2], terms[:2])[:2]


@pytest.mark.parametrize("searches", [["dense"], ["text"], ["sparse"], ["dense", "text", "sparse"]])
def test_a_filter_holds_in_every_search(searches: list[Any], minilm: LazyEmbedder, sparse: ModelSpec) -> None:
    store = store_of(minilm, sparse=sparse)
    alone = store.hybrid_search("ship cash", k=6, filter={"odd": True}, searches=["text"])
    rankings = {
        "dense": by_cosine(minilm, [1, 3, 5], "ship cash"),
        "text": [document.metadata["page"] for document in alone],
        "sparse": by_product(sparse, [1, 3, 5], "ship cash"),
    }
    expected = rrf(*(rankings[each] for each in searches))
    assert {place for place, _ in expected} == {1, 3, 5}
    for fetch_k in (40, 3):  # as many as there are, though others are better
        options: Any = {"k": 3, "filter": {"odd": True}, "fetch_k": fetch_k, "searches": searches}
        found = store.hybrid_search_with_score("ship cash", **options)
        assert [(document.metadata["page"], score) for document, score in found] == expected
    assert store.hybrid_search("ship cash", filter={"page": 99}, searches=searches) == []
    with pytest.raises(FilterError, match="unknown operator"):
        store.hybrid_search("ship cash", filter={"page": {"$near": 1}}, searches=searches)


def test_a_reranker_orders_what_was_found(minilm: LazyEmbedder, reranker: ModelSpec) -> None:
    store, model = store_of(minilm), resolve_reranker(reranker)
    for fetch_k in (40, 3):
        best = texts_of(store.hybrid_search(QUESTION, k=fetch_k))
        expected = [(best[place], score) for place, score in model.rank(QUESTION, best, top_k=2)]
        for given in (reranker.name, reranker, model):
            found = store.hybrid_search_with_score(QUESTION, k=2, fetch_k=fetch_k, reranker=given)
            assert [(document.page_content, score) for document, score in found] == expected
    assert store.hybrid_search(QUESTION, filter={"page": 99}, reranker=reranker) == []


def test_a_retriever_searches_in_the_same_way(minilm: LazyEmbedder, reranker: ModelSpec, sparse: ModelSpec) -> None:
    store = store_of(minilm, sparse=sparse)
    options = {"k": 2, "filter": {"odd": True}, "reranker": reranker.name}
    retriever = store.as_retriever(search_type="hybrid", search_kwargs=options)
    expected = store.hybrid_search(QUESTION, **options)
    assert len(expected) == 2
    assert retriever.invoke(QUESTION) == expected
    assert asyncio.run(retriever.ainvoke(QUESTION)) == expected
    assert asyncio.run(store.ahybrid_search(QUESTION, **options)) == expected
    assert store.search(QUESTION, "hybrid", **options) == expected
    assert store.as_retriever(search_kwargs={"k": 2}).invoke(QUESTION) == store.similarity_search(QUESTION, k=2)
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 2})
    assert asyncio.run(mmr.ainvoke(QUESTION)) == store.max_marginal_relevance_search(QUESTION, k=2)
    with pytest.raises(ValidationError, match="not allowed"):
        store.as_retriever(search_type="guess")


def test_another_process_opens_the_store_and_answers_the_same(
    minilm: LazyEmbedder, reranker: ModelSpec, sparse: ModelSpec, tmp_path: Path,
    fresh: Callable[..., CompletedProcess[str]],
) -> None:  # fmt: skip
    store = store_of(minilm, tmp_path / "store", sparse=sparse)
    result = fresh(
        f"{registering(reranker, sparse)}"
        "from embedry_langchain import EmbedryReranker, create_vector_store, get_embeddings\n"
        f"store = create_vector_store(get_embeddings(), 'store', sparse={sparse.name!r})\n"
        "options = {'searches': ['dense', 'text', 'sparse'], 'filter': {'page': {'$lt': 5}}}\n"
        f"fused = store.hybrid_search_with_score({QUESTION!r}, k=5, **options)\n"
        f"ranked = store.hybrid_search_with_score({QUESTION!r}, k=3, reranker={reranker.name!r}, **options)\n"
        f"kept = EmbedryReranker({reranker.name!r}).compress_documents([each for each, _ in fused], {QUESTION!r})\n"
        "print(json.dumps([[[document.model_dump(), score] for document, score in found] for found in (fused, ranked)]\n"
        "    + [[document.model_dump() for document in kept]]))"
    )
    options: Any = {"searches": ["dense", "text", "sparse"], "filter": {"page": {"$lt": 5}}}
    fused_here = store.hybrid_search_with_score(QUESTION, k=5, **options)
    ranked_here = store.hybrid_search_with_score(QUESTION, k=3, reranker=reranker, **options)
    kept = EmbedryReranker(reranker).compress_documents([document for document, _ in fused_here], QUESTION)
    assert len(fused_here) == 5
    assert json.loads(result.stdout) == [
        *([[document.model_dump(), score] for document, score in found] for found in (fused_here, ranked_here)),
        [document.model_dump() for document in kept],
    ]


def test_terms_are_found_in_blocks_of_any_size(
    minilm: LazyEmbedder, sparse: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_langchain import tables

    monkeypatch.setattr(tables, "_MOST_PARTS", 4)  # so that some are merged
    store = create_vector_store(DeterministicFakeEmbedding(size=4), sparse=sparse)
    texts = [f"{TEXTS[number % 6]} {number // 12}" for number in range(120)]
    for start in range(0, 120, 10):
        store.add_texts(texts[start : start + 10], ids=[f"{number:03}" for number in range(start, start + 10)])
    model = resolve_sparse(sparse)
    assert store.table is not None
    rows = sorted(store.table.to_arrow().select(["id", "sparse"]).to_pylist(), key=lambda row: row["id"])
    stored = np.zeros((120, model.dims), dtype=np.float32)
    for place, row in enumerate(rows):
        stored[place, row["sparse"]["indices"]] = row["sparse"]["values"]
    np.testing.assert_allclose(stored, model.encode_document(texts).to_dense(), atol=1e-5)
    products = stored.astype(np.float64) @ model.encode_query([QUESTION]).to_dense()[0]
    assert len(set(products)) < 120
    found = store.hybrid_search(QUESTION, k=120, searches=["sparse"])
    expected = [f"{place:03}" for place in np.argsort(-products, kind="stable") if products[place] > 0]
    assert [document.id for document in found] == expected  # of equal ones by their ids
    assert [document.id for document in store.hybrid_search(QUESTION, k=7, searches=["sparse"])] == expected[:7]


# The index of words.


def test_the_index_of_words_is_made_once_and_follows_the_store(minilm: LazyEmbedder, tmp_path: Path) -> None:
    store = store_of(minilm, tmp_path)
    store.similarity_search("ship")
    assert store.table.list_indices() == []  # who does not search by words has none
    words: Any = {"k": 10, "searches": ["text"]}
    assert {document.id for document in store.hybrid_search("shipping", **words)} == {"chunk-1", "chunk-5"}
    store.add_texts(["A ship for each customer.", "We never deliver."], ids=["new", "chunk-1"])
    store.delete(["chunk-5"])
    assert {document.id for document in store.hybrid_search("shipping", **words)} == {"new"}
    assert len(store.table.list_indices()) == 1
    for query in ("", "the", "?!", "zebra", "'\"(AND* ship", "x" * 5000):
        assert {document.id for document in store.hybrid_search(query, **words)} == (
            {"new"} if "ship" in query else set()
        )


def test_an_index_of_the_user_is_used(minilm: LazyEmbedder) -> None:
    from lancedb.index import FTS

    store = store_of(minilm)
    store.table.create_index("text", config=FTS(stem=False, remove_stop_words=False))
    assert store.hybrid_search("shipping", searches=["text"]) == []
    assert texts_of(store.hybrid_search("the", searches=["text"])) == [TEXTS[2]]


def test_several_threads_search_by_words_first(minilm: LazyEmbedder, tmp_path: Path) -> None:
    store_of(minilm, tmp_path)
    together = Barrier(6)

    def ask(_: int) -> list[str]:
        store = create_vector_store(EmbedryEmbeddings(minilm), tmp_path)
        together.wait()
        return texts_of(store.hybrid_search("cash", searches=["text"]))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [[TEXTS[3], TEXTS[4]]] * 6


# What a store refuses.


def test_a_store_with_terms_is_opened_with_the_model_that_made_them(
    minilm: LazyEmbedder, root: Path, sparse: ModelSpec, tmp_path: Path
) -> None:
    other = registered(root, "sparse", "bert, sum", name="other", repo="acme/other")
    embeddings = EmbedryEmbeddings(minilm)
    store_of(minilm, tmp_path / "with", sparse=sparse)
    store_of(minilm, tmp_path / "without")
    with pytest.raises(SpaceError, match="these vectors were made by 'tiny-sparse'"):
        create_vector_store(embeddings, tmp_path / "with", sparse=other)
    with pytest.raises(SpaceError, match="open it with sparse='tiny-sparse'"):
        create_vector_store(embeddings, tmp_path / "with")
    with pytest.raises(SpaceError, match="has no sparse vectors; open it without sparse="):
        create_vector_store(embeddings, tmp_path / "without", sparse=sparse)
    with pytest.raises(SpaceError, match="max_seq_length 32 instead of 64"):
        create_vector_store(embeddings, tmp_path / "with", sparse=resolve_sparse(sparse, max_seq_length=32))
    with pytest.raises(UnsupportedModelError, match="resolve"):
        create_vector_store(embeddings, sparse=minilm.name)
    again = create_vector_store(embeddings, tmp_path / "with", sparse=resolve_sparse(sparse, threads=1))
    assert len(again.hybrid_search(QUESTION, k=10)) == 6


@pytest.mark.parametrize("wrong", ["text", [], ["dense", "words"], ["sparse"], [3], 3])
def test_a_search_that_the_store_does_not_have_is_refused(wrong: Any, minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match="searches must be a list of some that the store has, 'dense', 'text', got"):
        create_vector_store(EmbedryEmbeddings(minilm)).hybrid_search("a", searches=wrong)


def test_an_empty_store_finds_nothing_and_loads_nothing(
    checkpoint: Callable[..., Path], reranker: ModelSpec, sparse: ModelSpec
) -> None:
    embeddings = EmbedryEmbeddings(str(checkpoint("bert")), threads=3)
    terms, model = resolve_sparse(sparse, threads=3), resolve_reranker(reranker, threads=3)
    store = create_vector_store(embeddings, sparse=terms)
    assert store.hybrid_search("a", searches=["dense", "text", "sparse"], reranker=model) == []
    assert not any(each.loaded for each in (embeddings.embedder, terms, model))
    store.add_texts(["a text"])
    assert store.hybrid_search("a", k=0) == []
    with pytest.raises(TypeError, match="no option 'weights'"):
        store.hybrid_search("a", weights=[0.5, 0.5])
