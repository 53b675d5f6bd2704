"""A whole job against an object store, of whose requests one in twenty fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from command_line import run
from embedry import resolve
from embedry_bulk import ChangedInputError, Plan, done_shards, run_shard
from small_s3 import SmallS3

ROWS = 300


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallS3]:
    """The store, with an empty bucket `corpus`; clients in this process find it as they find any."""
    with SmallS3() as running:
        for name, value in {
            "AWS_ENDPOINT_URL": running.url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3")
        type(files).clear_instance_cache()  # it keeps clients of other stores
        fsspec.filesystem("s3").mkdir("corpus")
        yield running
        type(files).clear_instance_cache()


def texts() -> list[str]:
    chance = np.random.default_rng(0)
    return [" ".join(map(str, chance.integers(0, 1000, size=chance.integers(1, 30)))) for _ in range(ROWS)]


def of_four_shards(checkpoint: Callable[..., Path]) -> tuple[object, ...]:
    """The arguments of a job."""
    return "s3://corpus/in.parquet", "--to", "s3://corpus/job", "--model", checkpoint("bert"), "--shard-rows", 99


def put(name: str) -> None:
    with fsspec.open(f"s3://corpus/{name}", "wb") as file:
        pq.write_table(pa.table({"id": range(ROWS), "text": texts()}), file, row_group_size=64)


def test_a_job_ends_right_though_requests_fail(store: SmallS3, checkpoint: Callable[..., Path]) -> None:
    put("in.parquet")
    model = checkpoint("bert")
    store.every = 20
    for _ in range(2):  # the second one finds all done
        result = run(
            "bulk", "run", "s3://corpus/*.parquet", "--to", "s3://corpus/job", "--model", model, "--shard-rows", 32
        )
        assert result.code == 0, result.err
    assert run("bulk", "verify", "s3://corpus/job").code == 0
    assert store.failed >= 5
    store.every = 0

    files = fsspec.filesystem("s3")
    plan = Plan.load("s3://corpus/job")
    done = done_shards(plan)
    assert sorted(done) == list(range(10)) == list(range(plan.shards))
    assert sum(each.rows for each in done.values()) == ROWS
    parts = [pq.read_table(files.open(name)) for name in sorted(files.ls("corpus/job/data"))]
    table = pa.concat_tables(parts)
    assert table.column("id").to_pylist() == list(range(ROWS))
    vectors = np.stack(table.column("embedding").to_numpy())
    np.testing.assert_allclose(vectors, resolve(model).encode_document(texts()), atol=1e-6)


def test_a_changed_object_is_noticed_by_its_tag(store: SmallS3, checkpoint: Callable[..., Path]) -> None:
    put("in.parquet")
    result = run("bulk", "plan", *of_four_shards(checkpoint))
    assert result.code == 0, result.err
    files = fsspec.filesystem("s3")
    content = bytearray(files.cat_file("corpus/in.parquet"))
    content[len(content) // 2] ^= 1
    files.pipe_file("corpus/in.parquet", bytes(content))
    with pytest.raises(ChangedInputError, match=r"s3://corpus/in\.parquet has changed since the job was planned"):
        run_shard(Plan.load("s3://corpus/job"), 1)


def test_a_part_that_never_arrived_is_computed_again(store: SmallS3, checkpoint: Callable[..., Path]) -> None:
    put("in.parquet")
    arguments = ("bulk", "run", *of_four_shards(checkpoint))
    assert run(*arguments).code == 0
    files = fsspec.filesystem("s3")
    names = sorted(files.ls("corpus/job/data"))
    before = files.cat_file(names[2])
    files.rm_file(names[2])
    assert run(*arguments).code == 0
    assert files.cat_file(names[2]) == before
