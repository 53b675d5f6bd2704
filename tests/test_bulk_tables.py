"""`EmbedTable`: Arrow in, Arrow out, for the functions that pipelines of others call on their batches."""

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bulk_jobs import MODEL, texts
from embedry import Space, SpaceError, UnknownOptionError, resolve
from embedry.views import LazyEmbedder
from embedry_bulk import EmbedTable, InputError

pytestmark = pytest.mark.usefixtures("minilm_folder")


@pytest.fixture(scope="module")
def space(minilm: LazyEmbedder) -> Space:
    return Space.of(minilm)


def stacked(table: pa.Table, column: str = "embedding") -> Any:
    return np.stack([np.asarray(vector) for vector in table.column(column).to_pylist()])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_a_table_with_its_vectors(kind: pa.DataType, space: Space, minilm: LazyEmbedder) -> None:
    made = pa.table({"id": [1, 2, 3], "text": pa.array(texts(3)).cast(kind)}).replace_schema_metadata({"a": "b"})
    table = EmbedTable(space)(made)
    assert table.schema.names == ["id", "text", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    assert table.drop("embedding").equals(made, check_metadata=True)
    np.testing.assert_allclose(stacked(table), minilm.encode_document(texts(3)), rtol=0, atol=1e-6)
    in_chunks = pa.concat_tables([made.slice(0, 1), made.slice(1)])
    np.testing.assert_array_equal(stacked(EmbedTable(space)(in_chunks)), stacked(table))


def test_roles_and_names(minilm: LazyEmbedder, checkpoint: Any) -> None:
    table = EmbedTable(Space.of(minilm), role="query", column="body", vector_column="v")(pa.table({"body": texts(2)}))
    assert table.schema.names == ["body", "v"]
    np.testing.assert_allclose(stacked(table, "v"), minilm.encode_query(texts(2)), rtol=0, atol=1e-6)
    small = resolve(checkpoint("bert", prompts={"query": "query: ", "document": "passage: "}))
    for role in ("query", "document"):
        found = EmbedTable(Space.of(small), role=role)(pa.table({"text": texts(2)}))
        np.testing.assert_allclose(stacked(found), small.encode(texts(2), role=role), rtol=0, atol=1e-6)


def test_the_vector_of_a_null_is_null(space: Space, minilm: LazyEmbedder) -> None:
    for values in ([None, *texts(2), None], [None], [None, ""]):
        for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string())):
            table = EmbedTable(space)(pa.table({"text": pa.array(values, pa.string()).cast(kind)}))
            found = table.column("embedding").to_pylist()
            assert [each is None for each in found] == [value is None for value in values]
            given = [value for value in values if value is not None]
            if given:
                right = minilm.encode_document(given)
                np.testing.assert_allclose([each for each in found if each], right, rtol=0, atol=1e-6)
    table = EmbedTable(space)(pa.table({"text": pa.nulls(2)}))
    assert table.column("embedding").null_count == 2
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)


def test_no_rows(space: Space) -> None:
    for kind in (pa.string(), pa.null()):
        table = EmbedTable(space)(pa.table({"text": pa.array([], kind)}))
        assert table.num_rows == 0
        assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    joined = pa.concat_tables(
        [table.select(["embedding"]), EmbedTable(space)(pa.table({"text": ["a"]})).select(["embedding"])]
    )
    assert joined.num_rows == 1


def test_record_batches_as_spark_and_others_give_them(space: Space, minilm: LazyEmbedder) -> None:
    batch = pa.record_batch({"text": texts(2)})
    table = EmbedTable(space)(pa.Table.from_batches([batch]))
    assert EmbedTable(space)(batch).equals(table.to_batches()[0])


def test_it_pickles_as_its_arguments(space: Space) -> None:
    embed = EmbedTable(space, role="query", column="t", vector_column="v", threads=1)
    content = pickle.dumps(embed)
    assert len(content) < 1000  # no model
    again = pickle.loads(content)
    assert vars(again) == vars(embed)
    np.testing.assert_array_equal(
        stacked(again(pa.table({"t": texts(2)})), "v"), stacked(embed(pa.table({"t": texts(2)})), "v")
    )


def test_what_is_no_column_of_texts_is_refused(space: Space) -> None:
    def refusal(table: pa.Table, **settings: Any) -> str:
        with pytest.raises(InputError) as caught:
            EmbedTable(space, **settings)(table)
        return str(caught.value)

    table = pa.table({"id": [1], "text": ["a"]})
    assert "needs a column 'body' and must have none named 'embedding'; this one has id, text" in refusal(
        table, column="body"
    )
    assert "must have none named 'id'; this one has id, text" in refusal(table, vector_column="id")
    assert refusal(table, column="id") == "the column 'id' must hold strings, and holds int64"
    bad = pa.table({"text": pa.array([b"a", b"\xff"]).view(pa.string())})
    assert "the column 'text' has a text that is not UTF-8" in refusal(bad)


def test_another_space_is_refused(space: Space) -> None:
    from dataclasses import replace

    for other in (replace(space, fingerprint="f" * 24), replace(space, model="bge-small-en-v1.5")):
        with pytest.raises(SpaceError, match="cannot be compared with those of"):
            EmbedTable(other)(pa.table({"text": ["a"]}))
    with pytest.raises(SpaceError):
        EmbedTable(space, precision="int8")(pa.table({"text": ["a"]}))
    with pytest.raises(UnknownOptionError):
        EmbedTable(space, colour="red")(pa.table({"text": ["a"]}))  # type: ignore[call-arg]


def test_datasets_map_it_over_their_batches(space: Space, minilm: LazyEmbedder) -> None:
    import datasets

    found = datasets.Dataset.from_dict({"id": list(range(5)), "text": texts(5)})
    mapped = found.with_format("arrow").map(EmbedTable(space), batched=True, batch_size=2).with_format("numpy")
    assert mapped.column_names == ["id", "text", "embedding"]
    np.testing.assert_allclose(np.stack(list(mapped["embedding"])), minilm.encode_document(texts(5)), rtol=0, atol=1e-6)


def test_the_model_is_loaded_by_the_first_call_and_shared_with_the_process(space: Space) -> None:
    resolve(MODEL).unload()
    embed = EmbedTable(space)
    assert not resolve(MODEL).loaded
    embed(pa.table({"text": ["a"]}))
    assert resolve(MODEL).loaded
