"""`embedry bulk verify`: wrong vectors, wrong counts and foreign files have words of their own, and ids that repeat are noted."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from bulk_jobs import bulk, computed, finished, planned, result, rows, written
from embedry_bulk import Done, Plan, Problem, done_shards, records, verify, verifying
from embedry_bulk.repeated import Repeated, repeated_ids

pytestmark = pytest.mark.usefixtures("minilm_folder")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A job of two shards, computed."""
    return finished(written(tmp_path / "in.jsonl", rows(6)), tmp_path / "out", shard_rows=3)


def replaced(plan: Plan, shard: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Writes a part anew, with a record that agrees with it, as a program that is wrong would have done."""
    done = done_shards(plan)[shard]
    path = Path(plan.url, done.files[0].name)
    pq.write_table(change(pq.read_table(path)), path)
    content = path.read_bytes()
    file = replace_file(done, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    Path(plan.url, records.record_name(plan, shard)).write_bytes(file.as_json())


def replace_file(done: Done, **values: Any) -> Done:
    return replace(done, files=(done.files[0]._replace(**values), *done.files[1:]))


def with_vectors(table: pa.Table, change: Callable[[Any], Any]) -> pa.Table:
    column = table.column("embedding").combine_chunks()
    values = np.asarray(column.flatten()).reshape(len(table), 384).copy()
    changed = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(change(values), np.float32).ravel()), 384)
    return table.set_column(table.schema.names.index("embedding"), "embedding", changed).replace_schema_metadata(
        table.schema.metadata
    )


def test_a_job_that_is_right(plan: Plan) -> None:
    told: list[int] = []
    assert list(verify(plan, told.append)) == []
    assert told == [3, 3]
    outcome = bulk("verify", plan.url)
    assert (outcome.code, outcome.out, outcome.err) == (0, "no problems: 2 shards, 6 rows\n", "")
    outcome = bulk("verify", plan.url, "--json")
    assert json.loads(outcome.out) == {"rows": 6, "shards": 2, "repeated_ids": 0}


def test_vectors_that_are_wrong_although_their_digest_is_right(plan: Plan) -> None:
    data = "data/train-00001-of-00002.parquet"
    for change, words in (
        (lambda table: with_vectors(table, lambda values: values * np.nan), f"{data} has vectors that are not finite"),
        (lambda table: with_vectors(table, lambda values: values * 1.25), f"{data} has a vector whose length is 0.2500 away from 1"),
        (lambda table: table.slice(1), f"{data} has 2 rows instead of 3"),
        (
            lambda table: table.replace_schema_metadata(table.schema.metadata | {b"embedry.role": b"query"}),
            f"{data} has vectors of 'all-MiniLM-L6-v2' ({plan.job.space.fingerprint}), role 'query'",
        ),
        (
            lambda table: table.replace_schema_metadata(
                table.schema.metadata
                | {b"embedry.space": json.dumps(asdict(plan.job.space) | {"fingerprint": "f" * 24}).encode()}
            ),
            f"{data} has vectors of 'all-MiniLM-L6-v2' (ffffffffffffffffffffffff), role 'document'",
        ),
        (lambda table: table.replace_schema_metadata(None), f"{data} has vectors of None (None), role ''"),
        (lambda table: table.drop("embedding"), f"{data} has no column 'embedding'"),
    ):  # fmt: skip
        before = Path(plan.url, data).read_bytes()
        replaced(plan, 1, change)
        problems = list(verify(plan))
        assert problems, words
        assert problems[0].shard == 1
        assert problems[0].what.startswith(words), problems
        assert bulk("verify", plan.url, "--forget").code == 1
        assert bulk("run", plan.url).code == 0
        assert Path(plan.url, data).read_bytes() == before
        assert list(verify(plan)) == []


def test_arrays_that_are_wrong_although_their_digest_is_right(tmp_path: Path) -> None:
    plan = finished(written(tmp_path / "in.jsonl", rows(6)), tmp_path / "out", shard_rows=3, output="npy")
    done = done_shards(plan)[0]
    path = Path(plan.url, done.files[0].name)
    for array, words in (
        (np.load(path) * 2, "has a vector whose length is 1.0000 away from 1"),
        (np.load(path)[:2], "has 2 rows instead of 3"),
        (np.full((3, 384), np.inf, np.float32), "has vectors that are not finite"),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        path.write_bytes(stream.getvalue())
        file = replace_file(done, size=path.stat().st_size, sha256=hashlib.sha256(stream.getvalue()).hexdigest())
        Path(plan.url, records.record_name(plan, 0)).write_bytes(file.as_json())
        assert list(verify(plan)) == [Problem(0, f"data/train-00000-of-00002.npy {words}")]


def test_what_was_never_a_part_although_its_digest_is_right(plan: Plan) -> None:
    done = done_shards(plan)[0]
    path = Path(plan.url, done.files[0].name)
    path.write_bytes(b"no Parquet")
    file = replace_file(done, size=10, sha256=hashlib.sha256(b"no Parquet").hexdigest())
    Path(plan.url, records.record_name(plan, 0)).write_bytes(file.as_json())
    (problem,) = verify(plan)
    assert problem.what.startswith("data/train-00000-of-00002.parquet cannot be read: Parquet magic bytes not found")


def test_problems_for_programs(plan: Plan) -> None:
    Path(plan.url, "data/extra.parquet").write_bytes(b"")
    Path(plan.url, "done/00001.json").unlink()
    outcome = bulk("verify", plan.url, "--json")
    assert outcome.code == 1
    problems = [json.loads(line) for line in outcome.out.splitlines()]
    assert problems[0] == {"shard": 1, "what": "is not done"}
    assert (problems[1]["shard"], problems[1]["what"][:18]) == (None, "data/extra.parquet")
    assert f"2 problems; to compute the shards concerned again: embedry bulk verify {plan.url} --forget" in outcome.err
    assert verifying.forget(plan, [Problem(**each) for each in problems]) == [1]
    assert set(done_shards(plan)) == {0}


def test_a_file_that_is_missing_while_it_is_read(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verifying.records.done_shards

    def done(plan: Plan) -> dict[int, Done]:
        found = real(plan)
        Path(plan.url, "data/train-00000-of-00002.parquet").unlink()
        return found

    monkeypatch.setattr(verifying.records, "done_shards", done)
    assert list(verify(plan)) == [Problem(0, "data/train-00000-of-00002.parquet is missing")]


def test_a_job_that_has_not_begun(tmp_path: Path) -> None:
    for output in ("parquet", "npy", "lancedb"):
        plan = planned(written(tmp_path / "in.jsonl", rows(4)), tmp_path / output, shard_rows=2, output=output)
        assert list(verify(plan)) == [Problem(0, "is not done"), Problem(1, "is not done")]


def test_a_job_can_be_moved(plan: Plan, tmp_path: Path) -> None:
    shutil.move(plan.url, tmp_path / "elsewhere")
    assert bulk("verify", tmp_path / "elsewhere").code == 0
    assert bulk("run", tmp_path / "elsewhere").code == 0
    (tmp_path / "in.jsonl").unlink()  # what is complete needs its inputs no longer
    assert bulk("run", tmp_path / "elsewhere").code == 0
    assert result(Plan.load(str(tmp_path / "elsewhere"))).num_rows == 6


# Ids that repeat


def jobs_with(ids: list[Any], folder: Path, shard_rows: int = 3) -> Plan:
    kind = pa.uint64() if isinstance(ids[0], int) and max(ids) > 2**63 else None
    pq.write_table(pa.table({"key": pa.array(ids, kind), "text": ["a"] * len(ids)}), folder / "in.parquet")
    return finished(folder / "in.parquet", folder / "out", output="npy", id_column="key", shard_rows=shard_rows)


@pytest.mark.parametrize(
    ("ids", "repeats", "first"),
    [
        ([1, 2, 3, 4, 5, 6, 7], 0, ""),
        ([1, 2, 3, 2, 5, 1, 2], 3, "2 in ids/train-00000-of-00003.npy[1] and ids/train-00001-of-00003.npy[0]"),
        ([-1, 7, 8, 9, -1, 7, -1], 3, "-1 in ids/train-00000-of-00003.npy[0] and ids/train-00001-of-00003.npy[1]"),
        ([2**64 - 1, 0, 2**64 - 1], 1, "18446744073709551615 in ids/train-00000-of-00001.npy[0] and ids/train-00000-of-00001.npy[2]"),
        (["a", "b", "c", "longer than the others", "b", "", ""], 2, "'b' in ids/train-00000-of-00003.npy[1] and ids/train-00001-of-00003.npy[1]"),
        (["a", "A", "ab", "ba", "", "☃", "☃a"], 0, ""),
        (["☃", "a", "b", "c", "d", "e", "☃"], 1, "'☃' in ids/train-00000-of-00003.npy[0] and ids/train-00002-of-00003.npy[0]"),
    ],
    ids=str,
)  # fmt: skip
def test_ids_that_repeat_are_noted_and_nothing_is_lost(
    ids: list[Any], repeats: int, first: str, tmp_path: Path
) -> None:
    plan = jobs_with(ids, tmp_path)
    found = [np.load(path) for path in sorted(Path(plan.url, "ids").iterdir())]
    assert np.concatenate(found).tolist() == ids
    done = done_shards(plan)
    for at_a_time in (1, 2, 3, 100):  # in several passes, or one
        assert repeated_ids(plan, done, at_a_time) == (Repeated(repeats, first) if repeats else None)
    outcome = bulk("verify", plan.url)
    assert outcome.code == 0
    note = f"note: {repeats} row{'s have' if repeats > 1 else ' has'} the id of an earlier row: {first}"
    assert (
        outcome.out
        == (f"{note}\n" if repeats else "")
        + f"no problems: {len(done)} shard{'s' * (len(done) > 1)}, {len(ids)} rows\n"
    )
    assert json.loads(bulk("verify", plan.url, "--json").out)["repeated_ids"] == repeats
    if repeats:
        assert list(verify(plan)) == []  # no fault: a row is known by its position


def test_many_ids_against_a_count_of_them(tmp_path: Path) -> None:
    plan = jobs_with([0], tmp_path)
    chance = np.random.default_rng(0)
    every = [chance.integers(0, 3000, 2000), chance.integers(-3000, 3000, 1000)]
    shards = {}
    for texts in (False, True):
        for shard, numbers in enumerate(every):
            ids = np.asarray([f"document/{number}" for number in numbers]) if texts else numbers
            path = Path(plan.url, f"ids/{shard}.npy")
            np.save(path, ids)
            shards[shard] = replace(
                done_shards(plan)[0], shard=shard, rows=len(ids), files=(records.Written(f"ids/{shard}.npy", 0, ""),)
            )
        joined = np.concatenate(every)
        expected = len(joined) - len(np.unique(joined))
        for at_a_time in (100, 10_000):
            found = repeated_ids(plan, shards, at_a_time)
            assert found is not None
            assert found.rows == expected


def test_numbers_of_rows_are_not_looked_at(plan: Plan, tmp_path: Path) -> None:
    made = finished(written(tmp_path / "more.jsonl", rows(3)), tmp_path / "npy", output="npy")
    for each in (plan, made):
        assert repeated_ids(each, done_shards(each)) is None


def test_what_was_computed_twice_is_still_right(plan: Plan) -> None:
    before = [each.files for each in done_shards(plan).values()]
    computed(plan)
    assert [each.files for each in done_shards(plan).values()] == before
    assert list(verify(plan)) == []
