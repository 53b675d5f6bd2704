"""Bulk jobs of sparse and multi-vector models: what they write, which readers take it, and what is refused or found wrong."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from bulk_jobs import bulk, computed, contents, finished, planned, rejected, result, rows, texts, written
from embedry import ModelSpec, Normalize, Pooling, Space, SparseVectors, resolve_multi_vector, resolve_sparse
from embedry_bulk import (
    EmbedTable,
    Plan,
    PlanError,
    Problem,
    decoded,
    done_shards,
    records,
    sparse_vectors,
    token_vectors,
    verify,
)
from kind_folders import WIDTH
from kind_models import registered

TERMS = "struct<indices: list<element: int32>, values: list<element: float>>"


@pytest.fixture
def sparse(root: Path) -> ModelSpec:
    return registered(root, "sparse")


@pytest.fixture
def tokens(root: Path) -> ModelSpec:
    return registered(root, "multi_vector", "bert, expansion")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return written(tmp_path / "in.parquet", rows(7))


def job(inputs: Path, to: Path, model: ModelSpec, **settings: Any) -> Plan:
    """A job in shards of three rows, computed."""
    return finished(inputs, to, model=model.name, **{"shard_rows": 3} | settings)


def dense(vectors: SparseVectors) -> Any:
    """All weights: one that is 0 in one batch may be a hair above it in another."""
    return vectors.to_dense()


def test_a_job_has_the_weights_of_the_model_and_all_columns(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    plan = job(inputs, tmp_path / "out", sparse)
    table = result(plan)
    assert table.column("id").to_pylist() == list(range(7))
    assert str(table.schema.field("embedding").type) == TERMS
    found = sparse_vectors(table.column("embedding"), table.schema.metadata)
    expected = resolve_sparse(sparse.name).encode(texts(7), role="document")
    assert len(expected.indices) > 7 * 20
    np.testing.assert_allclose(dense(found), dense(expected), atol=2e-5)
    assert json.loads(table.schema.metadata[b"embedry.space"])["kind"] == "sparse"
    assert Space.from_dict(json.loads(table.schema.metadata[b"embedry.space"])) == Space.of(resolve_sparse(sparse.name))
    assert list(verify(plan)) == []
    again = job(inputs, tmp_path / "again", sparse)
    assert contents(Path(again.url)) == contents(Path(plan.url)), "the same bytes"


def test_ids_of_terms_are_compressed_and_weights_are_not(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    plan = job(inputs, tmp_path / "out", sparse)
    group = pq.ParquetFile(Path(plan.url, "data/train-00000-of-00003.parquet")).metadata.row_group(0)
    columns = (group.column(place) for place in range(group.num_columns))
    compression = {column.path_in_schema: column.compression for column in columns}
    assert compression["embedding.values.list.element"] == "UNCOMPRESSED"
    assert compression["embedding.indices.list.element"] == "ZSTD"


def test_a_job_has_the_vectors_of_tokens(inputs: Path, tokens: ModelSpec, tmp_path: Path) -> None:
    for role in ("document", "query"):
        plan = job(inputs, tmp_path / role, tokens, role=role)
        table = result(plan)
        found = token_vectors(table.column("embedding"), table.schema.metadata)
        expected = resolve_multi_vector(tokens.name).encode(texts(7), role=role)
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        np.testing.assert_allclose(found.values, expected.values, atol=2e-5)
        assert table.schema.field("embedding").type.value_type == pa.list_(pa.float32(), 16)
        assert list(verify(plan)) == []
    variable = result(job(inputs, tmp_path / "variable", tokens, lists="variable"))
    assert variable.schema.field("embedding").type.value_type == pa.list_(pa.float32())
    again = token_vectors(variable.column("embedding"), variable.schema.metadata)
    assert again.values.shape == (len(again.values), 16)


def test_readers_take_sparse_vectors(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    import datasets
    import duckdb
    import polars

    plan = job(inputs, tmp_path / "out", sparse)
    table = result(plan)
    expected = table.column("embedding").to_pylist()
    pattern = f"{plan.url}/data/*.parquet"
    query = f"SELECT embedding.indices, embedding['values'] FROM '{pattern}' ORDER BY id"
    by_duckdb = [{"indices": ids, "values": weights} for ids, weights in duckdb.sql(query).fetchall()]
    assert by_duckdb == expected
    by_polars = polars.read_parquet(f"{plan.url}/data").sort("id")
    assert by_polars["embedding"].to_list() == expected
    assert by_polars["embedding"].struct.field("indices").dtype == polars.List(polars.Int32)
    by_datasets = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(tmp_path / "cache"))
    assert by_datasets[3]["embedding"] == expected[3]
    by_pandas = table.to_pandas()["embedding"][3]
    assert [by_pandas[name].tolist() for name in ("indices", "values")] == list(expected[3].values())


def test_a_vector_store_finds_by_sparse_vectors(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    table = result(job(inputs, tmp_path / "out", sparse))
    client = QdrantClient(":memory:")
    client.create_collection("texts", vectors_config={}, sparse_vectors_config={"terms": models.SparseVectorParams()})
    points = [
        models.PointStruct(id=row["id"], payload={}, vector={"terms": models.SparseVector(**row["embedding"])})
        for row in table.to_pylist()
    ]
    client.upsert("texts", points)
    embedder = resolve_sparse(sparse.name)
    indices, values = embedder.encode_query([texts(7)[3]])[0]
    query = models.SparseVector(indices=indices.tolist(), values=values.tolist())
    found = client.query_points("texts", query=query, using="terms", limit=7).points
    scores = embedder.encode_query([texts(7)[3]]).dot(embedder.encode_document(texts(7)))[0]
    assert [point.id for point in found] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose([point.score for point in found], np.sort(scores)[::-1], rtol=1e-4)


def test_a_table_of_lancedb_has_them(inputs: Path, sparse: ModelSpec, tokens: ModelSpec, tmp_path: Path) -> None:
    import lancedb

    for model in (sparse, tokens):
        plan = job(inputs, tmp_path / model.name, model, output="lancedb")
        table = lancedb.connect(plan.url).open_table("vectors").to_arrow().sort_by("row_number")
        expected = result(job(inputs, tmp_path / f"{model.name} as parquet", model))
        assert table.column("embedding").to_pylist() == expected.column("embedding").to_pylist()
        assert list(verify(plan)) == []


def test_the_command_plans_runs_and_verifies(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    to = tmp_path / "out"
    outcome = bulk("run", inputs, "--to", to, "--model", sparse.name, "--kind", "sparse", "--shard-rows", "3")
    assert outcome.code == 0, outcome.err
    status = json.loads(bulk("status", to, "--json").out)
    assert (status["kind"], status["rows_written"], status["shards_done"]) == ("sparse", 7, 3)
    before = contents(to)
    (to / "data/train-00001-of-00003.parquet").unlink()
    assert bulk("run", to).code == 0
    assert contents(to) == before
    assert bulk("verify", to).out == "no problems: 3 shards, 7 rows\n"
    outcome = bulk("run", to, "--kind", "sparse")
    assert outcome.code == 2
    assert "--kind cannot be changed" in outcome.err


def test_a_kind_is_chosen_where_a_model_gives_several(root: Path, inputs: Path, tmp_path: Path) -> None:
    chain = registered(root, "multi_vector").chain
    model = registered(
        root, "multi_vector", name="several", repo="acme/several",
        chain=(Pooling(mode="mean"), Normalize()), dims=WIDTH, other_chains=(chain,),
    )  # fmt: skip
    assert decoded(*column_of(job(inputs, tmp_path / "dense", model))).shape == (7, WIDTH)
    plan = job(inputs, tmp_path / "tokens", model, kind="multi_vector")
    assert token_vectors(*column_of(plan)).dims == 16
    with pytest.raises(PlanError) as caught:
        planned(inputs, tmp_path / "tokens", model=model.name, shard_rows=3)
    here, asked = plan.job.space.fingerprint, planned(inputs, tmp_path / "d", model=model.name).job.space.fingerprint
    assert (
        f"space is several (multi_vector, 16 dims, {here}), but several (32 dims, {asked}) was requested"
        in str(caught.value)
    )  # fmt: skip
    with pytest.raises(PlanError, match="'several' gives no sparse vectors; choose another model, or --kind dense"):
        planned(inputs, tmp_path / "sparse", model=model.name, kind="sparse")


def column_of(plan: Plan) -> tuple[pa.ChunkedArray, Any]:
    """The vectors of a job and the metadata that says what they are."""
    table = result(plan)
    return table.column("embedding"), table.schema.metadata


def test_what_is_for_dense_vectors_alone_is_refused(
    inputs: Path, sparse: ModelSpec, tokens: ModelSpec, root: Path, tmp_path: Path
) -> None:
    for model, settings, message in (
        (sparse, {"encoding": "int8"}, "--encoding int8 is for dense vectors; those of a sparse model are stored as float32"),
        (tokens, {"encoding": "float16"}, "--encoding float16 is for dense vectors; those of a multi_vector model"),
        (sparse, {"output": "npy"}, "npy holds vectors of one length, and not those of a sparse model"),
        (sparse, {"lists": "variable"}, "--list is for vectors of one length"),
        (registered(root, "reranker"), {}, "'tiny-reranker' is a reranker, which does not make vectors to store"),
    ):  # fmt: skip
        with pytest.raises(PlanError) as caught:
            planned(inputs, tmp_path / "out", model=model.name, **settings)
        assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_column_is_read_as_what_it_is(inputs: Path, sparse: ModelSpec, tokens: ModelSpec, tmp_path: Path) -> None:
    by_kind = {model.kind: column_of(job(inputs, tmp_path / model.kind, model)) for model in (sparse, tokens)}
    with pytest.raises(ValueError, match="has the vectors of a sparse model; read it with sparse_vectors"):
        decoded(*by_kind["sparse"])
    with pytest.raises(ValueError, match="has the vectors of a sparse model, and not of a multi_vector one"):
        token_vectors(*by_kind["sparse"])
    column, metadata = by_kind["sparse"]
    part = sparse_vectors(column.combine_chunks().slice(2, 3), metadata)
    np.testing.assert_array_equal(dense(part), dense(sparse_vectors(column, metadata))[2:5])
    column, metadata = by_kind["multi_vector"]
    part_of_tokens = token_vectors(column.combine_chunks().slice(2, 3), metadata)
    np.testing.assert_array_equal(part_of_tokens[0], token_vectors(column, metadata)[2])


def test_texts_that_are_too_long_are_rejected_by_their_role(root: Path, tokens: ModelSpec, tmp_path: Path) -> None:
    found = [{"id": 0, "text": "short"}, {"id": 1, "text": "river " * 30}, {"id": 2, "text": "the end"}]
    inputs = written(tmp_path / "in.jsonl", found)
    plan = job(inputs, tmp_path / "out", tokens, role="query", on_overflow="reject")
    assert rejected(plan) == [("in.jsonl", 1, "longer than the 24 tokens that the model reads")]
    assert len(token_vectors(*column_of(plan))) == 2
    sparse = registered(root, "sparse")
    inputs = written(tmp_path / "longer.jsonl", [*found, {"id": 3, "text": "river " * 70}])
    plan = job(inputs, tmp_path / "sparse", sparse, on_overflow="reject", shard_rows=4)
    assert rejected(plan) == [("longer.jsonl", 3, "longer than the 64 tokens that the model reads")]
    kept = resolve_sparse(sparse.name).encode([str(row["text"]) for row in found], role="document")
    np.testing.assert_allclose(dense(sparse_vectors(*column_of(plan))), dense(kept), atol=2e-5)


def replaced(plan: Plan, change: Callable[[list[Any]], None], kind: pa.DataType | None = None) -> list[Problem]:
    """What is found after vectors of the first shard were changed, in a file whose record agrees with it."""
    done = done_shards(plan)[0]
    path, record = Path(plan.url, done.files[0].name), Path(plan.url, records.record_name(plan, 0))
    before = path.read_bytes(), record.read_bytes()
    table = pq.read_table(path)
    values = table.column("embedding").to_pylist()
    change(values)
    place = table.schema.names.index("embedding")
    column = pa.array(values, kind or table.schema.field("embedding").type)
    changed = table.set_column(place, "embedding", column).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = done.files[0]._replace(size=path.stat().st_size, sha256=digest)
    record.write_bytes(replace(done, files=(file,)).as_json())
    found = list(verify(plan))
    path.write_bytes(before[0])
    record.write_bytes(before[1])
    assert list(verify(plan)) == []
    return found


def test_weights_that_are_wrong_although_their_digest_is_right(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    plan = job(inputs, tmp_path / "out", sparse)

    def at(name: str, place: int, value: float) -> Callable[[list[Any]], None]:
        return lambda values: values[1][name].__setitem__(place, value)

    def shorter(values: list[Any]) -> None:
        values[1]["indices"].pop()

    def none(values: list[Any]) -> None:
        values[1] = None

    def swapped(values: list[Any]) -> None:
        values[2]["indices"][0:2] = values[2]["indices"][1::-1]

    def twice(values: list[Any]) -> None:
        values[0]["indices"][1] = values[0]["indices"][0]

    for change, words in (
        (at("values", 0, float("nan")), "has weights that are not finite"),
        (at("values", 3, float("inf")), "has weights that are not finite"),
        (at("values", 0, -0.5), "has a weight of -0.5, and all must be above 0"),
        (at("values", -1, 0.0), "has a weight of 0, and all must be above 0"),
        (at("indices", -1, sparse.dims), "has the term 4000, and those of the model are 0 to 3,999"),
        (at("indices", 0, -1), "has the term -1, and those of the model are 0 to 3,999"),
        (swapped, "has terms that do not ascend"),
        (twice, "has terms that do not ascend"),
        (shorter, "cannot be read: a row has another number of indices than of values"),
        (none, "cannot be read: 1 rows have no vector"),
    ):
        assert replaced(plan, change) == [Problem(0, f"data/train-00000-of-00003.parquet {words}")]


def test_terms_may_begin_again_with_each_text(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    def change(values: list[Any]) -> None:
        values[0] = {"indices": [], "values": []}
        values[1] = {"indices": [5, 9], "values": [1.0, 2.0]}
        values[2] = {"indices": [0], "values": [3.0]}

    assert replaced(job(inputs, tmp_path / "out", sparse), change) == []


def test_a_column_of_another_type_is_found(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    def change(values: list[Any]) -> None:
        values[:] = [[1.0]] * 3

    (problem,) = replaced(job(inputs, tmp_path / "out", sparse), change, pa.list_(pa.float32()))
    assert problem.what.startswith("data/train-00000-of-00003.parquet has vectors of the type list<")


def test_vectors_of_tokens_that_are_wrong_are_found(inputs: Path, tokens: ModelSpec, tmp_path: Path) -> None:
    plan = job(inputs, tmp_path / "out", tokens)

    def longer(values: list[Any]) -> None:
        values[1][2] = [2 * value for value in values[1][2]]

    def nan(values: list[Any]) -> None:
        values[1][2][0] = float("nan")

    for change, words in (
        (longer, "has a vector whose length is 1.0000 away from 1"),
        (nan, "has vectors that are not finite"),
    ):
        assert replaced(plan, change) == [Problem(0, f"data/train-00000-of-00003.parquet {words}")]


def test_a_table_of_a_pipeline_gets_vectors_of_every_kind(sparse: ModelSpec, tokens: ModelSpec) -> None:
    table = pa.table({"text": pa.array(["the river", None, "seven clouds", None])})
    space = Space.of(resolve_sparse(sparse.name))
    column = EmbedTable(space)(table).column("embedding")
    assert column.is_null().to_pylist() == [False, True, False, True]
    expected = resolve_sparse(sparse.name).encode(["the river", "seven clouds"], role="document")
    assert str(column.type).replace("item", "element") == TERMS
    for place, (indices, values) in zip((0, 2), expected, strict=True):
        assert column[place].as_py() == {"indices": indices.tolist(), "values": values.tolist()}
    column = EmbedTable(Space.of(resolve_multi_vector(tokens.name)), role="query")(table).column("embedding")
    assert column.is_null().to_pylist() == [False, True, False, True]
    assert len(column[2].as_py()) == 24
    whole = EmbedTable(space)(table.slice(0, 1)).column("embedding")
    assert whole.null_count == 0
    assert EmbedTable(space)(table.slice(1, 1)).column("embedding").to_pylist() == [None]


def test_shards_are_cut_by_tokens(inputs: Path, sparse: ModelSpec, tmp_path: Path) -> None:
    plan = planned(inputs, tmp_path / "out", model=sparse.name, shard_tokens=40)
    assert plan.shards > 2
    assert sum(done.rows for done in computed(plan)) == 7
    assert all(done.tokens > 0 for done in done_shards(plan).values())
