"""What a bulk job reads: every format gives all rows, in order, with their columns as they were, wherever shards begin."""

import datetime as dt
import decimal
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from bulk_jobs import (
    as_csv,
    as_json,
    bulk,
    compressed,
    computed,
    finished,
    planned,
    rejected,
    result,
    rows,
    texts,
    vectors,
    written,
)
from embedry.views import LazyEmbedder
from embedry_bulk import ChangedInputError, InputError, PlanError, Worker
from embedry_bulk.inputs import found
from embedry_bulk.lines import Lines
from embedry_bulk.record_rows import RecordReader
from waiting import PATIENCE, asked

pytestmark = pytest.mark.usefixtures("minilm_folder", "nobody_waits_for_the_disk")


N = 9
"""Rows of a small file; a row group of Parquet has 4 of them."""

FORMATS = (
    "parquet", "jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.lz4", "csv", "csv.gz", "csv.zst", "tsv",
)  # fmt: skip


def names(files: object) -> list[str]:
    return [Path(file.url).name for file in files]  # type: ignore[attr-defined]


# Every format, cut anywhere


@pytest.mark.parametrize("suffix", FORMATS)
def test_shards_that_begin_at_any_row_give_the_same_rows_and_vectors(
    suffix: str, tmp_path: Path, minilm: LazyEmbedder
) -> None:
    path = written(tmp_path / f"in.{suffix}", rows(N))
    whole = result(finished(path, tmp_path / "whole"))
    assert whole.column("text").to_pylist() == texts(N)
    assert [int(each) for each in whole.column("id").to_pylist()] == list(range(N))
    np.testing.assert_allclose(vectors(whole), minilm.encode_document(texts(N)), rtol=0, atol=1e-6)
    for size in (1, 2, 3, 7, N - 1, N, N + 1):
        plan = finished(path, tmp_path / str(size), shard_rows=size)
        assert plan.shards == -(-N // size)
        cut = result(plan)
        assert cut.drop("embedding").equals(whole.drop("embedding"))
        np.testing.assert_allclose(vectors(cut), vectors(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("formats", [("parquet",) * 3, ("jsonl", "jsonl.gz", "jsonl"), ("csv", "tsv", "csv.bz2")])
def test_shards_go_across_files(formats: tuple[str, ...], tmp_path: Path, minilm: LazyEmbedder) -> None:
    every = rows(12)
    cuts = [every[:5], every[5:6], every[6:]]
    files = [written(tmp_path / f"{n}.{each}", cut) for n, (each, cut) in enumerate(zip(formats, cuts, strict=True))]
    for size in (1, 2, 4, 5, 7, 12):
        plan = finished(files, tmp_path / f"out-{size}", shard_rows=size)
        assert plan.rows == (5, 1, 6)
        whole = result(plan)
        assert whole.column("text").to_pylist() == texts(12)
        np.testing.assert_allclose(vectors(whole), minilm.encode_document(texts(12)), rtol=0, atol=1e-6)


def test_files_without_rows_between_others_shift_nothing(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.jsonl" for name in "abcde"]
    for path, part in zip(paths, (rows(0), rows(3), rows(0), rows(5)[3:], rows(0)), strict=True):
        path.write_bytes(as_json(part))
    for size in (1, 2, 5):
        plan = finished(paths, tmp_path / str(size), shard_rows=size)
        assert plan.rows == (0, 3, 0, 2, 0)
        assert result(plan).column("id").to_pylist() == list(range(5))


def test_shards_of_about_equal_tokens(tmp_path: Path, minilm: LazyEmbedder) -> None:
    lengths = [2, 2, 2, 200, 2, 2, 100, 100, 2, 2]
    path = written(tmp_path / "in.jsonl", [{"text": " ".join(["word"] * count)} for count in lengths])
    plan = planned(path, tmp_path / "out", shard_tokens=120)
    tokens = [done.tokens for done in computed(plan)]
    assert [plan.bounds(shard) for shard in range(plan.shards)] == [(0, 3), (3, 4), (4, 7), (7, 10)]
    assert sum(tokens) == sum(minilm.count_tokens(["word " * count for count in lengths], role="document"))
    assert sum(done.rows for done in computed(plan)) == len(lengths)
    long = written(tmp_path / "long.jsonl", [{"text": "word " * 2000}] * 5)
    plan = planned(long, tmp_path / "long", shard_tokens=600)
    assert plan.starts == (0, 2, 4)  # the model reads 256 tokens of each


def test_more_rows_than_are_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry_bulk import parquet_rows, record_rows

    for module in (parquet_rows, record_rows):
        monkeypatch.setattr(module, "BLOCK_ROWS", 2)
    for suffix in ("parquet", "jsonl", "csv"):
        path = written(tmp_path / f"in.{suffix}", rows(N))
        for size in (3, N):
            whole = result(finished(path, tmp_path / f"{suffix}-{size}", shard_rows=size))
            assert whole.column("text").to_pylist() == texts(N)


# Parquet


def typed(count: int = 7) -> pa.Table:
    """A column of each type that Parquet has, with nulls."""

    def column(values: Callable[[int], Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if n % 3 == 2 else values(n) for n in range(count)], kind)

    moment = dt.datetime(2024, 5, 17, 12, 30, 15, 123456, tzinfo=dt.UTC)
    columns = {
        "bool": column(lambda n: n % 2 == 0, pa.bool_()),
        "int8": column(lambda n: n - 3, pa.int8()),
        "uint64": column(lambda n: 2**64 - 1 - n, pa.uint64()),
        "float16": column(float, pa.float16()),
        "float32": column(lambda n: n / 3, pa.float32()),
        "decimal": column(lambda n: decimal.Decimal(f"{n}.25"), pa.decimal128(20, 2)),
        "decimal256": column(lambda n: decimal.Decimal(10**50 + n), pa.decimal256(60, 0)),
        "moment": column(lambda n: moment + dt.timedelta(n), pa.timestamp("us", "Europe/Berlin")),
        "nanoseconds": column(lambda n: 1_700_000_000_000_000_001 + n, pa.timestamp("ns")),
        "date": column(lambda n: dt.date(2024, 2, 29) + dt.timedelta(n), pa.date32()),
        "time": column(lambda n: dt.time(23, 59, n), pa.time64("us")),
        "duration": column(lambda n: dt.timedelta(seconds=n), pa.duration("ms")),
        "binary": column(lambda n: bytes([0xFF, n]), pa.binary()),
        "fixed": column(lambda n: bytes([n, 0, 1]), pa.binary(3)),
        "large": column(str, pa.large_string()),
        "view": column(lambda n: f"a view that is longer than twelve bytes {n}", pa.string_view()),
        "category": column(lambda n: "ab"[n % 2], pa.string()).dictionary_encode(),
        "list": column(lambda n: list(range(n)), pa.list_(pa.int16())),
        "lists": column(lambda n: [[str(n)], None, []], pa.large_list(pa.list_(pa.string()))),
        "vector": column(lambda n: [n, n / 2], pa.list_(pa.float32(), 2)),
        "struct": column(lambda n: {"a": n, "b": {"c": [str(n)]}},
                         pa.struct([("a", pa.int8()), ("b", pa.struct([("c", pa.list_(pa.string()))]))])),
        "map": column(lambda n: [("k", n), ("l", None)], pa.map_(pa.string(), pa.int32())),
        "uuid": column(lambda n: uuid.UUID(int=n).bytes, pa.uuid()),
        "null": pa.nulls(count),
        "with.dot": column(lambda n: n, pa.int64()),
        "": column(lambda n: n, pa.int64()),
    }  # fmt: skip
    required = pa.field("required", pa.int32(), nullable=False)
    table = pa.table(columns).append_column(required, pa.array(range(count), pa.int32()))
    return table.append_column("text", pa.array(texts(count)))


def test_columns_of_every_type_come_out_as_they_went_in(tmp_path: Path) -> None:
    pq.write_table(typed(), tmp_path / "in.parquet", row_group_size=3)
    before = pq.read_table(tmp_path / "in.parquet")
    for size in (1, 2, 7):
        after = result(finished(tmp_path / "in.parquet", tmp_path / str(size), shard_rows=size))
        assert after.schema.names == [*before.schema.names, "embedding"]
        assert after.drop("embedding").schema.equals(before.schema)
        assert after.drop("embedding").equals(before)
    assert after.schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()), 384)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_texts_in_each_of_arrows_forms(kind: pa.DataType, tmp_path: Path, minilm: LazyEmbedder) -> None:
    values = [*texts(3), None, "", *texts(3), None]
    pq.write_table(pa.table({"text": pa.array(values).cast(kind)}), tmp_path / "in.parquet", row_group_size=2)
    plan = finished(tmp_path / "in.parquet", tmp_path / "out", shard_tokens=25)
    assert plan.shards > 1
    expected = [value for value in values if value is not None]
    after = result(plan)
    assert after.schema.field("text").type == pq.read_schema(tmp_path / "in.parquet").field("text").type
    assert after.column("text").to_pylist() == expected
    np.testing.assert_allclose(vectors(after), minilm.encode_document(expected), rtol=0, atol=1e-6)
    assert rejected(plan) == [("in.parquet", 3, "the text is null"), ("in.parquet", 8, "the text is null")]


def test_columns_may_stand_in_another_order_but_not_have_other_types(tmp_path: Path) -> None:
    one, other = pa.table({"id": [1, 2], "text": texts(2)}), pa.table({"text": texts(2), "id": [3, 4]})
    pq.write_table(one, tmp_path / "a.parquet")
    pq.write_table(other, tmp_path / "b.parquet")
    plan = finished(tmp_path, tmp_path.parent / f"{tmp_path.name}-out", shard_rows=3)
    assert result(plan).select(["id", "text"]).to_pydict() == {"id": [1, 2, 3, 4], "text": texts(2) * 2}

    pq.write_table(other.set_column(1, "id", pa.array([3.0, 4.0])), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet has other columns .* 'id' is double instead of int64.*--keep"):
        planned(tmp_path, tmp_path.parent / f"{tmp_path.name}-refused")
    kept = finished(tmp_path, tmp_path.parent / f"{tmp_path.name}-kept", keep=())
    assert result(kept).schema.names == ["text", "embedding"]
    pq.write_table(other.drop("id"), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="'id' is missing instead of int64"):
        planned(tmp_path, tmp_path.parent / f"{tmp_path.name}-refused")


def test_parquet_that_cannot_be_embedded_is_refused_with_its_reason(tmp_path: Path) -> None:
    def refusal(table: pa.Table, **settings: Any) -> str:
        pq.write_table(table, tmp_path / "in.parquet")
        with pytest.raises((InputError, PlanError)) as caught:
            planned(tmp_path / "in.parquet", tmp_path / "out", **settings)
        return str(caught.value)

    one = pa.table({"id": [1], "text": ["a"]})
    assert "no column 'body'; choose one with --column: id, text" in refusal(one, column="body")
    assert "column 'id' must hold strings, and holds int64" in refusal(one, column="id")
    assert "no column 'url' to keep; there are id, text" in refusal(one, keep=("url",))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["a"])], ["id", "id", "text"])
    assert "two columns have the same name: id, id, text" in refusal(twice)
    taken = one.append_column("embedding", pa.array([[1.0]]))
    assert "a column 'embedding' already; name another with --vector-column, or leave it out" in refusal(taken)
    assert not (tmp_path / "out/plan.json").exists()
    assert result(finished(tmp_path / "in.parquet", tmp_path / "out", keep=("id",))).schema.names == [
        "id", "text", "embedding",
    ]  # fmt: skip


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"text\n")
    with pytest.raises(InputError, match=r"in\.parquet is not Parquet that can be read: .*"):
        planned(tmp_path / "in.parquet", tmp_path / "out")


# JSON lines


def test_compressed_files_of_several_streams(tmp_path: Path) -> None:
    pieces = [as_json(rows(6)[start : start + 2]) for start in (0, 2, 4)]
    cut = [pieces[0][:9], pieces[0][9:] + pieces[1], b"", pieces[2]]  # a line may begin in one and end in the next
    for suffix in (".gz", ".zst", ".bz2", ".lz4"):
        some = [piece for piece in cut if piece or suffix != ".bz2"]  # Arrow refuses an empty one there
        plan = finished(compressed(tmp_path / f"in.jsonl{suffix}", *some), tmp_path / suffix, shard_rows=2)
        assert result(plan).column("text").to_pylist() == texts(6)


def test_byte_order_mark_carriage_returns_blank_lines_and_a_last_line_without_end(tmp_path: Path) -> None:
    lines = as_json(rows(5)).splitlines()
    content = (
        b"\xef\xbb\xbf" + lines[0] + b"\r\n\r\n   \n" + b"\r\n".join(lines[1:3]) + b"\n\n" + lines[3] + b"\n" + lines[4]
    )
    (tmp_path / "in.jsonl").write_bytes(content)
    for size in range(1, 6):
        plan = finished(tmp_path / "in.jsonl", tmp_path / str(size), shard_rows=size)
        assert result(plan).select(["id", "text"]).to_pylist() == rows(5)


def test_types_that_hold_all_values_unchanged(tmp_path: Path) -> None:
    found = [
        {"text": "a", "price": 1, "tags": [], "about": {"pages": 3}, "size": 2**53, "nothing": None},
        {"text": "b", "about": {"pages": None, "by": ["x", "y"]}, "tags": ["red"], "size": -(2**62)},
        {"text": "c", "price": 0.5, "about": None, "late": "here", "tags": None, "flag": True},
        {"text": "d", "price": None, "about": {"pages": 4.5}, "flag": False, "date": "2024-05-17"},
    ]
    written(tmp_path / "in.jsonl", found)
    table = result(finished(tmp_path / "in.jsonl", tmp_path / "out", shard_rows=1)).drop("embedding")
    assert {field.name: str(field.type) for field in table.schema} == {
        "text": "string",
        "price": "double",
        "tags": "list<element: string>",
        "about": "struct<pages: double, by: list<element: string>>",
        "size": "int64",
        "nothing": "null",
        "late": "string",
        "flag": "bool",
        "date": "string",
    }
    absent = dict.fromkeys(table.schema.names)
    expected = [absent | row for row in found]
    for row in expected:
        row["about"] = row["about"] and {"pages": None, "by": None} | row["about"]
    assert table.to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, "one"], "Could not convert 'one' with type str"),
        ([1.5, True], "some are true or false, others are numbers"),
        ([[1.5], [True]], "some are true or false, others are numbers"),
        ([{"a": 1.5}, {"a": False}], "some are true or false, others are numbers"),
        ([True, 1], "tried to convert to boolean"),
        ([1, 10**30], "too large"),
        ([0.5, 2**60 + 1], "outside of the range exactly representable"),
        ([[1], {"a": 1}], "cannot mix list and non-list"),
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [1, 8192])
def test_a_key_whose_type_changes_is_refused_by_name_and_can_be_left_out(
    values: list[object], words: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedry_bulk import record_rows

    monkeypatch.setattr(record_rows, "BLOCK_ROWS", block)
    exact = block == 1 and values == [0.5, 2**60 + 1]  # noticed when it is written
    found = [{"text": f"text {n}", "id": n, "odd": value} for n, value in enumerate(values)]
    path = written(tmp_path / "in.jsonl", found)
    if exact:
        plan = finished(path, tmp_path / "out")
        assert [row[1] for row in rejected(plan)] == [1]
        assert "the column 'odd' holds double: Integer value 1152921504606846977 is outside" in rejected(plan)[0][2]
        return
    with pytest.raises(InputError, match=r"in\.jsonl: no type holds all values of the column 'odd'.*--keep") as caught:
        planned(path, tmp_path / "out")
    assert block == 1 or words in str(caught.value)
    outcome = bulk("run", path, "--to", tmp_path / "out")
    assert (outcome.code, "'odd'" in outcome.err) == (1, True)
    assert bulk("run", path, "--to", tmp_path / "out", "--keep", "id").code == 0
    kept = pq.read_table(tmp_path / "out/data")
    assert kept.select(["text", "id"]).to_pylist() == [{"text": row["text"], "id": row["id"]} for row in found]


def test_types_that_differ_between_files(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", [{"text": "a", "n": 1}])
    written(tmp_path / "b.jsonl", [{"text": "b", "n": "1"}])
    with pytest.raises(InputError, match=r"columns of different types: .*Field n.*--keep"):
        planned([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out")
    written(tmp_path / "b.jsonl", [{"text": "b", "n": 0.5, "m": "x"}])
    plan = finished([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out")
    assert result(plan).drop("embedding").to_pylist() == [
        {"text": "a", "n": 1.0, "m": None}, {"text": "b", "n": 0.5, "m": "x"},
    ]  # fmt: skip


def test_lines_that_are_no_rows_are_rejected_alone(tmp_path: Path, minilm: LazyEmbedder) -> None:
    lines = [
        b'{"id": 0, "text": "first"}',
        b'{"id": 1, "text": "cut o',
        b'[2, "a list"]',
        b'{"id": 3}',
        b'{"id": 4, "text": null}',
        b'{"id": 5, "text": 5}',
        b'{"id": 6, "text": "\xff\xfe"}',
        b'{"id": 7, "text": "half \\ud800"}',
        b'{"id": 8, "text": "a good one", "title": "half \\ud800"}',
        b'{"id": 9, "text": ""}',
        b'{"id": 10, "text": "last", "title": "whole"}',
        b"[" * 100_000,
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    for size in (1, 5, 12):
        plan = finished(tmp_path / "in.jsonl", tmp_path / str(size), shard_rows=size)
        table = result(plan)
        assert table.drop("embedding").to_pydict() == {
            "id": [0, 9, 10], "text": ["first", "", "last"], "title": [None, None, "whole"],
        }  # fmt: skip
        np.testing.assert_allclose(vectors(table), minilm.encode_document(["first", "", "last"]), rtol=0, atol=1e-6)
        reasons = {row: reason for _, row, reason in rejected(plan)}
        assert list(reasons) == [1, 2, 3, 4, 5, 6, 7, 8, 11]
        for row, words in {
            1: "not JSON: Unterminated string",
            2: "must be a JSON object, is list",
            3: "the text is null",
            4: "the text is null",
            5: "the column 'text' holds string: Expected bytes, got a 'int' object",
            6: "not UTF-8: invalid start byte at byte 19",
            7: "the column 'text' holds string: 'utf-8' codec can't encode character '\\ud800'",
            8: "the column 'title' holds string: 'utf-8' codec can't encode character '\\ud800'",
            11: "not JSON: ",
        }.items():
            assert reasons[row].startswith(words), reasons[row]
        shard_sums = [done.rows + done.rejected for done in computed(plan)]
        assert sum(shard_sums) == 12


def test_a_file_that_begins_with_nulls_is_no_file_without_texts(tmp_path: Path) -> None:
    found = [{"text": None}] * 150 + [{"text": "at last"}]
    plan = finished(written(tmp_path / "in.jsonl", found), tmp_path / "out")
    assert result(plan).column("text").to_pylist() == ["at last"]
    assert len(rejected(plan)) == 150


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n'.encode("utf-16"), "none of the first 2 rows can be read: not UTF-8"),
        (b"a plain text\nof lines\n", "none of the first 2 rows can be read: not JSON"),
        (b'{"body": "a"}\n', "has no column 'text'; choose one with --column: body"),
        (b'{"text": 1}\n{"text": 2}\n', "the column 'text' must hold strings, and holds int"),
        (b'{"text": "a", "\\ud800": 1}\n', r"no type holds all values of the column '\\ud800'"),
    ],
    ids=["utf-16", "lines", "column", "numbers", "name"],
)
def test_json_lines_of_another_kind_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=words):
        planned(tmp_path / "in.jsonl", tmp_path / "out")


def test_a_line_without_end_does_not_take_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry_bulk import lines

    monkeypatch.setattr(lines, "_LONGEST", 2**20)
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "a"}\n' + b"x" * 3 * 2**20)
    with pytest.raises(InputError, match=r"has no line break in the 1,048,576 bytes after byte 14"):
        planned(tmp_path / "in.jsonl", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2"])
def test_lines_from_offsets_in_any_order(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedry_bulk import lines

    monkeypatch.setattr(lines, "_CHUNK", 7)
    path = compressed(tmp_path / f"in.txt{suffix}", b"zero\n\none\ntwo, which is longer\n", b"three\nfour")
    every = list(Lines(str(path)).read(0))
    assert [line for _, line in every] == [b"zero", b"", b"one", b"two, which is longer", b"three", b"four"]
    reader = Lines(str(path))
    for first, taken in ((0, 1), (1, 2), (1, 5), (4, 1), (2, 4), (5, 1), (0, 6)):
        source = reader.read(every[first][0])
        assert [next(source) for _ in range(taken)] == every[first : first + taken]
    reader.close()


# CSV and TSV


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_csv_as_spreadsheets_write_it(delimiter: str, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = [
        {"id": "007", "text": 'with "quotes", commas,\tand tabs', "note": ""},
        {"id": "1e3", "text": "a line\nand another,\r\nand a third", "note": "x"},
        {"id": "", "text": "naïve façade 日本語", "note": " spaces "},
        {"id": "NA", "text": "last", "note": "null"},
    ]
    kind = "tsv" if delimiter == "\t" else "csv"
    plain = as_csv(found, delimiter)
    for turn, content in enumerate(
        (
            plain,
            b"\xef\xbb\xbf" + plain,
            plain.rstrip(b"\n"),
            as_csv(found[:1], delimiter) + b"\n\r\n" + plain.split(b"\n", 2)[2],
        )
    ):
        path = tmp_path / f"{turn}.{kind}"
        path.write_bytes(content)
        for size in (1, 2, 4):
            plan = finished(path, tmp_path / f"{turn}-{size}", shard_rows=size)
            table = result(plan).drop("embedding")
            assert table.schema.types == [pa.string()] * 3
            assert table.to_pylist() == found
    windows = tmp_path / f"windows.{kind}"
    windows.write_bytes(as_csv([{"id": n, "text": f"text {n}"} for n in range(3)], delimiter).replace(b"\n", b"\r\n"))
    assert result(finished(windows, tmp_path / "windows", shard_rows=1)).column("text").to_pylist() == [
        "text 0", "text 1", "text 2",
    ]  # fmt: skip


def test_csv_rows_that_cannot_be_read_are_rejected_alone(tmp_path: Path) -> None:
    content = b'id,text\n0,first\n1,a,b\n2\n3,"x"y\n4,bad \xff\n5,"two\nlines"\n6,last\n7,"open'
    (tmp_path / "in.csv").write_bytes(content)
    for size in (1, 3, 8):
        plan = finished(tmp_path / "in.csv", tmp_path / str(size), shard_rows=size)
        assert result(plan).drop("embedding").to_pydict() == {
            "id": ["0", "5", "6"], "text": ["first", "two\nlines", "last"],
        }  # fmt: skip
        assert rejected(plan) == [
            ("in.csv", 1, "has 3 fields, and the header has 2"),
            ("in.csv", 2, "has 1 fields, and the header has 2"),
            ("in.csv", 3, "not CSV: ',' expected after '\"'"),
            ("in.csv", 4, "not UTF-8"),
            ("in.csv", 7, "not CSV: unexpected end of data"),
        ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text,text\na,b\n", "two columns have the same name: text, text"),
        (b"id,body\n1,a\n", "has no column 'text'; choose one with --column: id, body"),
        (b"id,body\n", "has no column 'text'; choose one with --column: id, body"),
        (b'id,text\n1,"never closed\n2,b\n3,c\n', "the 3 lines from byte 8 on are not CSV: unexpected end of data"),
        (b'id,"te"xt\n1,a\n', "the names of the columns cannot be read: not CSV"),
        (b"id,t\xffxt\n1,a\n", "the names of the columns are not UTF-8"),
    ],
    ids=["twice", "column", "no rows", "open quote", "header", "encoding"],
)
def test_csv_that_cannot_be_understood_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        planned(tmp_path / "in.csv", tmp_path / "out")


def test_fields_longer_than_the_csv_module_expects(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = written(tmp_path / "in.csv", [{"text": long}, {"text": "short"}])
    assert result(finished(path, tmp_path / "out")).column("text").to_pylist() == [long, "short"]


# Which files


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of folders, of which some are not meant."""
    place = tmp_path / "corpus"
    for name in (
        "b.jsonl",
        "a.jsonl.gz",
        "sub/c.csv",
        "sub/d.parquet",
        ".hidden.jsonl",
        "_started.jsonl",
        ".git/e.jsonl",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        written(place / name, rows(1))
    (place / "README.md").write_text("text")
    return place


def test_a_folder_is_its_files_of_known_formats_sorted_and_without_hidden_ones(corpus: Path) -> None:
    assert names(found([str(corpus)])) == ["a.jsonl.gz", "b.jsonl", "c.csv", "d.parquet"]
    assert [file.kind for file in found([str(corpus)])] == ["jsonl", "jsonl", "csv", "parquet"]
    (corpus / "e.data").write_bytes(as_json(rows(1)))
    (corpus / "README.md").unlink()
    assert names(found([str(corpus / "e.data")], "jsonl")) == ["e.data"]
    assert "e.data" in names(found([str(corpus)], "jsonl"))


def test_patterns_and_names_in_the_given_order(corpus: Path) -> None:
    assert names(found([str(corpus / "*.jsonl*")])) == ["a.jsonl.gz", "b.jsonl"]
    assert names(found([str(corpus / "s*")])) == ["c.csv", "d.parquet"]
    assert names(found([str(corpus / "**/*.*[tvl]")])) == ["b.jsonl", "c.csv", "d.parquet"]
    (corpus / "README.md").unlink()
    assert names(found([str(corpus / "**")])) == ["a.jsonl.gz", "b.jsonl", "c.csv", "d.parquet"]
    assert names(found([str(corpus / "_*")])) == ["_started.jsonl"]
    assert names(found([str(corpus / "b.jsonl"), str(corpus / "sub"), str(corpus / "a.jsonl.gz")])) == [
        "b.jsonl", "c.csv", "d.parquet", "a.jsonl.gz",
    ]  # fmt: skip


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    for name in ("part[1].jsonl", "part1.jsonl"):
        written(tmp_path / name, rows(1))
    assert names(found([str(tmp_path / "part[1].jsonl")])) == ["part[1].jsonl"]


def test_files_that_cannot_be_meant(corpus: Path, tmp_path: Path) -> None:
    def refusal(*files: Path | str, kind: Any = None) -> str:
        with pytest.raises(InputError) as caught:
            found(list(map(str, files)), kind)
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert f"there is no file {corpus}/absent.jsonl" in refusal(corpus / "absent.jsonl")
    assert f"no file matches {corpus}/*.parquet" in refusal(corpus / "*.parquet")
    assert f"the folder {tmp_path}/empty has no file that ends in .parquet, .jsonl" in refusal(tmp_path / "empty")
    assert refusal(tmp_path / "empty", kind="csv").endswith("/empty has no file")
    assert "README.md does not end in .parquet, .jsonl, .ndjson, .csv, .tsv; name its format: --format" in refusal(
        corpus / "README.md"
    )
    for other in (
        corpus / "b.jsonl",
        f"file://{corpus}/b.jsonl",
        corpus / "sub/../b.jsonl",
        corpus / "*.jsonl",
        corpus,
    ):
        assert "b.jsonl is named twice; every row would be embedded twice" in refusal(corpus / "b.jsonl", other)
    assert "nosuch://x/a.jsonl cannot be read: Protocol not known" in refusal("nosuch://x/a.jsonl")
    (corpus / "none.jsonl.gz").touch()
    assert "none.jsonl.gz is empty, and a compressed file never is: it was cut off" in refusal(corpus)
    (corpus / "none.jsonl.gz").unlink()
    (corpus / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert "cannot be read: No such file" in refusal(corpus)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes, and names of any bytes")
def test_names_and_files_of_strange_kinds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    refused = asked(lambda: found([str(tmp_path / "pipe.jsonl")])).exception(
        PATIENCE
    )  # whoever reads it waits for ever
    assert isinstance(refused, InputError)
    assert "pipe.jsonl is not a regular file" in str(refused)
    bad = os.fsencode(tmp_path) + b"/\xff.jsonl"
    with open(bad, "wb") as file:
        file.write(b'{"text": "a"}\n')
    with pytest.raises(InputError, match=r"\\udcff\.jsonl' is not UTF-8; rename the file"):
        found([os.fsdecode(bad)])
    odd = written(tmp_path / "it's #1 \x1b[2J 100%.jsonl", rows(2))
    assert result(finished(odd, tmp_path / "out")).column("text").to_pylist() == texts(2)


def test_a_format_that_the_extension_does_not_tell(tmp_path: Path) -> None:
    compressed(tmp_path / "corpus.gz", as_json(rows(2)))
    assert bulk("run", tmp_path / "corpus.gz", "--to", tmp_path / "out").code == 1
    assert bulk("run", tmp_path / "corpus.gz", "--to", tmp_path / "out", "--format", "jsonl").code == 0
    assert pq.read_table(tmp_path / "out/data").column("text").to_pylist() == texts(2)


def test_the_job_lies_in_no_folder_of_inputs(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    for name in (corpus, ".", f"{corpus}/*", f"{corpus.parent}/cor*", corpus / "sub/.."):
        with pytest.raises(PlanError, match=r"the job's folder .*corpus/out lies in the inputs"):
            planned(name, corpus / "out", keep=())
    assert not (corpus / "out").exists()
    planned(f"{corpus}/*.jsonl", corpus / "out", keep=())  # what it writes does not match


# Other file systems


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl.gz", "csv"])
def test_inputs_and_outputs_at_urls(suffix: str, tmp_path: Path, memory: Any, minilm: LazyEmbedder) -> None:
    local = written(tmp_path / f"in.{suffix}", rows(5))
    memory.pipe_file(f"/corpus/in.{suffix}", local.read_bytes())
    memory.pipe_file("/corpus/_SUCCESS", b"")
    outcome = bulk("run", "memory://corpus", "--to", "memory://job", "--shard-rows", "2")
    assert outcome.code == 0, outcome.err
    parts = sorted(memory.ls("/job/data", detail=False))
    assert parts == [f"/job/data/train-0000{n}-of-00003.parquet" for n in range(3)]
    table = pa.concat_tables([pq.read_table(pa.BufferReader(memory.cat_file(path))) for path in parts])
    assert table.column("text").to_pylist() == texts(5)
    np.testing.assert_allclose(vectors(table), minilm.encode_document(texts(5)), rtol=0, atol=1e-6)
    local_job = finished(local, tmp_path / "local", shard_rows=2)
    for part in parts:
        assert pq.read_table(pa.BufferReader(memory.cat_file(part))).equals(
            pq.read_table(Path(local_job.url, "data", Path(part).name))
        )
    assert bulk("verify", "memory://job").code == 0
    assert json.loads(bulk("status", "memory://job", "--json").out)["shards_done"] == 3


def test_an_object_that_has_changed(memory: Any) -> None:
    memory.pipe_file("/in/a.jsonl", as_json(rows(2)))
    plan = planned("memory://in/a.jsonl", "memory://job")
    memory.pipe_file("/in/a.jsonl", as_json(rows(2)))
    with pytest.raises(ChangedInputError, match=r"memory:///in/a\.jsonl has changed since the job was planned"):
        computed(plan)
    memory.rm("/in/a.jsonl")
    with pytest.raises(ChangedInputError, match=r"memory:///in/a\.jsonl is missing"):
        computed(plan)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the list of open files")
def test_files_are_closed_when_they_are_no_longer_needed(tmp_path: Path) -> None:
    suffixes = ("jsonl", "jsonl.gz", "jsonl.zst", "jsonl")
    files = [written(tmp_path / f"{n}.{suffix}", rows(3)) for n, suffix in enumerate(suffixes)]
    opened: list[int] = []

    def count(_: object) -> None:
        links = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        opened.append(len([link for link in links if str(tmp_path) in link and ".jsonl" in link]))

    plan = planned(files, tmp_path / "out", shard_rows=2)
    with plan.folder.spool() as spool:
        worker = Worker(plan, spool, count)
        for shard in range(6):
            worker.compute(shard)
    assert max(opened) == 1


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_reader_starts_again_after_a_failure(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that breaks may have taken bytes with it that nobody has seen."""
    from embedry_bulk import lines

    chance = np.random.default_rng(0)
    found = [{"text": chance.bytes(2000).hex()} for _ in range(60)]
    path = compressed(tmp_path / f"in.jsonl{suffix}", as_json(found))
    offsets = [offset for offset, _ in Lines(str(path)).read(0)]
    breaks: list[bool] = []

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            taken = super().read(size)
            if breaks and breaks.pop(0):
                raise OSError(104, "Connection reset by peer")
            return taken

    monkeypatch.setattr(lines, "_CHUNK", 1000)
    monkeypatch.setattr(fsspec, "open", lambda *_: SimpleNamespace(open=lambda: Breaking(path.read_bytes())))
    schema = pa.schema([("text", pa.string())])
    for first, offset in enumerate(offsets):
        breaks[:] = [False, True]
        reader = RecordReader(str(path), "jsonl")
        with pytest.raises(
            InputError, match=r"in\.jsonl.* cannot be read after byte [\d,]+: .*Connection reset by peer"
        ):
            list(reader.rows(0, 60, 0, schema))
        (again,) = reader.rows(first, 60 - first, offset, schema)
        assert again.table.to_pylist() == found[first:]
        reader.close()
