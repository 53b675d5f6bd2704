"""The vector store: what it finds, what it keeps through new processes and kills, and what it refuses."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from embedry import SpaceError, resolve
from embedry.views import LazyEmbedder
from embedry_langchain import EmbedryEmbeddings, create_vector_store, tables
from embedry_langchain.filters import FilterError

TEXTS = [
    "Refunds are paid within 14 days.",
    "We ship to most of Europe.",
    "The shop opens at nine.",
    "Gift cards cannot be exchanged for cash.",
]
KILLS = 20


def chunks() -> list[Document]:
    return [
        Document(id=f"chunk-{number}", page_content=text, metadata={"page": number, "source": f"{number % 2}.md"})
        for number, text in enumerate(TEXTS)
    ]


@pytest.fixture(params=["memory", "folder"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "store" if request.param == "folder" else None


def test_a_question_in_other_words_finds_its_answer_with_its_cosine(where: Path | None, minilm: LazyEmbedder) -> None:
    store = create_vector_store(EmbedryEmbeddings(minilm), where)
    store.add_documents(chunks())
    found = store.similarity_search_with_score("When do I get my money back?", k=4)
    assert found[0][0] == chunks()[0]
    cosines = minilm.encode_document(TEXTS) @ minilm.encode_query(["When do I get my money back?"])[0]
    assert [document.page_content for document, _ in found] == [TEXTS[at] for at in np.argsort(-cosines)]
    assert [score for _, score in found] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)
    relevance = store.similarity_search_with_relevance_scores("When do I get my money back?", k=1)
    assert relevance[0][1] == pytest.approx((cosines.max() + 1) / 2, abs=1e-5)
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"page": {"$gt": 0}}})
    assert retriever.invoke("Where do you deliver?")[0].page_content == TEXTS[1]


def test_queries_and_documents_get_their_prompts(checkpoint: Callable[..., Path], where: Path | None) -> None:
    embedder = resolve(checkpoint("bert", prompts={"query": "query: ", "document": "passage: "}))
    store = create_vector_store(EmbedryEmbeddings(embedder), where)
    store.add_documents([Document("a text")])
    assert store.table is not None
    stored = np.array(store.table.to_arrow()["vector"].to_pylist())
    assert np.abs(stored - embedder.encode_document(["a text"])).max() < 1e-6
    score = store.similarity_search_with_score("a text", k=1)[0][1]
    assert score == pytest.approx(float(stored[0] @ embedder.encode_query(["a text"])[0]), abs=1e-5)
    assert score < 0.999


def test_a_new_process_opens_the_folder_and_asks(
    tmp_path: Path, minilm: LazyEmbedder, fresh: Callable[..., CompletedProcess[str]]
) -> None:
    create_vector_store(EmbedryEmbeddings(minilm), tmp_path / "store").add_documents(chunks())
    result = fresh(
        "from embedry_langchain import create_vector_store, get_embeddings\n"
        f"store = create_vector_store(get_embeddings(), {str(tmp_path / 'store')!r})\n"
        "print(store.similarity_search('When do I get my money back?', k=1)[0].model_dump_json())"
    )
    assert json.loads(result.stdout) == json.loads(chunks()[0].model_dump_json())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_seq_length": 64}, "max_seq_length 64 instead of 256"),
        ({"normalize": False}, "normalize False instead of True"),
        ({"precision": "int8"}, "precision 'int8' instead of None"),
    ],
)
def test_a_store_of_another_space_is_refused(
    tmp_path: Path, minilm: LazyEmbedder, options: dict[str, Any], said: str
) -> None:
    create_vector_store(EmbedryEmbeddings(minilm), tmp_path / "store").add_documents(chunks())
    with pytest.raises(SpaceError, match=said) as caught:
        create_vector_store(EmbedryEmbeddings(minilm.name, **options), tmp_path / "store")
    assert "made by 'all-MiniLM-L6-v2'" in str(caught.value)


@pytest.mark.parametrize("change", ["model", "pooling", "dims"])
def test_a_store_of_another_model_pooling_or_dims_is_refused(
    tmp_path: Path, checkpoint: Callable[..., Path], minilm: LazyEmbedder, change: str
) -> None:
    first = resolve(checkpoint("bert"))
    other = {"model": checkpoint("roberta"), "pooling": checkpoint("bert", pooling="cls"), "dims": minilm.name}[change]
    create_vector_store(EmbedryEmbeddings(first), tmp_path / "store").add_documents(chunks())
    with pytest.raises(SpaceError, match="these vectors were made by"):
        create_vector_store(EmbedryEmbeddings(resolve(other)), tmp_path / "store")


def test_embeddings_of_others_and_ours_do_not_mix(tmp_path: Path, minilm: LazyEmbedder) -> None:
    fake = DeterministicFakeEmbedding(size=384)
    create_vector_store(EmbedryEmbeddings(minilm), tmp_path / "ours").add_documents(chunks())
    create_vector_store(fake, tmp_path / "theirs").add_documents(chunks())
    with pytest.raises(SpaceError, match="made by embedry's 'all-MiniLM-L6-v2'"):
        create_vector_store(fake, tmp_path / "ours")
    with pytest.raises(SpaceError, match="made by embeddings of other libraries"):
        create_vector_store(EmbedryEmbeddings(minilm), tmp_path / "theirs")
    with pytest.raises(SpaceError, match="got 12"):
        create_vector_store(DeterministicFakeEmbedding(size=12), tmp_path / "theirs").similarity_search("a")


def test_two_that_open_an_empty_folder_cannot_mix_either(tmp_path: Path, minilm: LazyEmbedder) -> None:
    first = create_vector_store(EmbedryEmbeddings(minilm), tmp_path)
    second = create_vector_store(EmbedryEmbeddings(minilm.name, max_seq_length=64), tmp_path)
    first.add_documents(chunks())
    with pytest.raises(SpaceError, match="max_seq_length"):
        second.add_documents(chunks())


@pytest.mark.parametrize(
    ("asked", "pages"),
    [
        ({"source": "0.md"}, [0, 2]),
        ({"page": 1}, [1]),
        ({"page": 1.0}, [1]),
        ({"page": {"$gt": 0, "$lt": 3}}, [1, 2]),
        ({"page": {"$gte": 3}}, [3]),
        ({"page": {"$lte": 0}}, [0]),
        ({"page": {"$in": [0, 3, "3"]}}, [0, 3]),
        ({"page": {"$nin": [0, 3]}}, [1, 2]),
        ({"page": {"$in": []}}, []),
        ({"source": {"$ne": "0.md"}}, [1, 3]),
        ({"source": {"$gt": "0.md"}}, [1, 3]),
        ({"source": {"$gte": "1"}}, [1, 3]),
        ({"source": {"$lte": "0.md"}}, [0, 2]),
        ({"source": {"$lt": "0.md"}}, []),
        ({"source": {"$gt": 0}}, []),
        ({"page": {"$gt": "0"}}, []),
        ({"$or": [{"page": 0}, {"source": "1.md"}]}, [0, 1, 3]),
        ({"$and": [{"page": {"$gt": 0}}, {"source": "0.md"}]}, [2]),
        ({"$not": {"source": "0.md"}}, [1, 3]),
        ({"missing": 1}, []),
        ({"missing": {"$ne": 1}}, [0, 1, 2, 3]),
        ({"page": {"$exists": True}}, [0, 1, 2, 3]),
        ({"missing": {"$exists": True}}, []),
        ({"odd 'key\"": 'it\'s "é"\n'}, [2]),
        ({"flag": True}, [1]),
        ({"nothing": None}, [3]),
    ],
)
def test_metadata_filters(asked: dict[str, Any], pages: list[int]) -> None:
    documents = chunks()
    documents[1].metadata["flag"] = True
    documents[2].metadata["odd 'key\""] = 'it\'s "é"\n'
    documents[3].metadata["nothing"] = None
    store = create_vector_store(DeterministicFakeEmbedding(size=4))
    store.add_documents(documents)
    assert sorted(document.metadata["page"] for document in store.similarity_search("x", k=9, filter=asked)) == pages


@pytest.mark.parametrize(
    "asked", [{}, "page = 1", {"page": {"$near": 1}}, {"$xor": []}, {"$or": {}}, {"page": [1]}, {"page": {}},
              {"page": {"$gt": None}}, {"page": float("nan")}, {"page": {"$in": "ab"}}]
)  # fmt: skip
def test_a_filter_that_cannot_be_understood_is_told(asked: Any) -> None:
    with pytest.raises(FilterError):
        create_vector_store(DeterministicFakeEmbedding(size=4)).similarity_search("x", filter=asked)


def test_the_same_id_replaces_and_of_two_in_one_call_the_last_stays(where: Path | None) -> None:
    store = create_vector_store(DeterministicFakeEmbedding(size=4), where)
    store.add_documents(chunks())
    again = [Document(id="chunk-1", page_content=text, metadata={"n": n}) for n, text in enumerate(("old", "new"))]
    assert store.add_documents(again) == ["chunk-1", "chunk-1"]
    assert store.table is not None
    assert store.table.count_rows() == len(TEXTS)
    assert store.get_by_ids(["chunk-1"]) == again[1:]
    assert store.similarity_search("new", k=1)[0].page_content == "new", "its vector was replaced too"


def test_delete_by_id_and_quotes_in_ids(where: Path | None) -> None:
    store = create_vector_store(DeterministicFakeEmbedding(size=4), where)
    store.add_texts(["a", "b"], ids=["it's", "x' or 'a' = 'a"])
    store.delete(["x' or 'a' = 'a"])
    assert [document.id for document in store.similarity_search("a", k=9)] == ["it's"]
    with pytest.raises(ValueError, match="ids must be a list"):
        store.delete()


def test_what_cannot_be_kept_is_refused_before_anything_is_added(where: Path | None) -> None:
    store = create_vector_store(DeterministicFakeEmbedding(size=4), where)
    with pytest.raises(ValueError, match="metadata of document 1"):
        store.add_documents([Document("a"), Document("b", metadata={"when": object()})])
    with pytest.raises(ValueError, match="1 ids for 2 documents"):
        store.add_documents([Document("a"), Document("b")], ids=["1"])
    with pytest.raises(TypeError, match="'batchsize'"):
        store.add_documents([Document("a")], batchsize=3)
    assert store.similarity_search("a") == []
    assert store.table is None


def test_a_path_that_is_a_file_and_a_table_of_someone_else_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path / "file")
    import lancedb

    lancedb.connect(tmp_path / "db").create_table("documents", [{"id": "1"}])
    with pytest.raises(SpaceError, match="not a store of embedry"):
        create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path / "db")
    create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path / "db", table="mine").add_texts(["a"])


def test_stores_in_memory_are_apart() -> None:
    first, second = (create_vector_store(DeterministicFakeEmbedding(size=4)) for _ in range(2))
    first.add_texts(["a"])
    assert second.similarity_search("a") == []


def test_unlike_documents_are_chosen_for_their_difference(minilm: LazyEmbedder) -> None:
    store = create_vector_store(EmbedryEmbeddings(minilm))
    store.add_texts([TEXTS[0], "Refunds are paid within fourteen days.", TEXTS[1]])
    asked = "When do I get my money back?"
    assert {document.page_content for document in store.similarity_search(asked, k=2)} == {
        TEXTS[0], "Refunds are paid within fourteen days.",
    }  # fmt: skip
    chosen = store.max_marginal_relevance_search(asked, k=2, lambda_mult=0.3)
    assert TEXTS[1] in {document.page_content for document in chosen}


def test_many_small_writes_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_PARTS", 4)
    store = create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path)
    for number in range(12):
        store.add_texts([f"text {number}"], ids=[str(number)])
    assert store.table is not None
    stats: Any = store.table.stats()
    assert stats["fragment_stats"]["num_fragments"] <= 4
    assert len(store.similarity_search("text", k=99)) == 12


def test_many_threads_and_two_stores_write_to_one_folder(tmp_path: Path) -> None:
    stores = [create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: stores[n % 2].add_texts([f"{n}"], ids=[str(n)]), range(24)))
    for store in stores:
        assert {document.id for document in store.similarity_search("x", k=99)} == {str(n) for n in range(24)}


def test_many_threads_that_begin_a_store_in_memory_lose_nothing() -> None:
    for _ in range(20):
        store = create_vector_store(DeterministicFakeEmbedding(size=4))
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n, store=store: store.add_texts([f"{n}"], ids=[str(n)]), range(6)))  # type: ignore[misc]
        assert {document.id for document in store.similarity_search("x", k=99)} == {str(n) for n in range(6)}


WRITER = """
import sys
from itertools import count
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from embedry_langchain import create_vector_store, tables

tables._MOST_PARTS = 8  # so that parts are joined now and then, and a kill may come in between
store = create_vector_store(DeterministicFakeEmbedding(size=16), sys.argv[1])
for number in count(int(sys.argv[2])):
    ids = [f"{number}-{part}" for part in range(5)]
    store.add_documents([Document(id=each, page_content=f"text {each}", metadata={"n": number}) for each in ids])
    print(number, flush=True)  # acknowledged
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(0)
    acknowledged: list[int] = []
    for _ in range(KILLS):
        start = acknowledged[-1] + 1000 if acknowledged else 0
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged += [int(line) for line in itertools.islice(writer.stdout, 1)]
        time.sleep(chance.random() * 0.3)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in writer.communicate()[0].splitlines()]
        store = create_vector_store(DeterministicFakeEmbedding(size=16), tmp_path / "store")
        ids = [f"{number}-{part}" for number in acknowledged for part in range(5)]
        found = store.get_by_ids(ids)
        assert [document.id for document in found] == ids
        assert [document.metadata["n"] for document in found] == [int(each.split("-")[0]) for each in ids]
    with capsys.disabled():
        print(f"\n{KILLS} kills, {len(acknowledged)} acknowledged writes of 5 documents, none lost")
    store.add_texts(["after all that"], ids=["last"])
    assert store.get_by_ids(["last"])[0].page_content == "after all that"
