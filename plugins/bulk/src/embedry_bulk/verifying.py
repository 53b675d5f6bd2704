"""Verifies the result of a job by reading everything again."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from embedry_bulk import parts, records, stored
from embedry_bulk.errors import in_a_line
from embedry_bulk.plan import Plan
from embedry_bulk.records import DATA, IDS, REJECTED, Done, Written
from embedry_bulk.vector_checks import LENGTH_TOLERANCE, wrong_with_vectors


class Problem(NamedTuple):
    """A problem in a job's result."""

    shard: int | None
    """None if it concerns no shard alone."""
    what: str


def verify(plan: Plan, advance: Callable[[int], object] = lambda _: None) -> Iterator[Problem]:
    """Reads everything that a job has written, and yields problems.

    Checks the sha256 of each file against the record of its shard. Checks each part: the number of rows, the space and the role;
    vectors are finite and, if the model normalizes, of unit length; weights of terms are above 0, and terms ascend and are in
    the vocabulary. Checks the job: no row is missing and no file is foreign.

    Args:
        plan: the plan.
        advance: called with the number of rows just read.

    Raises:
        OutputError: the folder cannot be read.
    """
    done = records.done_shards(plan)
    for shard in range(plan.shards):
        if shard not in done:
            yield Problem(shard, "is not done")
            continue
        yield from _wrong_with_counts(plan, done[shard])
        for file in done[shard].files:
            yield from (Problem(shard, f"{file.name} {what}") for what in _wrong_with_file(plan, done[shard], file))
        advance(done[shard].rows)
    if plan.job.output == "lancedb":
        from embedry_bulk import lance

        yield from (Problem(shard, what) for shard, what in lance.wrong(plan, done))
    yield from _foreign(plan, done)


def forget(plan: Plan, problems: list[Problem]) -> list[int]:
    """Removes the records of invalid shards, so that the next run computes them again; returns their numbers."""
    shards = sorted({problem.shard for problem in problems if problem.shard is not None})
    for shard in shards:
        plan.folder.remove(records.record_name(plan, shard))
    return shards


def _wrong_with_counts(plan: Plan, done: Done) -> Iterator[Problem]:
    start, stop = plan.bounds(done.shard)
    if done.rows + done.rejected != stop - start:
        yield Problem(
            done.shard, f"has {done.rows:,} rows and {done.rejected:,} rejected ones instead of {stop - start:,}"
        )


def _wrong_with_file(plan: Plan, done: Done, file: Written) -> Iterator[str]:
    content = plan.folder.read(file.name)
    if content is None:
        yield "is missing"
    elif len(content) != file.size:
        yield f"has {len(content):,} bytes instead of {file.size:,}"
    elif (digest := hashlib.sha256(content).hexdigest()) != file.sha256:
        yield f"has the sha256 {digest[:16]}... instead of {file.sha256[:16]}...: bytes have changed since it was written"
    else:
        try:
            yield from _wrong_with_content(plan, done, file.name, content)
        except (pa.ArrowException, OSError, ValueError) as error:
            yield f"cannot be read: {in_a_line(error)}"


def _wrong_with_content(plan: Plan, done: Done, name: str, content: bytes) -> Iterator[str]:
    folder = name.split("/")[0]
    if name.endswith(".npy"):
        array = np.load(io.BytesIO(content), allow_pickle=False)
        rows = len(array)
        if folder == DATA and plan.job.encoding in LENGTH_TOLERANCE:
            yield from wrong_with_vectors(plan, array.astype(np.float32))
    else:
        table = pq.ParquetFile(pa.BufferReader(content))
        rows = table.metadata.num_rows
        if folder == DATA:
            yield from _wrong_with_table(plan, table)
    expected = done.rejected if folder == REJECTED else done.rows
    if rows != expected:
        yield f"has {rows:,} rows instead of {expected:,}"


def _wrong_with_table(plan: Plan, table: pq.ParquetFile) -> Iterator[str]:
    metadata = table.schema_arrow.metadata or {}
    space = json.loads(metadata.get(b"embedry.space", b"{}"))
    role = metadata.get(b"embedry.role", b"").decode()
    if space != plan.job.space.as_dict() or role != plan.job.role:
        yield f"has vectors of {space.get('model')!r} ({space.get('fingerprint')}), role {role!r}"
    elif plan.job.vector_column not in table.schema_arrow.names:
        yield f"has no column {plan.job.vector_column!r}"
    elif (found := table.schema_arrow.field(plan.job.vector_column).type) != (wanted := _type_of(plan)):
        yield f"has vectors of the type {found} instead of {wanted}"
    else:
        for batch in table.iter_batches(columns=[plan.job.vector_column]):
            yield from wrong_with_vectors(plan, stored.vectors_of(batch.column(0), metadata))


def _type_of(plan: Plan) -> pa.DataType:
    return stored.type_of(plan.job.space, plan.job.encoding, plan.job.lists)


def _foreign(plan: Plan, done: dict[int, Done]) -> Iterator[Problem]:
    """Foreign files that readers of the whole folder would pick up. Files of unfinished shards will be replaced and do not count."""
    known = {file.name for each in done.values() for file in each.files}
    left = [shard for shard in range(plan.shards) if shard not in done]
    known |= {name for shard in left for name in parts.file_names(plan, shard)}
    for folder in (DATA, IDS, REJECTED):
        for name in plan.folder.sizes(folder):
            if f"{folder}/{name}" not in known:
                yield Problem(
                    None,
                    f"{folder}/{name} does not belong to this job, but readers of the whole folder would include it; "
                    "move it elsewhere",
                )
