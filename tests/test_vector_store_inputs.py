"""What the vector store is given: everything that would not come back as it was is refused before anything is embedded."""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from embedry import SpaceError, TextError, TextTypeError
from embedry.errors import BackendContractError
from embedry_langchain import create_vector_store, vectors
from embedry_langchain.filters import FilterError
from embedry_langchain.lance import LanceVectorStore


class Given(Embeddings):
    """Foreign embeddings: the vectors that a test gives for texts, and a record of what was embedded."""

    def __init__(self, made: Callable[[list[str]], Any], query: Any = None) -> None:
        self.made = made
        self.query = [1.0, 0.0] if query is None else query
        self.texts: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += texts
        return self.made(texts)  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self.query  # type: ignore[no-any-return]


def right(texts: list[str]) -> list[list[float]]:
    return [[1.0, float(len(text))] for text in texts]


@pytest.fixture
def embeddings() -> Given:
    return Given(right)


@pytest.fixture
def store(embeddings: Given) -> LanceVectorStore:
    """Ten documents, "0" to "9"."""
    store = create_vector_store(embeddings)
    store.add_texts(list("abcdefghij"), ids=list("0123456789"))
    embeddings.texts.clear()
    return store


def contents(store: LanceVectorStore) -> dict[str, str]:
    table = store.table
    return {} if table is None else {row["id"]: row["text"] for row in table.to_arrow().to_pylist()}


WRONG_IDS = [
    ("12", r"got '12'; write \['12'\] for one id"),
    (b"12", "got b'12'"),
    (7, r"got 7; write \['7'\] for one id"),
    ({"1": 2}, "got {'1': 2}"),
    ([1, 2], r"ids\[0\] must be a str, got 1; write '1'"),
    (["1", True], r"ids\[1\] must be a str, got True"),
    (("1", 2.0), r"ids\[1\] must be a str, got 2.0"),
]


@pytest.mark.parametrize(("ids", "said"), [*WRONG_IDS, (["1", None], r"ids\[1\] must be a str, got None")])
def test_ids_of_what_is_stored_are_a_list_of_str(store: LanceVectorStore, ids: Any, said: str) -> None:
    before = contents(store)
    for call in (store.delete, store.get_by_ids):
        with pytest.raises(TypeError, match=said):
            call(ids)
    for awaited in (store.adelete, store.aget_by_ids):
        with pytest.raises(TypeError, match=said):
            asyncio.run(awaited(ids))  # type: ignore[operator]
    assert contents(store) == before


@pytest.mark.parametrize(("ids", "said"), [*WRONG_IDS, ({"1", "2"}, "in the order of the documents, got set")])
def test_ids_of_new_documents_are_a_list_of_str(
    store: LanceVectorStore, embeddings: Given, ids: Any, said: str
) -> None:
    before = contents(store)
    documents = [Document("x"), Document("y")]
    calls: list[Callable[[], object]] = [
        lambda: store.add_documents(documents, ids=ids),
        lambda: store.add_texts(["x", "y"], ids=ids),
        lambda: LanceVectorStore.from_texts(["x", "y"], embeddings, ids=ids),
        lambda: LanceVectorStore.from_documents(documents, embeddings, ids=ids),
        lambda: asyncio.run(store.aadd_documents(documents, ids=ids)),
        lambda: asyncio.run(store.aadd_texts(["x", "y"], ids=ids)),
        lambda: asyncio.run(LanceVectorStore.afrom_texts(["x", "y"], embeddings, ids=ids)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=said):
            call()
    assert embeddings.texts == []
    assert contents(store) == before


def test_the_id_of_a_document_is_a_str(store: LanceVectorStore, embeddings: Given) -> None:
    document = Document("x")
    document.id = 5  # type: ignore[assignment]  # LangChain checks only what it is made with
    with pytest.raises(TypeError, match="the id of document 1 must be a str, got 5; write '5'"):
        store.add_documents([Document("y"), document])
    assert embeddings.texts == []


def test_none_stands_for_a_new_id(store: LanceVectorStore) -> None:
    first, second = store.add_documents([Document("x"), Document("y", id="own")], ids=["mine", None])
    assert first == "mine"
    assert second not in ("own", "", None)
    (third, fourth) = store.add_documents([Document("z"), Document("w", id="own")])
    assert fourth == "own"
    added = {first: "x", second: "y", third: "z", fourth: "w"}
    assert contents(store) == {**dict(zip("0123456789", "abcdefghij", strict=True)), **added}


def test_any_list_of_ids_is_taken(store: LanceVectorStore) -> None:
    assert [each.id for each in store.get_by_ids(np.array(["3", "1"]))] == ["3", "1"]  # type: ignore[arg-type]
    store.delete(each for each in ("1", "2"))  # type: ignore[arg-type]
    store.delete({"3"})  # type: ignore[arg-type]
    assert sorted(contents(store)) == ["0", "4", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda store: store.add_texts("abc"), TextTypeError, "write \\[text\\] for a single text"),
        (lambda store: store.add_texts(["a", 5]), TextTypeError, "text 1 must be a str"),
        (lambda store: store.add_texts(["a", "b"], ids=["1"]), ValueError, "1 ids for 2 documents"),
        (lambda store: store.add_texts(["a", "b"], [{}]), ValueError, "1 metadatas for 2 texts"),
        (lambda store: store.add_texts(["a", "b\ud800"]), TextError, "text 1 has a lone surrogate"),
        (lambda store: store.add_texts(["a"], ids=["\ud800"]), ValueError, r"ids\[0\] has a lone surrogate"),
        (
            lambda store: store.add_documents([Document("a", id="\udfff")]),
            ValueError,
            "the id of document 0 has a lone",
        ),
        (lambda store: store.add_documents(Document("a")), TypeError, "write \\[document\\]"),
        (lambda store: store.add_documents([Document("a"), "b"]), TypeError, "got str at position 1; use add_texts"),
        (lambda store: store.get_by_ids(["\ud800"]), ValueError, r"ids\[0\] has a lone surrogate"),
    ],
)
def test_texts_and_documents_that_are_something_else(
    store: LanceVectorStore, embeddings: Given, call: Callable[[LanceVectorStore], Any], error: type, said: str
) -> None:
    before = contents(store)
    with pytest.raises(error, match=said):
        call(store)
    assert embeddings.texts == []
    assert contents(store) == before


def test_all_texts_of_a_generator_are_added(embeddings: Given) -> None:
    store = create_vector_store(embeddings)
    store.add_texts((text for text in ("x", "y")), ids=["1", "2"])
    assert contents(store) == {"1": "x", "2": "y"}


def nested(levels: int) -> Any:
    value: Any = "inside"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"size": 2**64}, r"metadata\['size'\] is an integer below -2\*\*63 or above"),
        ({"size": -(2**63) - 1}, r"metadata\['size'\] is an integer below"),
        ({"size": 10**21 + 1}, r"metadata\['size'\] is an integer below"),
        ({"size": 10**400}, r"metadata\['size'\] is an integer below"),
        ({"size": 10**10_000}, r"metadata\['size'\] is an integer below"),
        ({"a": [1, {"b": math.nan}]}, r"metadata\['a'\]\[1\]\['b'\] is nan, which JSON does not have"),
        ({"a": -math.inf}, r"metadata\['a'\] is -inf"),
        ({"title": "\ud83d"}, r"metadata\['title'\] has a lone surrogate"),
        ({"\udc00": 1}, r"the key '\\udc00' of metadata has a lone surrogate"),
        ({"a": {1: "x", "1": "y"}}, r"metadata\['a'\] has the key 1, .* write '1'"),
        ({"a": {None: "x"}}, "has the key None"),
        ({"a": (1, 2)}, r"metadata\['a'\] is a tuple, .* convert it, to a list"),
        ({"a": {1, 2}}, r"metadata\['a'\] is a set"),
        ({"a": b"x"}, r"metadata\['a'\] is a bytes"),
        ({"a": np.int64(3)}, r"metadata\['a'\] is a int64"),
        ({"a": Path("x")}, r"metadata\['a'\] is a PosixPath"),
        ({"a": nested(500)}, "is nested more than 500 levels deep; flatten it"),
        (None, "metadata must be a dict, got NoneType"),
    ],
)
def test_metadata_that_would_not_come_back_is_refused(
    store: LanceVectorStore, embeddings: Given, metadata: Any, said: str
) -> None:
    before = contents(store)
    document = Document("b")
    document.metadata = metadata
    with pytest.raises(ValueError, match=f"the metadata of document 1 cannot be stored: .*{said}"):
        store.add_documents([Document("a"), document])
    assert embeddings.texts == []
    assert contents(store) == before


def test_metadata_that_contains_itself_is_refused(store: LanceVectorStore) -> None:
    metadata: dict[str, Any] = {}
    metadata["again"] = metadata
    document = Document("b")
    document.metadata = metadata
    with pytest.raises(ValueError, match=r"the metadata of document 0 cannot be stored: .* is nested more than"):
        store.add_documents([document])


def test_all_other_metadata_comes_back_as_it_was(store: LanceVectorStore) -> None:
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    metadata = {
        "": "an empty key", "true": True, "none": None, "zero": -0.0, "integers": [-(2**63), 2**63, 2**64 - 1, 0],
        "floats": [1.7976931348623157e308, 5e-324, 0.1, 1e22, 1e16, 2.0**53], "every character": characters,
        "empty": [[], {}, ""], 'odd "key"\n\0': {"$in": 3, "1": 1, "1.0": 2}, "deep": nested(499),
    }  # fmt: skip
    store.add_documents([Document("x", id="x", metadata=metadata)])
    (found,) = store.get_by_ids(["x"])
    assert found.metadata == metadata
    assert repr(dict(sorted(found.metadata.items()))) == repr(dict(sorted(metadata.items()))), "types and signs too"


def replaced(position: int, value: Any) -> Callable[[list[str]], Any]:
    """Right vectors but for one."""
    return lambda texts: [value if text == f"text {position}" else [1.0, 2.0] for text in texts]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda texts: right(texts)[: 2 if "text 8" in texts else None],
            "2 vectors for 3 texts, .* from document 8 on",
        ),
        (lambda texts: [[1.0, 2.0]] * 6, "6 vectors for 4 texts, those from document 0 on"),
        (lambda texts: [], "0 vectors for 4 texts"),
        (replaced(9, [math.inf, 1.0]), "document 9: it has values that are not finite"),
        (replaced(9, [math.nan, 1.0]), "document 9: it has values that are not finite"),
        (replaced(5, [1e39, 1.0]), "document 5: it has values that are not finite float32 numbers"),
        (replaced(5, [0.0, 0.0]), "document 5: it is zero"),
        (replaced(5, [1e-30, 0.0]), "document 5: it is zero"),
        (replaced(5, [1e30, 0.0]), "document 5: it is too long"),
        (replaced(5, [1.0, 2.0, 3.0]), "document 5: it has 3 dims, and the first one has 2"),
        (replaced(0, []), "document 0: it is not a list of numbers"),
        (replaced(5, None), "document 5: it is not a list of numbers"),
        (replaced(5, [10**400, 1]), "document 5: it is not a list of numbers"),
        (replaced(5, ["1", "x"]), "document 5: it is not a list of numbers"),
        (replaced(5, [[1.0, 2.0]]), "document 5: it is not a list of numbers"),
    ],
)
def test_vectors_of_foreign_embeddings_are_checked_before_any_is_stored(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[list[str]], Any], said: str
) -> None:
    monkeypatch.setattr(vectors, "_BLOCK", 4)
    store = create_vector_store(Given(made))
    with pytest.raises(BackendContractError, match=f"Given returned .*{said}.*; nothing was stored"):
        store.add_texts([f"text {number}" for number in range(11)])
    assert store.table is None


def test_the_position_of_a_vector_is_that_of_its_document_where_ids_repeat() -> None:
    store = create_vector_store(Given(replaced(3, [0.0, 0.0])))
    with pytest.raises(BackendContractError, match="document 3: it is zero"):
        store.add_texts([f"text {number}" for number in range(5)], ids=["a", "a", "a", "b", "c"])


def test_each_text_of_foreign_embeddings_gets_its_own_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BLOCK", 4)
    store = create_vector_store(Given(lambda texts: np.array([[1.0, float(text)] for text in texts])))
    store.add_texts([str(number) for number in range(11)])
    assert store.table is not None
    assert {row["text"]: row["vector"] for row in store.table.to_arrow().to_pylist()} == {
        str(number): [1.0, number] for number in range(11)
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [([math.nan, 1.0], "not finite"), ([1.0, math.inf], "not finite"), ([0.0, 0.0], "is zero"), ("ab", "not a list")],
)
def test_a_vector_to_search_for_is_checked(store: LanceVectorStore, embeddings: Given, query: Any, said: str) -> None:
    embeddings.query = query
    calls: list[Callable[[], object]] = [
        lambda: store.similarity_search("x"),
        lambda: store.max_marginal_relevance_search("x"),
        lambda: asyncio.run(store.asimilarity_search_with_score("x")),
    ]
    for call in calls:
        with pytest.raises(BackendContractError, match=f"Given returned an invalid vector for the query: .*{said}"):
            call()
    for by_vector in (store.similarity_search_by_vector, store.max_marginal_relevance_search_by_vector):
        with pytest.raises(ValueError, match=f"invalid vector to search for: .*{said}"):
            by_vector(query)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"": 1}, "a key must be a str that is not empty, got ''"),
        ({1: 1}, "a key must be a str that is not empty, got 1"),
        ({"\ud800": 1}, "lone surrogate"),
        ({"key": "\ud800"}, "lone surrogate"),
        ({"key": {"$gt": "\ud800"}}, "lone surrogate"),
        ({"key": {"$in": ["\ud800"]}}, "lone surrogate"),
        ({"key": 10**400}, "got an int of 1329 bits"),
        ({"key": {"$lt": -(10**10_000)}}, "got an int of 33220 bits"),
    ],
)
def test_a_filter_that_lancedb_cannot_be_asked(store: LanceVectorStore, asked: Any, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        store.similarity_search("x", filter=asked)


def test_filters_are_nested_eight_levels_deep_and_no_deeper() -> None:
    store = create_vector_store(Given(right))
    store.add_texts(["x"], [{"page": 3, "tag": "t"}])

    def filtered(levels: int, combine: Callable[[Any], Any]) -> int:
        asked: Any = {"page": {"$gte": 3, "$nin": [1, "x"], "$ne": 5}, "tag": {"$gte": "a", "$lte": "z"}}
        for _ in range(levels):
            asked = combine(asked)
        return len(store.similarity_search("x", filter=asked))

    combinations: list[Callable[[Any], Any]] = [
        lambda inside: {"$not": inside},
        lambda inside: {"$and": [inside]},
        lambda inside: {"page": {"$ne": 1}, "$or": [{"page": 9}, inside]},
    ]
    for combine in combinations:
        assert filtered(8, combine) == 1
        for levels in (9, 50, 5000):
            with pytest.raises(FilterError, match="at most 8 levels deep"):
                filtered(levels, combine)
    assert filtered(7, combinations[0]) == 0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (2**53 + 1, ["b"]),
        (1234567890123456788, []),
        (1234567890123456789, ["d"]),
        ({"$in": [2**53, 2**64 - 1]}, ["a", "e"]),
        ({"$gt": 2**53 + 1}, ["c", "d", "e", "f"]),
        ({"$lte": 2**53 + 1}, ["a", "b", "g"]),
        ({"$gte": -(2**63)}, ["a", "b", "c", "d", "e", "f", "g"]),
        ({"$lt": 10**30}, ["a", "b", "c", "d", "e", "g"]),
        ({"$lt": 10**50}, ["a", "b", "c", "d", "e", "g"]),
    ],
)
def test_large_integers_are_compared_exactly(asked: Any, found: list[str]) -> None:
    store = create_vector_store(Given(right))
    numbers = [2**53, 2**53 + 1, 2**53 + 2, 1234567890123456789, 2**64 - 1, 1e300, 0.5]
    store.add_texts(list("abcdefg"), [{"number": number} for number in numbers])
    hits = store.similarity_search("x", k=9, filter={"number": asked})
    assert sorted(hit.page_content for hit in hits) == found


@pytest.mark.parametrize(
    "path", ["s3://bucket/x", Path("s3://bucket/x"), "gs://b", "file:///tmp/x", "db://name", "memory://"]
)
def test_a_url_is_not_taken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embeddings: Given, path: str | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"path must be a local folder, got the URL .* table= .* lancedb\.connect"):
        create_vector_store(embeddings, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["{", "[1]", '"x"', "5", '{"model": "m"}', "true", "", "[" * 100_000])
def test_a_table_with_a_damaged_space_is_told(tmp_path: Path, embeddings: Given, kept: str) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("vector", pa.list_(pa.float32(), 2)),
                        ("metadata", pa.string())]).with_metadata({"embedry.space": kept})  # fmt: skip
    lancedb.connect(tmp_path).create_table("documents", schema=schema)
    with pytest.raises(SpaceError, match=r"'documents' .* does not say which embeddings made its vectors") as caught:
        create_vector_store(embeddings, tmp_path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("vector", [None, pa.string(), pa.list_(pa.float32())])
def test_a_table_without_our_columns_is_told(tmp_path: Path, embeddings: Given, vector: pa.DataType | None) -> None:
    names = ["id", "text", "metadata"]
    schema = pa.schema([(name, pa.string()) for name in names] + ([("vector", vector)] if vector else []))
    lancedb.connect(tmp_path).create_table("documents", schema=schema.with_metadata({"embedry.space": "null"}))
    with pytest.raises(SpaceError, match=r"'documents' .* is not a store of embedry; choose another with table="):
        create_vector_store(embeddings, tmp_path)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, embeddings: Given) -> None:
    create_vector_store(embeddings, tmp_path).add_texts(["a"])
    for manifest in (tmp_path / "documents.lance" / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"damaged")
    with pytest.raises(SpaceError, match=r"the table 'documents' in .* cannot be opened: .*; restore it"):
        create_vector_store(embeddings, tmp_path)


def test_a_folder_in_place_of_the_table_is_named_and_kept(tmp_path: Path, embeddings: Given) -> None:
    other = tmp_path / "documents.lance" / "notes.txt"
    other.parent.mkdir()
    other.write_text("of someone else")
    with pytest.raises(SpaceError, match=r"documents.lance.*; move away what is there, or choose another table="):
        create_vector_store(embeddings, tmp_path).add_texts(["a"])
    assert [path.name for path in tmp_path.rglob("*")] == ["documents.lance", "notes.txt"]


def test_awaited_calls_do_what_the_others_do(tmp_path: Path, embeddings: Given) -> None:
    async def used() -> list[Any]:
        store = await LanceVectorStore.afrom_texts(["one", "three"], embeddings, ids=["1", "3"], path=tmp_path)
        await store.aadd_documents([Document("fifteen", id="15", metadata={"page": 2})])
        await store.aadd_texts(["six"], [{"page": 3}], ids=["6"])
        await store.adelete(["1"])
        found = await store.asimilarity_search("x", k=1, filter={"page": 2})
        scored = await store.asimilarity_search_with_score("x", k=9)
        mixed = await store.amax_marginal_relevance_search("x", k=3)
        by_id = await store.aget_by_ids(["6", "1", "3"])
        return [found, sorted(each.id for each, _ in scored), len(mixed), [each.id for each in by_id]]

    document = Document("fifteen", id="15", metadata={"page": 2})
    assert asyncio.run(used()) == [[document], ["15", "3", "6"], 3, ["6", "3"]]
    again = create_vector_store(embeddings, tmp_path)
    with pytest.raises(TypeError, match="no option 'limit'"):
        asyncio.run(again.asimilarity_search("x", limit=3))
