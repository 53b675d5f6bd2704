"""What a bulk job writes: each encoding to its promise, each format as its readers take it, with what they need to know of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet as pq

from bulk_jobs import (
    MODEL,
    bulk,
    computed,
    contents,
    finished,
    planned,
    rejected,
    result,
    rows,
    texts,
    vectors,
    written,
)
from embedry import Space
from embedry.views import LazyEmbedder
from embedry_bulk import Plan, PlanError, decoded, encodings, run_shard, verify

pytestmark = pytest.mark.usefixtures("minilm_folder", "nobody_waits_for_the_disk")


N = 7


@pytest.fixture(scope="module")
def right(minilm: LazyEmbedder) -> NDArray[np.float32]:
    """The vectors of the texts."""
    return minilm.encode_document(texts(N))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return written(tmp_path / "in.parquet", rows(N))


def metadata(plan: Plan) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", result(plan).schema.metadata)


# Encodings


@pytest.mark.parametrize("lists", ["fixed", "variable"])
@pytest.mark.parametrize(
    ("encoding", "kind", "width"),
    [
        ("float32", pa.float32(), 384),
        ("float16", pa.float16(), 384),
        ("int8", pa.int8(), 384),
        ("binary", pa.uint8(), 48),
    ],
)
def test_encodings_in_parquet(
    encoding: str, kind: pa.DataType, width: int, lists: str, inputs: Path, tmp_path: Path, right: NDArray[np.float32]
) -> None:
    plan = finished(inputs, tmp_path / "out", encoding=encoding, lists=lists, shard_rows=3)
    column = result(plan).column("embedding")
    element = pa.field("element", kind)
    assert column.type == (pa.list_(element, width) if lists == "fixed" else pa.list_(element))
    about = json.loads(metadata(plan)[b"embedry.vectors"])
    assert (about["encoding"], about["dims"]) == (encoding, 384)
    back = vectors(result(plan))
    assert (back.dtype, back.shape) == (np.float32, (N, 384))
    stored = np.asarray(column.combine_chunks().flatten()).reshape(N, width)
    if encoding == "binary":
        np.testing.assert_array_equal(stored, np.packbits(right > 0, axis=1))
        np.testing.assert_array_equal(back, np.where(right > 0, 1, -1))
    elif encoding == "int8":
        low, high = (np.asarray(each, dtype=np.float32) for each in about["ranges"])
        np.testing.assert_allclose(low, right.min(axis=0), rtol=0, atol=1e-6)  # all of the few texts are in the sample
        moves = np.ptp(right, axis=0) > 1e-3  # a few dimensions of this model are always almost 0
        np.testing.assert_allclose(high[moves], right.max(axis=0)[moves], rtol=0, atol=1e-6)
        assert (stored.min(axis=0)[moves] == -128).all()
        assert (stored.max(axis=0)[moves] == 127).all()
        assert (np.abs(back - right) <= (high - low) / 255 / 2 + 1e-6).all()
    else:
        np.testing.assert_allclose(back, right, rtol=0, atol={"float32": 1e-6, "float16": 2e-4}[encoding])
    assert list(verify(plan)) == []


def test_int8_clips_what_is_outside_its_ranges_and_keeps_dimensions_that_hardly_change() -> None:
    vectors = np.asarray([[-1, 0, 0.5, 0], [1, 0, 0.5, 1e-38]], dtype=np.float32)
    ranges = encodings.ranges_of(vectors)
    stored = encodings.encoded(vectors, "int8", ranges)
    np.testing.assert_array_equal(stored, np.asarray([[-128] * 4, [127, -128, -128, -128]], dtype=np.int8))
    beyond = encodings.encoded(np.asarray([[-9, -9, 9, 0]], dtype=np.float32), "int8", ranges)
    np.testing.assert_array_equal(beyond, [[-128, -128, 127, -128]])
    about = {b"embedry.vectors": json.dumps({"encoding": "int8", "dims": 4, "ranges": ranges}).encode()}
    np.testing.assert_allclose(decoded(encodings.as_lists(stored, "fixed"), about), vectors, atol=1e-6)


def test_binary_keeps_what_is_positive() -> None:
    made = np.asarray([[1, 0, -0.0, -1, 1e-30, -1e-30, 0, 2, 3]], dtype=np.float32)
    stored = encodings.encoded(made, "binary", None)
    np.testing.assert_array_equal(stored, [[0b10001001, 0b10000000]])
    np.testing.assert_array_equal(stored, np.packbits(made > 0, axis=1))


def test_the_sample_for_int8_is_of_all_texts_and_the_same_each_time(
    tmp_path: Path, minilm: LazyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_bulk import planning, record_rows

    monkeypatch.setattr(planning, "_SAMPLE", 10)
    monkeypatch.setattr(record_rows, "BLOCK_ROWS", 16)
    found = [*rows(40), {"id": 40, "text": None}]
    path = written(tmp_path / "in.jsonl", found)
    plans = [planned(path, tmp_path / str(turn), encoding="int8") for turn in range(2)]
    assert plans[0].ranges == plans[1].ranges
    every = minilm.encode_document(texts(40))
    low, high = (np.asarray(each, dtype=np.float32) for each in plans[0].ranges or ())
    ends = (np.abs(every - low) < 1e-7) | (np.abs(every - high) < 1e-7)
    moves = np.ptp(every, axis=0) > 1e-3  # a few dimensions of this model are always almost 0
    taken = np.flatnonzero(ends[:, moves].any(axis=1))
    assert 5 < len(taken) <= 10
    assert max(taken) > 30


def test_int8_without_texts_cannot_have_ranges(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", [{"text": None}])
    with pytest.raises(PlanError, match=r"int8 needs texts to find the ranges .* choose --encoding float16"):
        planned(path, tmp_path / "out", encoding="int8")


@pytest.mark.parametrize("dims", [1, 7, 8, 9])
@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_vectors_of_any_width_and_number_come_back(encoding: str, dims: int, count: int) -> None:
    made = np.random.default_rng(0).uniform(-1, 1, (count, dims)).astype(np.float32)
    ranges = ((-1.0,) * dims, (1.0,) * dims)
    about = {b"embedry.vectors": json.dumps({"encoding": encoding, "dims": dims, "ranges": ranges}).encode()}
    for lists in ("fixed", "variable"):
        column = encodings.as_lists(encodings.encoded(made, encoding, ranges), lists)  # type: ignore[arg-type]
        assert column.type == encodings.list_type(dims, encoding, lists)  # type: ignore[arg-type]
        for each in (column, pa.chunked_array([column.slice(0, count // 2), column.slice(count // 2)])):
            back = decoded(each, about)
            assert back.shape == (count, dims)
            expected = np.where(made > 0, 1, -1) if encoding == "binary" else made
            np.testing.assert_allclose(
                back, expected, rtol=0, atol={"int8": 1 / 255 + 1e-6, "float16": 1e-3}.get(encoding, 0)
            )


def test_float16_refuses_what_it_would_make_infinite() -> None:
    with pytest.raises(PlanError, match="float16 holds numbers up to 65,504, and a vector has 70,000"):
        encodings.encoded(np.asarray([[1, -70_000]], dtype=np.float32), "float16", None)


def test_decoding_needs_the_metadata_of_a_job() -> None:
    with pytest.raises(KeyError):
        decoded(pa.array([[1.0]]), None)


# Parquet


def test_what_a_reader_needs_to_know_is_in_the_schema(inputs: Path, tmp_path: Path, minilm: LazyEmbedder) -> None:
    plan = finished(inputs, tmp_path / "out", role="query", vector_column="vector")
    about = metadata(plan)
    assert set(about) == {b"embedry.space", b"embedry.role", b"embedry.vectors"}
    assert Space.from_dict(json.loads(about[b"embedry.space"])) == Space.of(minilm)
    assert about[b"embedry.role"] == b"query"
    assert json.loads(about[b"embedry.vectors"]) == {"encoding": "float32", "dims": 384, "ranges": None}
    table = result(plan)
    assert table.schema.names == ["id", "text", "vector"]
    space = Space.from_dict(json.loads(about[b"embedry.space"]))
    np.testing.assert_allclose(vectors(table, "vector"), space.resolve().encode_query(texts(N)), rtol=0, atol=1e-6)


def test_a_flipped_bit_is_found_by_the_checksum_of_its_page(inputs: Path, tmp_path: Path) -> None:
    plan = finished(inputs, tmp_path / "out")
    (path,) = Path(plan.url, "data").iterdir()
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(2)
    assert chunk.path_in_schema == "embedding.list.element"
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 40] ^= 0x40
    path.write_bytes(content)
    assert not pq.read_table(path).equals(pq.read_table(inputs))  # silently wrong
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(path, page_checksum_verification=True)


def test_nested_columns_are_compressed_and_vectors_are_not(tmp_path: Path) -> None:
    tags = [["the same word in every row"] * 50 for _ in range(N)]
    pq.write_table(
        pa.table({"text": texts(N), "tags": tags, "about": [{"by": tag[0]} for tag in tags]}), tmp_path / "in.parquet"
    )
    plan = finished(tmp_path / "in.parquet", tmp_path / "out")
    (path,) = Path(plan.url, "data").iterdir()
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = {each.path_in_schema: each for each in map(group.column, range(group.num_columns))}
    assert {name: each.compression for name, each in found.items()} == {
        "text": "ZSTD", "tags.list.element": "ZSTD", "about.by": "ZSTD", "embedding.list.element": "UNCOMPRESSED",
    }  # fmt: skip
    assert "RLE_DICTIONARY" in found["tags.list.element"].encodings
    assert "RLE_DICTIONARY" not in found["embedding.list.element"].encodings
    assert found["about.by"].statistics is not None
    assert found["embedding.list.element"].statistics is None


def test_row_groups_are_bounded_by_all_that_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry._pipeline import pipeline
    from embedry_bulk import parts

    monkeypatch.setattr(pipeline, "_BLOCK_TEXTS", 2)
    monkeypatch.setattr(parts, "_GROUP_BYTES", 100_000)
    found = [{"text": f"text {n}", "page": "word " * 8000} for n in range(12)]  # 40 kB of page beside 1.5 kB of vector
    plan = finished(written(tmp_path / "in.jsonl", found), tmp_path / "out")
    (path,) = Path(plan.url, "data").iterdir()
    group_rows = [pq.ParquetFile(path).metadata.row_group(n).num_rows for n in range(3)]
    assert group_rows == [4, 4, 4]


# Arrays


def arrays(plan: Plan) -> tuple[NDArray[Any], NDArray[Any]]:
    """The vectors and the ids of a job of .npy."""
    found = [
        [np.load(path, allow_pickle=False) for path in sorted(Path(plan.url, name).iterdir())]
        for name in ("data", "ids")
    ]
    assert [len(each) for each in found[0]] == [len(each) for each in found[1]]
    return np.concatenate(found[0]), np.concatenate(found[1])


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_arrays_with_the_numbers_of_rows(
    encoding: str, inputs: Path, tmp_path: Path, right: NDArray[np.float32]
) -> None:
    again = written(tmp_path / "again.jsonl", [{"text": None}, *rows(2)])
    plan = finished([inputs, again], tmp_path / "out", output="npy", shard_rows=4, encoding=encoding)
    found, ids = arrays(plan)
    assert ids.dtype == np.int64
    assert ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert rejected(plan) == [("again.jsonl", 0, "the text is null")]
    expected = encodings.encoded(np.concatenate([right, right[:2]]), encoding, plan.ranges)  # type: ignore[arg-type]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if encoding == "int8":
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # a step, where a value lies between two
    else:
        np.testing.assert_allclose(
            found, expected, rtol=0, atol={"float32": 1e-6, "float16": 2e-4, "binary": 0}[encoding]
        )
    assert list(verify(plan)) == []


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (pa.array([5, 3, -(2**62), 0, 3]), np.int64),
        (pa.array([5, 3, 2**64 - 1, 0, 3], pa.uint64()), np.uint64),
        (pa.array([5, 3, 2, 0, 3], pa.int8()), np.int64),
        (pa.array(["a", "", "a longer id", "naïve ☃", "a"]), np.str_),
        (pa.array(["a", "", "a longer id", "x", "a"], pa.large_string()), np.str_),
        (pa.array(["a", "", "a longer id", "x", "a"]).dictionary_encode(), np.str_),
    ],
    ids=["int64", "uint64", "int8", "string", "large", "dictionary"],
)
def test_arrays_with_ids(ids: pa.Array, kind: type, tmp_path: Path, right: NDArray[np.float32]) -> None:
    odd = pa.array([b"\xff"] * 5)  # a column that .npy has no place for is not read
    pq.write_table(pa.table({"key": ids, "odd": odd, "text": texts(5)}), tmp_path / "in.parquet")
    plan = finished(tmp_path / "in.parquet", tmp_path / "out", output="npy", id_column="key", shard_rows=2)
    assert plan.schema.names == ["key", "text"]
    found, written_ids = arrays(plan)
    assert written_ids.tolist() == ids.to_pylist()
    np.testing.assert_allclose(found, right[:5], rtol=0, atol=1e-6)
    kinds = {np.load(path).dtype.type for path in Path(plan.url, "ids").iterdir()}
    assert kinds == {kind}


def test_rows_without_an_id_are_rejected_and_an_empty_shard_keeps_the_kind(tmp_path: Path) -> None:
    found = [{"key": "a", "text": "a"}, {"key": None, "text": "b"}, {"text": "c"}, {"key": "d", "text": None}]
    plan = finished(
        written(tmp_path / "in.jsonl", found), tmp_path / "out", output="npy", id_column="key", shard_rows=2
    )
    _, ids = arrays(plan)
    assert ids.tolist() == ["a"]
    assert {np.load(path).dtype.kind for path in Path(plan.url, "ids").iterdir()} == {"U"}
    assert rejected(plan) == [
        ("in.jsonl", 1, "the id is null"), ("in.jsonl", 2, "the id is null"), ("in.jsonl", 3, "the text is null"),
    ]  # fmt: skip
    shapes = [np.load(path).shape for path in sorted(Path(plan.url, "data").iterdir())]
    assert shapes == [(1, 384), (0, 384)]


@pytest.mark.parametrize(
    ("values", "words"),
    [([1.5, 2.5], "double"), ([b"a", b"b"], "binary"), ([[1], [2]], "list<element: int64>"), ([None, None], "null")],
    ids=str,
)
def test_ids_of_other_kinds_are_refused(values: list[object], words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": values, "text": texts(2)}), tmp_path / "in.parquet")
    with pytest.raises(PlanError, match=f"--id key: ids are whole numbers or strings, and this column holds {words}"):
        planned(tmp_path / "in.parquet", tmp_path / "out", output="npy", id_column="key")


# LanceDB


def table_of(plan: Plan) -> pa.Table:
    return lancedb.connect(plan.url).open_table("vectors").to_arrow().sort_by("row_number")


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
def test_a_lance_table_has_each_row_once(
    encoding: str, inputs: Path, tmp_path: Path, right: NDArray[np.float32]
) -> None:
    again = written(tmp_path / "again.parquet", [{"id": 7, "text": None}, {"id": 7, "text": "question 0"}])
    plan = planned([inputs, again], tmp_path / "out", output="lancedb", shard_rows=4, encoding=encoding)
    for shard in (1, 0, 2, 1):
        run_shard(plan, shard)
    table = table_of(plan)
    assert table.schema.names == ["row_number", "id", "text", "embedding"]
    assert table.column("row_number").to_pylist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert table.column("text").to_pylist() == [*texts(N), "question 0"]
    back = vectors(table)[:N]
    expected = np.where(right > 0, 1, -1) if encoding == "binary" else right
    np.testing.assert_allclose(
        back, expected, rtol=0, atol={"int8": 2e-3, "float16": 2e-4, "float32": 1e-6, "binary": 0}[encoding]
    )
    assert Space.from_dict(json.loads(table.schema.metadata[b"embedry.space"])) == plan.job.space
    assert list(verify(plan)) == []
    assert contents(tmp_path / "out").keys() == {"rejected/00001.parquet"}


def test_a_shard_killed_between_its_merge_and_its_record(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_bulk import records

    plan = planned(inputs, tmp_path / "out", output="lancedb", shard_rows=4)
    run_shard(plan, 0)
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_shard(plan, 1)
    assert table_of(plan).num_rows == N
    assert [(problem.shard, problem.what) for problem in verify(plan)] == [(1, "is not done")]
    before = table_of(plan)
    assert bulk("run", plan.url).code == 0
    assert table_of(plan).equals(before)
    assert list(verify(plan)) == []


def test_faults_of_a_lance_table_are_found(inputs: Path, tmp_path: Path) -> None:
    plan = finished(inputs, tmp_path / "out", output="lancedb", shard_rows=3)
    table = lancedb.connect(plan.url).open_table("vectors")
    table.delete("row_number = 1")
    assert [(each.shard, each.what) for each in verify(plan)] == [(0, "has 2 rows in the table instead of 3")]
    outcome = bulk("verify", plan.url, "--forget")
    assert (outcome.code, "1 shard will be computed again" in outcome.err) == (1, True)
    assert bulk("run", plan.url).code == 0
    assert list(verify(plan)) == []
    table.checkout_latest()
    table.update(where="row_number = 4", values={"embedding": [0.5] * 384})
    table.optimize()  # rows of several shards in one file
    problems = list(verify(plan))
    assert [each.shard for each in problems] == [1]
    assert "has a vector whose length is 8.7980 away from 1" in problems[0].what
    assert bulk("verify", plan.url, "--forget").code == 1
    assert bulk("run", plan.url).code == 0
    assert list(verify(plan)) == []
    lancedb.connect(plan.url).drop_table("vectors")
    assert [(each.shard, each.what) for each in verify(plan)] == [
        (shard, f"has 0 rows in the table instead of {count}") for shard, count in enumerate((3, 3, 1))
    ]


def test_columns_that_lance_has_no_place_for_are_refused_by_the_plan(tmp_path: Path) -> None:
    pq.write_table(pa.table({"row_number": [1], "a.b": [2], "text": ["a"]}), tmp_path / "in.parquet")
    with pytest.raises(PlanError, match="the table has a column 'row_number' of its own"):
        planned(tmp_path / "in.parquet", tmp_path / "out", output="lancedb")
    with pytest.raises(PlanError, match=r"LanceDB cannot hold these columns: .*a\.b.*--keep"):
        planned(tmp_path / "in.parquet", tmp_path / "out", output="lancedb", keep=("a.b",))
    assert not (tmp_path / "out/plan.json").exists()


def test_places_that_lance_does_not_know_are_refused_by_the_plan(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PlanError, match=r"LanceDB cannot store data at memory://job; choose a folder or an object store"
    ):
        planned(inputs, "memory://job", output="lancedb")
    real = lancedb.connect

    def connect(url: str) -> Any:
        if url == str(tmp_path / "out"):
            raise ValueError("No object store provider found")
        return real(url)

    monkeypatch.setattr(lancedb, "connect", connect)
    with pytest.raises(PlanError, match=rf"LanceDB cannot open {tmp_path}/out: No object store provider found"):
        planned(inputs, tmp_path / "out", output="lancedb")
    assert not (tmp_path / "out/plan.json").exists()


def test_lance_is_asked_for_by_its_name_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    monkeypatch.delitem(sys.modules, "embedry_bulk.lance", raising=False)
    monkeypatch.delattr("embedry_bulk.lance", raising=False)
    outcome = bulk("run", tmp_path / "absent.jsonl", "--to", tmp_path / "out", "--output-format", "lancedb")
    assert outcome.code == 2
    assert '--output-format lancedb needs LanceDB; try: pip install "embedry-bulk[lancedb]"' in outcome.err


# Readers


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of three parts, the last of which has no row."""
    place = tmp_path_factory.mktemp("readers")
    found = [row | {"tags": ["a", str(row["id"])], "none": None} for row in rows(N)]
    path = written(place / "in.parquet", [*found, *([{"id": 99, "text": None, "tags": None, "none": None}] * 2)])
    finished(path, place / "out", shard_rows=4)
    return place / "out"


def test_pandas_and_polars(job: Path, right: NDArray[np.float32]) -> None:
    import pandas
    import polars

    for frame in (pandas.read_parquet(job / "data"), polars.read_parquet(job / "data")):
        assert list(frame["text"]) == texts(N)
        assert list(frame["id"]) == list(range(N))
        assert [list(each) for each in frame["tags"]] == [["a", str(n)] for n in range(N)]
        np.testing.assert_allclose(np.stack(list(frame["embedding"])), right, rtol=0, atol=1e-6)  # type: ignore[arg-type]


def test_datasets(job: Path, tmp_path: Path, right: NDArray[np.float32]) -> None:
    import datasets

    sources: Iterator[dict[str, Any]] = iter(
        [{"path": "parquet", "data_files": str(job / "data/*.parquet")}, {"path": str(job / "data")}]
    )
    for source in sources:
        found = datasets.load_dataset(**source, split="train", cache_dir=str(tmp_path / "cache"))
        assert found.num_rows == N
        assert list(found["text"]) == texts(N)
        assert list(found["tags"]) == [["a", str(n)] for n in range(N)]
        given = np.asarray(found.with_format("numpy")["embedding"][:])
        np.testing.assert_allclose(given, right, rtol=0, atol=1e-6)


def test_duckdb(job: Path, right: NDArray[np.float32]) -> None:
    import duckdb

    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT id, text, tags, embedding FROM '{job}/data/*.parquet' ORDER BY id"
        ).fetchall()
        assert [row[:3] for row in found] == [(n, text, ["a", str(n)]) for n, text in enumerate(texts(N))]
        np.testing.assert_allclose(np.asarray([row[3] for row in found]), right, rtol=0, atol=1e-6)
        nearest = connection.execute(
            f"SELECT id, list_cosine_similarity(embedding, $1::FLOAT[]) FROM read_parquet('{job}/data/*.parquet') ORDER BY 2 DESC",
            [right[3].tolist()],
        ).fetchall()
        assert [row[0] for row in nearest] == np.argsort(-(right @ right[3]), kind="stable").tolist()
        np.testing.assert_allclose([row[1] for row in nearest], np.sort(right @ right[3])[::-1], rtol=0, atol=1e-6)
        as_arrays = connection.execute(
            f"SELECT array_cosine_similarity(embedding::FLOAT[384], $1::FLOAT[384]) FROM '{job}/data/*.parquet' ORDER BY id",
            [right[3].tolist()],
        ).fetchall()
        np.testing.assert_allclose([row[0] for row in as_arrays], right @ right[3], rtol=0, atol=1e-6)


def test_lancedb_searches_what_a_job_has_written(inputs: Path, tmp_path: Path, right: NDArray[np.float32]) -> None:
    plan = finished(inputs, tmp_path / "out", output="lancedb")
    found = lancedb.connect(plan.url).open_table("vectors").search(right[3]).distance_type("cosine").limit(N).to_list()
    assert [row["id"] for row in found] == np.argsort(-(right @ right[3]), kind="stable").tolist()
    np.testing.assert_allclose(
        np.stack([row["embedding"] for row in found]), right[[row["id"] for row in found]], rtol=0, atol=1e-6
    )
    copied = lancedb.connect(str(tmp_path / "other")).create_table(
        "copy", pq.read_table(finished(inputs, tmp_path / "p").url + "/data")
    )
    assert copied.search(right[3]).limit(1).to_list()[0]["id"] == 3


def test_what_pandas_and_datasets_have_written_is_read_by_them_again(
    tmp_path: Path, right: NDArray[np.float32]
) -> None:
    import datasets
    import pandas

    frame = pandas.DataFrame(
        {"text": texts(4), "when": pandas.date_range("2024-05-17", periods=4, tz="Europe/Berlin"),
         "kind": pandas.Categorical(["a", "b", "a", "b"]), "count": pandas.array([1, None, 3, 4], dtype="Int64")},
        index=pandas.Index([10, 20, 30, 40], name="key"),
    )  # fmt: skip
    frame.to_parquet(tmp_path / "pandas.parquet")
    plan = finished(tmp_path / "pandas.parquet", tmp_path / "pandas", shard_rows=3)
    again = pandas.read_parquet(tmp_path / "pandas/data")
    assert list(again["text"]) == texts(4)
    assert list(again["when"]) == list(frame["when"])
    assert list(again["kind"]) == ["a", "b", "a", "b"]
    assert list(again["key"]) == [10, 20, 30, 40]
    assert again["count"].tolist()[2:] == [3, 4]
    np.testing.assert_allclose(np.stack(list(again["embedding"])), right[:4], rtol=0, atol=1e-6)
    assert set(metadata(plan)) == {b"embedry.space", b"embedry.role", b"embedry.vectors"}

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"]),
         "scores": datasets.List(datasets.Value("float32"), length=2)}
    )  # fmt: skip
    made = datasets.Dataset.from_dict(
        {"text": texts(4), "label": [0, 1, 1, 0], "scores": [[0.5, 1.5]] * 4}, features=features
    )
    made.to_parquet(str(tmp_path / "datasets.parquet"))
    assert b"huggingface" in pq.read_schema(tmp_path / "datasets.parquet").metadata
    finished(tmp_path / "datasets.parquet", tmp_path / "datasets", shard_rows=3)
    found = datasets.load_dataset(str(tmp_path / "datasets/data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.column_names == ["text", "label", "scores", "embedding"]
    assert list(found["label"]) == [0, 1, 1, 0]
    assert list(found["scores"]) == [[0.5, 1.5]] * 4
    np.testing.assert_allclose(np.asarray(found.with_format("numpy")["embedding"][:]), right[:4], rtol=0, atol=1e-6)


def test_settings_that_an_output_does_not_have_are_refused(inputs: Path, tmp_path: Path) -> None:
    for settings, words in (
        ({"output": "csv"}, "--output-format must be one of parquet, npy, lancedb, got 'csv'"),
        ({"on_overflow": "warn"}, "--on-overflow must be one of truncate, reject, got 'warn'"),
        ({"encoding": "int4"}, "--encoding must be one of float32, float16, int8, binary, got 'int4'"),
        ({"lists": "short"}, "--list must be one of fixed, variable, got 'short'"),
        ({"id_column": "id"}, "--id is for npy; Parquet and LanceDB keep all columns"),
        ({"output": "npy", "keep": ("id",)}, "--keep is for Parquet and LanceDB"),
        ({"output": "npy", "lists": "variable"}, "--list is for Parquet, and npy always has"),
        ({"output": "lancedb", "lists": "variable"}, "--list is for Parquet, and lancedb always has"),
        ({"shard_rows": 0}, "--shard-rows must be at least 1, got 0"),
        ({"shard_tokens": -5}, "--shard-tokens must be at least 1, got -5"),
    ):
        with pytest.raises(PlanError) as caught:
            planned(tmp_path / "not looked for.jsonl", tmp_path / "out", **settings)
        assert words in str(caught.value)
    assert computed(planned(inputs, tmp_path / "out", model=MODEL))[0].rows == N
