"""LangChain's `index` and `aindex` on the store: each way of cleaning up, and what the store then holds."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from embedry_langchain import create_vector_store
from embedry_langchain.lance import LanceVectorStore


def documents(*texts: str) -> list[Document]:
    """Each text is of the source that its first letter names."""
    return [Document(text, metadata={"source": text[0]}) for text in texts]


def contents(store: LanceVectorStore) -> list[str]:
    assert store.table is not None
    return sorted(store.table.to_arrow()["text"].to_pylist())


@dataclass
class Indexing:
    """A store and the record manager that LangChain keeps for it."""

    function: str
    store: LanceVectorStore
    records: InMemoryRecordManager

    def __call__(self, given: list[Document], **options: Any) -> dict[str, int]:
        """Indexes; returns what LangChain counted, without zeros."""
        options |= {"source_id_key": "source", "key_encoder": "sha256", "batch_size": 2}
        if self.function == "index":
            counted = index(given, self.records, self.store, **options)
        else:
            counted = asyncio.run(aindex(given, self.records, self.store, **options))
        return {name.removeprefix("num_"): count for name, count in counted.items() if count}


@pytest.fixture(params=["index", "aindex"])
def indexing(request: pytest.FixtureRequest, tmp_path: Path) -> Indexing:
    store = create_vector_store(DeterministicFakeEmbedding(size=4), tmp_path / "store")
    return Indexing(request.param, store, InMemoryRecordManager("test"))


@pytest.mark.parametrize(
    ("cleanup", "deleted", "left"),
    [
        (None, {}, ["a1", "a2", "a2 changed", "b1", "c1"]),
        ("incremental", {"deleted": 1}, ["a1", "a2 changed", "b1", "c1"]),  # of the sources that were seen
        ("scoped_full", {"deleted": 1}, ["a1", "a2 changed", "b1", "c1"]),
        ("full", {"deleted": 2}, ["a1", "a2 changed", "b1"]),
    ],
)
def test_every_way_of_cleaning_up(indexing: Indexing, cleanup: Any, deleted: dict[str, int], left: list[str]) -> None:
    first = documents("a1", "a2", "b1", "c1")
    assert indexing(first, cleanup=cleanup) == {"added": 4}
    assert indexing(first, cleanup=cleanup) == {"skipped": 4}
    assert contents(indexing.store) == ["a1", "a2", "b1", "c1"]
    assert indexing(documents("a1", "a2 changed", "b1"), cleanup=cleanup) == {"added": 1, "skipped": 2} | deleted
    assert contents(indexing.store) == left


def test_documents_are_written_again_where_that_is_asked(indexing: Indexing) -> None:
    indexing(documents("a1", "b1"))
    assert indexing(documents("a1", "b1"), force_update=True) == {"updated": 2}
    assert contents(indexing.store) == ["a1", "b1"]


def test_an_option_that_does_not_exist_is_still_an_error(indexing: Indexing) -> None:
    with pytest.raises(TypeError, match="no option 'namespace'"):
        indexing(documents("a1"), upsert_kwargs={"namespace": "x"})
    assert indexing.store.table is None
